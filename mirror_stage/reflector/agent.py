"""One running agent: creates its parts, connects them, and stops them in time."""

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
from mirror_stage.core.signed import key_of
from mirror_stage.core.trust import Trust, is_private, read_token
from mirror_stage.core.version import VERSION
from mirror_stage.reflector import adopted
from mirror_stage.reflector.account import Account, account_of, become_able
from mirror_stage.reflector.collector import Collector
from mirror_stage.reflector.commands import Commands
from mirror_stage.reflector.credential import Credential, Enrolled, Fixed, load
from mirror_stage.reflector.journal import Journal
from mirror_stage.reflector.policy import judge
from mirror_stage.reflector.proof import EgoClock, Proof
from mirror_stage.reflector.settings import OFF, Settings
from mirror_stage.reflector.spool import Spool
from mirror_stage.reflector.state import StateFolder
from mirror_stage.reflector.stop_file import StopFile
from mirror_stage.reflector.telemetry import Telemetry
from mirror_stage.reflector.uplink import Uplink

STOPPED_TAG = "commands_stopped"  # of a sample: why the host is stopped
STOP_SECONDS = 1.4  # for running commands to end; the whole agent must end in less than 2 s

logger = logging.getLogger(__name__)


def collector(settings: Settings, agent_instance: str | None = None) -> Collector:
    """The collector for these settings. Without a set hostname it uses the machine's name, which may change later."""
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


def uplink_of(settings: Settings, ego: str) -> Uplink:
    """The way to EGO, with the credential if it may be sent. Raises BadSetting."""
    credential = credential_of(settings) if may_send_token(settings, ego) else None
    return Uplink(ego, Trust(settings.ego_ca, settings.ego_pin), credential)


def credential_of(settings: Settings) -> Credential | None:
    """The token of the settings, else that of the enrolment, else None. Raises BadSetting."""
    if settings.token_file is not None:
        return Fixed(read_token(settings.token_file))
    enrolment = load(settings.state_dir)
    return None if enrolment is None or enrolment.token is None else Enrolled(settings.state_dir, enrolment)


def proof_of(settings: Settings, ego: str, uplink: Uplink) -> Proof | None:
    """How the agent checks what EGO has signed; None if it runs unsigned commands."""
    if settings.ego_signing_key is None:
        return None
    return Proof(key_of(settings.ego_signing_key), EgoClock(ego.startswith("https://")), lambda: uplink.agent_id)


def account_for_commands(settings: Settings, agent_uid: int) -> Account | None:
    """The account that commands run as; None if it is the agent's, or if there are no commands. Raises BadSetting."""
    if settings.command_user is None or settings.command_policy == OFF:
        return None
    return account_of(settings.command_user, agent_uid)


def may_send_token(settings: Settings, ego: str) -> bool:
    """Whether nobody between could read the token, or the settings allow it all the same."""
    return is_private(ego) or settings.allow_plain


def run(settings: Settings, ego: str) -> int:
    """Send samples and run commands until SIGTERM or SIGINT. Returns exit status 0. Raises BadSetting."""
    _reset_signals()
    stop_requested = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stop_requested.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    threading.excepthook = _log_thread_error
    account = account_for_commands(settings, os.geteuid())
    if account is not None:
        become_able(account)
    former_umask = os.umask(
        0o077
    )  # the agent's files are private; commands keep the umask that the agent was started with
    state = StateFolder(settings.state_dir)
    try:
        spool = Spool(state.spool, most_bytes=settings.spool_max_mib * 2**20, most_hours=settings.spool_max_hours)
        journal = Journal(state.journal)
    except OSError as error:
        raise BadSetting(f"state_dir: cannot use {state.path}: {error.strerror or error}") from error
    uplink = uplink_of(settings, ego)
    if not may_send_token(settings, ego) and credential_of(settings) is not None:
        logger.warning("the token is not sent, because %s is plain http: use https, or set allow_plain", ego)
    decide = partial(
        judge, policy=settings.command_policy, patterns=settings.command_allow, shell=settings.command_shell
    )
    commands = Commands(
        settings.hostname,
        uplink,
        journal,
        decide,
        concurrency=settings.command_concurrency,
        umask=former_umask,
        account=account,
        proof=proof_of(settings, ego, uplink),
    )
    stop_file = StopFile(state.path)
    commands.obey(stop_file.reason())
    source = collector(settings, journal.instance)

    def sample() -> Mapping[str, Any]:
        """The next sample. Its hostname is the one that commands are fetched for from now on."""
        taken = dict(source.sample())
        commands.serve(taken["hostname"])
        halted = stop_file.reason()
        if halted is not None:
            taken |= {"command_policy": OFF, "tags": {**(taken.get("tags") or {}), STOPPED_TAG: halted}}
        return taken

    telemetry = Telemetry(sample, uplink, spool, interval_seconds=settings.interval_seconds)
    logger.info(
        "reflector %s of %s: samples to %s every %g s, commands %s, state in %s",
        VERSION, settings.hostname, ego, settings.interval_seconds, settings.command_policy, state.path,
    )  # fmt: skip
    telemetry.start()
    commands.start()
    while not stop_requested.wait(adopted.EVERY_SECONDS):
        adopted.reap()
        commands.obey(stop_file.reason())
    telemetry.stop()
    commands.stop(STOP_SECONDS)
    logger.info("ended; %.1f kB of samples wait on disk", spool.size_bytes / 1000)
    return 0


def _reset_signals() -> None:
    """Unblock all signals and stop ignoring them: the commands that the agent runs would inherit both.

    If SIGCHLD is ignored, the kernel discards exit codes, and a failed command looks successful. Other signals that were
    ignored get a handler that does nothing: unlike SIG_IGN, a started program does not inherit a handler.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pythons_own = {signal.SIGPIPE, signal.SIGXFSZ}  # `subprocess` restores these itself
    for number in signal.valid_signals() - pythons_own:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def _log_thread_error(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_value is not None:
        error = (crash.exc_type, crash.exc_value, crash.exc_traceback)
        logger.error("thread %s ended", crash.thread.name if crash.thread else "?", exc_info=error)
