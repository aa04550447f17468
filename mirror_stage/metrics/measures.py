"""The measures of a host, one row each: its names, its unit, and where EGO stores and shows it. Pure.

The fields of a sample, the columns of the tables, the metrics of the history, the keys on the wire and the columns of the
delta stream follow from the rows. A new measure is a row here, a field of `Sample`, and a migration.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Origin(Enum):
    AGENT = "the agent reports it"
    SAMPLE = "EGO works it out from other fields of a sample"
    RATE = "EGO measures it between two samples: how fast a counter grows"
    LINK = "the same, of the host's link"


@dataclass(frozen=True)
class Measure:
    """One number of a host; None is unknown."""

    name: str  # the field of a sample, and the column of the tables
    wire: str  # the key in EGO's answers
    unit: str
    origin: Origin = Origin.AGENT
    counter: str | None = None  # for a rate: the name of the row of its counter
    is_whole: bool = False
    least: float | None = (
        None  # the range that EGO accepts from agents; of a utilization the one to which the rollups cut it
    )
    most: float | None = None
    is_needed: bool = False  # required: a sample has it, or lists it in `unknown`
    is_stored: bool = True  # the table of samples has a column for it
    is_in_host: bool = True  # it is in the `metrics` of a host
    is_aggregated: bool = True  # TimescaleDB's continuous aggregates have it; they cannot get a new column
    decimals: int | None = None  # in the delta stream; None: it is not in the stream
    scale: float | None = None  # the rollups count in whole units of 1 / `scale`; None: it has no history
    threshold: float | None = None  # the comparison of two moments lists changes above it

    @property
    def is_bounded(self) -> bool:
        """Whether the range of the number is limited."""
        return self.least is not None or self.most is not None


MEASURES = (
    Measure("cpu_load", "cpuLoad", "%", least=0, is_needed=True, decimals=1, scale=10, threshold=20),
    Measure("memory_used_percent", "memoryUsedPercent", "%", least=0, most=100, is_needed=True, decimals=1, scale=10, threshold=10),
    Measure("swap_used_percent", "swapUsedPercent", "%", least=0, most=100, scale=10, threshold=10),
    Measure("load_average", "loadAverage", "", is_needed=True, decimals=1, scale=100, threshold=2),
    Measure("uptime_seconds", "uptimeSeconds", "s", least=0, is_needed=True),
    Measure("cpu_temperature", "cpuTemperature", "°C", decimals=1, scale=10, threshold=10),
    Measure("gpu_temperature", "gpuTemperature", "°C", decimals=1, scale=10, threshold=10),
    Measure("memory_total_bytes", "memoryTotalBytes", "B", is_whole=True, is_stored=False),
    Measure("memory_available_bytes", "memoryAvailableBytes", "B", is_whole=True),
    Measure("net_bytes_tx", "netBytesTx", "B", is_whole=True),
    Measure("net_bytes_rx", "netBytesRx", "B", is_whole=True),
    Measure("disk_read_bytes", "diskReadBytes", "B", is_whole=True, is_in_host=False),
    Measure("net_capacity_gbps", "netCapacityGbps", "Gbit/s", Origin.SAMPLE),
    Measure(
        "rx_gbps", "rxGbps", "Gbit/s", Origin.LINK, counter="net_bytes_rx", is_in_host=False, decimals=3,
        scale=100_000, threshold=0.5,
    ),
    Measure(
        "tx_gbps", "txGbps", "Gbit/s", Origin.LINK, counter="net_bytes_tx", is_in_host=False, decimals=3,
        scale=100_000, threshold=0.5,
    ),
    Measure(
        "utilization_ratio", "utilization", "0-1", Origin.LINK, most=1, is_stored=False, is_in_host=False, decimals=3,
        scale=10_000, threshold=0.2,
    ),
    Measure("fullest_disk_percent", "fullestDiskPercent", "%", Origin.SAMPLE, decimals=1, scale=10, threshold=5),
    Measure(
        "disk_read_bytes_per_second", "diskReadBytesPerSecond", "B/s", Origin.RATE, counter="disk_read_bytes",
        is_aggregated=False, decimals=0, scale=1 / 1024, threshold=100_000_000,
    ),
)  # fmt: skip

REPORTED = tuple(one for one in MEASURES if one.origin is Origin.AGENT)
RATES = tuple(one for one in MEASURES if one.origin is Origin.RATE)
OF_SAMPLE = (
    *REPORTED,
    *(one for one in MEASURES if one.origin is Origin.SAMPLE),
    *RATES,
)  # the order of the fields of `Sample`
OF_LINK = tuple(one for one in MEASURES if one.origin is Origin.LINK)
COUNTERS = tuple(one.counter for one in MEASURES if one.counter is not None)


def names_of(measures: Iterable[Measure]) -> tuple[str, ...]:
    """The names of fields and columns of these measures."""
    return tuple(one.name for one in measures)


def wires_of(measures: Iterable[Measure]) -> tuple[str, ...]:
    """The keys of these measures on the wire."""
    return tuple(one.wire for one in measures)
