"""One running agent: wires its parts, and ends them in time."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType

from mirror_stage import __version__
from mirror_stage.reflector.collector import Collector
from mirror_stage.reflector.settings import Settings
from mirror_stage.reflector.spool import Spool
from mirror_stage.reflector.state import StateFolder
from mirror_stage.reflector.telemetry import Telemetry
from mirror_stage.reflector.uplink import Uplink

logger = logging.getLogger(__name__)


def collector(settings: Settings) -> Collector:
    """What takes the samples of this machine as the settings describe it."""
    return Collector(
        hostname=settings.hostname,
        rack=settings.rack,
        tags=settings.all_tags,
        position=settings.position,
        ip=settings.ip,
        command_policy=settings.command_policy,
    )


def run(settings: Settings, ego: str) -> int:
    """Send samples and run commands until SIGTERM or SIGINT; 0. Raises BadSetting."""
    told = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    state = StateFolder(settings.state_dir)
    uplink = Uplink(ego, settings.ca_file)
    spool = Spool(state.spool, most_bytes=settings.spool_max_mib * 2**20, most_hours=settings.spool_max_hours)
    telemetry = Telemetry(collector(settings).sample, uplink, spool, interval_seconds=settings.interval_seconds)
    logger.info(
        "reflector %s of %s: samples to %s every %g s, commands %s, state in %s",
        __version__, settings.hostname, ego, settings.interval_seconds, settings.command_policy, state.path,
    )  # fmt: skip
    telemetry.start()
    told.wait()
    telemetry.stop()
    logger.info("ended; %.1f kB of samples wait on disk", spool.size_bytes / 1000)
    return 0
