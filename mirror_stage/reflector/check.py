"""`mirror-stage reflector check`: tells whether this agent can do its work, and what to do if it cannot."""

from __future__ import annotations

import os
import shlex
import time
from email.utils import parsedate_to_datetime
from typing import Any

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.findings import Finding
from mirror_stage.core.instants import day
from mirror_stage.core.trust import Trust, is_private
from mirror_stage.reflector.agent import account_for_commands, credential_of, may_send_token
from mirror_stage.reflector.credential import Enrolment, Fixed, load
from mirror_stage.reflector.risks import risk_of
from mirror_stage.reflector.settings import ALL, ALLOW_LIST, OFF, Settings
from mirror_stage.reflector.state import SYSTEM_FOLDER, is_in_use
from mirror_stage.reflector.stop_file import StopFile
from mirror_stage.reflector.uplink import Answer, Meaning, Uplink, in_path, shown

REFUSED = frozenset({401, 403})
CLOCK_WARNING_SECONDS = 2.0  # the Date header has whole seconds
CLOCK_PROBLEM_SECONDS = (
    300.0  # EGO does not use the time of a clock that is further ahead, and its alert `clock_skew` fires
)


def examine(settings: Settings, ego: str) -> list[Finding]:
    """The findings of all checks."""
    try:
        credential = (credential_of(settings) if may_send_token(settings, ego) else None) or Fixed(None)
    except BadSetting:
        if settings.token_file is not None:
            raise
        credential = Fixed(None)  # `token` below says what is wrong with the enrolment
    with credential.shown() as shown_token:
        uplink = Uplink(ego, Trust(settings.ego_ca, settings.ego_pin), Fixed(shown_token))
    asked_at = time.time()
    answer = uplink.get("/api/info")
    middle = (asked_at + time.time()) / 2
    is_refused = answer.status in REFUSED
    reached = admitted(settings.hostname, ego, uplink.get("/api/me"), answer) if is_refused else reachable(ego, answer)
    found = [reached]
    if reached.level == "ok":
        found.append(clock(answer.date, middle))
    if reached.level == "ok" and not is_refused:  # an agent with a token may report, and read nothing
        found.append(known(settings.hostname, uplink.get(f"/api/hosts/{in_path(settings.hostname)}")))
    uplink.close()
    return [*found, *token(settings, ego), commands(settings), *risky(settings), state(settings)]


def reachable(ego: str, answer: Answer) -> Finding:
    """Whether EGO answers at this address."""
    if answer.is_taken and isinstance(answer.body, dict) and "twinId" in answer.body:
        return Finding("ego", "ok", f"{ego} answers, version {shown(answer.body.get('version'))}")
    if answer.status is None:
        advice = "is EGO running, is the address right, does a firewall stand between?"
        return Finding("ego", "problem", f"{ego} does not answer: {answer.detail}", advice)
    seen = answer.detail or f"{answer.status}: something that is no EGO"
    return Finding("ego", "problem", f"{ego} answers {seen}", "is the address EGO's, with its port and path?")


def admitted(hostname: str, ego: str, me: Answer, refused: Answer) -> Finding:
    """Whether EGO takes this agent, which may not read what everybody else may: `me` says who EGO thinks it is."""
    who = me.body if me.is_taken and isinstance(me.body, dict) else {}
    if who.get("role") != "agent":
        advice = "enrol this host: mirror-stage reflector enroll; if it is enrolled, run mirror-stage agents list on EGO's machine"
        return Finding("ego", "problem", f"{ego} answers, and refuses this agent: {refused.detail}", advice)
    name = who.get("name")
    if name is not None and name != f"agent:{hostname}":
        advice = f"correct hostname, or make a token for this host: mirror-stage tokens create --agent {shlex.quote(hostname)}"
        return Finding("ego", "problem", f"{ego} takes the token for {shown(name)}, not for {hostname}", advice)
    return Finding("ego", "ok", f"{ego} answers, and takes what this agent reports")


def token(settings: Settings, ego: str) -> list[Finding]:
    """Whether this host is enrolled, and whether the agent shows its token to EGO, if it has one."""
    try:
        enrolment = load(settings.state_dir) if settings.token_file is None else None
    except BadSetting as why:
        seen, _, advice = str(why).partition("; ")
        return [Finding("token", "problem", seen, advice)]
    if settings.token_file is None and enrolment is None:
        return []
    if enrolment is not None and enrolment.token is None:
        seen = f"not enrolled yet; the fingerprint of this host is {enrolment.fingerprint}"
        advice = "run mirror-stage reflector enroll, and let an admin of EGO approve this host, or give it a code"
        return [Finding("token", "problem", seen, advice)]
    if enrolment is not None and enrolment.hostname != settings.hostname:
        seen = f"this host is enrolled as {enrolment.hostname}, and its hostname is {settings.hostname}"
        advice = f"correct hostname in the settings, or enrol {settings.hostname} with a code"
        return [Finding("token", "problem", seen, advice)]
    return [_sent(settings, ego, enrolment)]


