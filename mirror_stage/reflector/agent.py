"""One running agent: wires its parts, and ends them in time."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Mapping
from functools import partial
from types import FrameType
from typing import Any

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.version import VERSION
from mirror_stage.reflector import adopted
from mirror_stage.reflector.collector import Collector
from mirror_stage.reflector.commands import Commands
from mirror_stage.reflector.journal import Journal
from mirror_stage.reflector.policy import judge
from mirror_stage.reflector.settings import Settings
from mirror_stage.reflector.spool import Spool
from mirror_stage.reflector.state import StateFolder
from mirror_stage.reflector.telemetry import Telemetry
from mirror_stage.reflector.uplink import Uplink

STOP_SECONDS = 1.4  # for what runs; an agent ends in less than 2

logger = logging.getLogger(__name__)


def collector(settings: Settings, agent_instance: str | None = None) -> Collector:
    """What takes the samples of this machine as the settings describe it. Its own name may change while it runs."""
    return Collector(
        hostname=settings.hostname if settings.is_named else None,
        rack=settings.rack,
        tags=settings.all_tags,
        position=settings.position,
        ip=settings.ip,
        command_policy=settings.command_policy,
        ego=settings.ego,
        interval_seconds=settings.interval_seconds,
        agent_instance=agent_instance,
    )


def run(settings: Settings, ego: str) -> int:
    """Send samples and run commands until SIGTERM or SIGINT; 0. Raises BadSetting."""
    _hear_all_signals()
    told = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    threading.excepthook = _log_what_ended_a_thread
    former_umask = os.umask(0o077)  # what the agent writes is for nobody else; what it runs keeps the owner's
    state = StateFolder(settings.state_dir)
    try:
        spool = Spool(state.spool, most_bytes=settings.spool_max_mib * 2**20, most_hours=settings.spool_max_hours)
        journal = Journal(state.journal)
    except OSError as error:
        raise BadSetting(f"state_dir: cannot use {state.path}: {error.strerror or error}") from error
    uplink = Uplink(ego, settings.ca_file)
    decide = partial(
        judge, policy=settings.command_policy, patterns=settings.command_allow, shell=settings.command_shell
    )
    commands = Commands(
        settings.hostname, uplink, journal, decide, concurrency=settings.command_concurrency, umask=former_umask
    )
    source = collector(settings, journal.instance)

    def sample() -> Mapping[str, Any]:
        """A sample; commands are fetched for the name that it has."""
        taken = source.sample()
        commands.serve(taken["hostname"])
        return taken

    telemetry = Telemetry(sample, uplink, spool, interval_seconds=settings.interval_seconds)
    logger.info(
        "reflector %s of %s: samples to %s every %g s, commands %s, state in %s",
        VERSION, settings.hostname, ego, settings.interval_seconds, settings.command_policy, state.path,
    )  # fmt: skip
    telemetry.start()
    commands.start()
    while not told.wait(adopted.EVERY_SECONDS):
        adopted.reap()
    telemetry.stop()
    commands.stop(STOP_SECONDS)
    logger.info("ended; %.1f kB of samples wait on disk", spool.size_bytes / 1000)
    return 0


def _hear_all_signals() -> None:
    """Undo what was ignored and blocked around this process: all that it runs would inherit it.

    Without SIGCHLD no exit code is learnt, and whatever failed looks as if it had not. What stays ignored here has a
    handler that does nothing: that, unlike SIG_IGN, ends where another program begins.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pythons_own = {signal.SIGPIPE, signal.SIGXFSZ}  # `subprocess` restores these itself
    for number in signal.valid_signals() - pythons_own:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def _log_what_ended_a_thread(what: threading.ExceptHookArgs) -> None:
    if what.exc_value is not None:
        told = (what.exc_type, what.exc_value, what.exc_traceback)
        logger.error("thread %s ended", what.thread.name if what.thread else "?", exc_info=told)
