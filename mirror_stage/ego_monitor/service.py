"""Takes samples of the machine that EGO runs on."""

from __future__ import annotations

import logging
from collections.abc import Callable

import orjson

from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.names import BadField, normalise_hostname
from mirror_stage.core.version import VERSION
from mirror_stage.ego_monitor.native import NativeMachine, native_start
from mirror_stage.metrics.decoder import decode_batch
from mirror_stage.metrics.domain import Sample, stamp
from mirror_stage.reflector.collector import Collector
from mirror_stage.reflector.parts import Parts
from mirror_stage.twin.domain import OWN_VERSIONS, Host, Status

AGENT_VERSION = OWN_VERSIONS + VERSION
AGENT_INSTANCE = "ego-monitor"  # always the same, so that no rate is lost when EGO restarts
FALLBACK_HOSTNAME = "ego"

logger = logging.getLogger(__name__)


def ego_hostname(config: Config) -> str:
    """The hostname of EGO's own machine in the twin; `ego` if the machine's name is not a valid hostname."""
    try:
        return normalise_hostname(config.ego_hostname)
    except BadField:
        return FALLBACK_HOSTNAME


def is_reported_by_agent(host: Host | None) -> bool:
    """Whether a REFLECTOR currently reports this host (EGO's own)."""
    return (
        host is not None
        and host.status is Status.ONLINE
        and host.sample is not None
        and not host.sample.agent_version.startswith(OWN_VERSIONS)
    )


class EgoMonitor:
    """Submits samples of this machine, unless an agent reports the same host."""

    def __init__(
        self,
        config: Config,
        submit: Callable[[list[Sample]], object],
        is_reported_by_agent: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._submit = submit
        self._is_reported_by_agent = is_reported_by_agent
        self._clock = clock
        self._complaint: str | None = None
        tags = {"display_name": config.ego_display_name, "uplink": config.ego_uplink}
        self._collector = Collector(
            hostname=ego_hostname(config),
            rack=config.ego_rack,
            tags={name: text for name, text in tags.items() if text} or None,
            agent_version=AGENT_VERSION,
            ip=config.ego_primary_ip,
            interval_seconds=config.ego_monitor_interval_ms / 1000,
            agent_instance=AGENT_INSTANCE,
            parts=Parts(native_start()),
            machine=NativeMachine(),
        )

    def observe(self) -> None:
        """Take one sample and submit it. Never raises: an error is logged in one line, and only once while it repeats."""
        try:
            if not self._is_reported_by_agent():
                self._submit(self._samples())
            self._complaint = None
        except Exception as error:
            complaint = f"{type(error).__name__}: {' '.join(str(error).split())}"
            if complaint != self._complaint:
                logger.warning("EGO cannot observe itself: %s", complaint)
            self._complaint = complaint

    def _samples(self) -> list[Sample]:
        """One sample of this machine, decoded and checked like an agent's. Raises ValueError with all errors."""
        batch = decode_batch(orjson.dumps({"samples": [self._collector.sample()]}))
        if batch.errors:
            raise ValueError("; ".join(f"{error['field']}: {error['message']}" for error in batch.errors))
        return stamp(batch.samples, self._clock.now())