def _sent(settings: Settings, ego: str, enrolment: Enrolment | None) -> Finding:
    if not may_send_token(settings, ego):
        advice = "use https in ego; allow_plain = true sends it where everybody on the way can read it"
        return Finding("token", "problem", f"it is not sent: {ego} is plain http", advice)
    if not is_private(ego):
        advice = "use https in ego, then take allow_plain out"
        return Finding("token", "warning", f"it is sent in the clear: {ego} is plain http", advice)
    if enrolment is None:
        return Finding("token", "ok", f"{settings.token_file} is sent to EGO")
    since = f"since {day(enrolment.since)}, with the token of generation {enrolment.generation}"
    return Finding("token", "ok", f"enrolled as {enrolment.hostname} {since}")


def clock(date: str | None, here: float) -> Finding:
    """Whether this machine's clock agrees with EGO's. `here` is its time when EGO wrote `date`, seconds since 1970."""
    try:
        there = parsedate_to_datetime(date or "").timestamp() + 0.5  # the header cuts the fraction of the second
    except (ValueError, TypeError, OverflowError):
        return Finding("clock", "warning", "EGO's answer does not say the time", "a proxy may have taken it out")
    ahead = here - there
    size, side = abs(ahead), "ahead of" if ahead > 0 else "behind"
    advice = "switch time synchronisation on, here or on EGO's machine: timedatectl set-ntp true"
    if size >= CLOCK_PROBLEM_SECONDS:
        return Finding("clock", "problem", f"this clock is {size:,.0f} s {side} EGO's", advice)
    if size > CLOCK_WARNING_SECONDS:
        return Finding("clock", "warning", f"this clock is {size:.0f} s {side} EGO's", advice)
    return Finding("clock", "ok", "agrees with EGO's")


def known(hostname: str, answer: Answer) -> Finding:
    """Whether EGO knows this host."""
    if answer.is_taken and isinstance(answer.body, dict):
        return Finding("host", "ok", f"EGO knows {hostname}: {_standing(answer.body)}")
    if answer.status == 404 and answer.meaning is Meaning.REFUSED:
        return Finding("host", "ok", f"EGO does not know {hostname} yet: its first sample introduces it")
    seen = f"EGO does not say whether it knows {hostname}: {answer.detail}"
    return Finding(
        "host", "warning", seen, "look into the log of EGO, and of a proxy before it: whom they refuse, and why"
    )


def commands(settings: Settings) -> Finding:
    """Which commands EGO may run here."""
    halted = StopFile(settings.state_dir).reason()
    if halted is not None:
        return Finding(
            "commands", "warning", f"stopped on this host: {halted}", "mirror-stage reflector resume undoes it"
        )
    if settings.command_policy == OFF:
        return Finding("commands", "ok", "off: EGO may have nothing run here")
    try:
        account = account_for_commands(settings, _agent_uid(settings))
    except BadSetting as why:
        seen, _, advice = str(why).partition("; ")
        return Finding("commands", "problem", seen, advice)
    how = "through /bin/sh" if settings.command_shell else "without a shell"
    if account is None:
        how += ", with the agent's account: a command that can read files can read this host's token (command_user)"
    else:
        how += f", as {account.name}, which cannot read the agent's files"
    if settings.command_policy == ALL:
        seen = f"EGO may have everything run here, {how}"
        return Finding("commands", "warning", seen, "an allow_list is narrower: command_policy in reflector.toml")
    return Finding("commands", "ok", f"EGO may have run what {len(settings.command_allow)} patterns allow, {how}")


def _agent_uid(settings: Settings) -> int:
    """The account of the agent: the owner of its folder, because root may look at it."""
    try:
        return settings.state_dir.stat().st_uid
    except OSError:
        return os.geteuid()


def risky(settings: Settings) -> list[Finding]:
    """The patterns of the allow-list that allow more than they seem to. With command_shell there are none."""
    if settings.command_policy != ALLOW_LIST or settings.command_shell:
        return []
    risks = {pattern: risk_of(pattern) for pattern in settings.command_allow}
    advice = "write out what is needed: command_allow in reflector.toml"
    return [Finding("commands", "warning", f"{pattern!r} {risk}", advice) for pattern, risk in risks.items() if risk]


def state(settings: Settings) -> Finding:
    """Whether the folder of journal and spool can be used, and how many samples wait in it. Changes nothing in it."""
    path = settings.state_dir
    try:
        waiting = sum(file.stat().st_size for file in (path / "spool").glob("*.samples"))
        nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
        is_writable = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    except OSError as error:
        seen = f"{error.filename} cannot be looked at: {error.strerror}"
        return Finding("state", "problem", seen, "run this with sudo, or choose another --state-dir")
    backlog = f"; {waiting / 1000:,.0f} kB of samples wait in it" if waiting else ""
    if is_in_use(path):
        return Finding("state", "ok", f"an agent runs with {path}{backlog}")
    if not is_writable:
        return Finding("state", "problem", f"{nearest} cannot be written", "choose another --state-dir")
    if path != SYSTEM_FOLDER and os.path.lexists(SYSTEM_FOLDER):
        backlog += f". The service's folder is {SYSTEM_FOLDER}: sudo looks at that one"
    return Finding("state", "ok", f"{path} can be written; no agent runs with it{backlog}")


def _standing(host: dict[str, Any]) -> str:
    return f"{shown(host.get('status'))}, last heard {shown(host.get('lastSeen'))}"
