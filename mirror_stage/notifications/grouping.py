"""What a transition does to a group, and whether a group has something to tell now. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

from mirror_stage.alerts.domain import HOST_OFFLINE, SEVERITIES, Alert
from mirror_stage.core.instants import HOUR, MINUTE, SECOND, Instant
from mirror_stage.notifications.domain import (
    ESCALATED,
    FLAPPING,
    GREW,
    OPENED,
    OVER,
    REPEAT,
    WORSE,
    Group,
    Member,
    member_of,
)

WAIT: Instant = 10 * SECOND  # from the first problem to the first message: what belongs together comes together
CAUSE_WITHIN: Instant = (
    MINUTE  # so long a host that is offline waits for its cause; it takes a restart to wait for longer than HELD
)
INTERVAL: Instant = 5 * MINUTE  # between two messages about more problems
REPEAT_AFTER: dict[str, Instant | None] = {"critical": 4 * HOUR, "warning": 24 * HOUR, "info": None}
CLOSE_AFTER: Instant = 5 * MINUTE  # without an open problem
FLAPS, FLAPS_WITHIN, CALM_AFTER = 4, HOUR, 30 * MINUTE  # so many times again; calm after so long without a problem
BACK_FOR: Instant = (
    10 * MINUTE
)  # a host that was silent has so long to have its problems again, before they count as over

HOLD, SEND, NOTHING = "hold", "send", "nothing"
FOREVER: Instant = 2**62


@dataclass(frozen=True, slots=True)
class Verdict:
    """`send` a message of this kind; `hold` what there is to tell until `next_look_at`; or there is `nothing` to tell before then."""

    what: str
    kind: str | None
    reason: str
    next_look_at: Instant


def look(group: Group, now: Instant, escalate_after: Instant | None = None) -> Verdict:
    """Whether to tell something about a group now."""
    opened = group.open_members(now)
    if not opened:
        return _at_its_end(group, now)
    tellable = [one for one in opened if not one.quiet and not one.is_unknown]
    ends = min((one.ended_at for one in opened if one.ended_at is not None), default=FOREVER)
    if not tellable:
        why = next((one.quiet[0] for one in opened if one.quiet), "its hosts are silent")
        return Verdict(HOLD, None, why, ends)
    if group.told_at is None:
        due = max(group.opened_at + WAIT, _decided_by(group, tellable))
        if now < due:
            return Verdict(HOLD, None, "waits for what belongs to it", due)
        return Verdict(SEND, OPENED, f"{len(tellable)} problems", now)
    return _again(group, tellable, now, ends, escalate_after)


def _decided_by(group: Group, tellable: list[Member]) -> Instant:
    """By when it is known what silenced the hosts of a group that has no cause: then they leave it. 0 if there are none."""
    if group.cause is not None:
        return 0
    return min((one.fired_at + CAUSE_WITHIN for one in tellable if one.rule == HOST_OFFLINE), default=0)


def _again(
    group: Group, tellable: list[Member], now: Instant, ends: Instant, escalate_after: Instant | None
) -> Verdict:
    """The verdict on a group that was told before, and has these open problems."""
    told_at = group.told_at or now
    worst = max((one.severity for one in tellable), key=SEVERITIES.index)
    if SEVERITIES.index(worst) > SEVERITIES.index(group.told_severity or "info"):
        return Verdict(SEND, WORSE, f"{group.told_severity} became {worst}", now)
    if any(one.was_quiet for one in tellable):
        untold = any(one.told_severity is None for one in tellable if one.was_quiet)
        return Verdict(SEND, GREW if untold else REPEAT, "it is not quiet any more", now)
    if not group.is_flapping and any(is_flapping(one, now) for one in tellable):
        return Verdict(SEND, FLAPPING, f"came back {FLAPS} times within an hour", now)
    due: list[tuple[Instant, str, str]] = []
    if any(one.told_severity is None for one in tellable):
        due.append((told_at + INTERVAL, GREW, "more problems"))
    if escalate_after is not None and not group.is_escalated and group.first_told_at is not None:
        due.append((group.first_told_at + escalate_after, ESCALATED, "nobody has solved it"))
    repeat = REPEAT_AFTER[worst]
    if repeat is not None:
        due.append((told_at + repeat, REPEAT, "it lasts"))
    if not due:
        return Verdict(NOTHING, None, "everything is told", ends)
    at, kind, reason = min(due)
    if at <= now:
        return Verdict(SEND, kind, reason, now)
    return Verdict(HOLD if kind == GREW else NOTHING, None, f"{reason}, later", min(at, ends))


def _at_its_end(group: Group, now: Instant) -> Verdict:
    last = max((one.ended_at or now for one in group.members.values()), default=group.opened_at)
    due = last + (CALM_AFTER if group.is_flapping else CLOSE_AFTER)
    if now < due:
        return Verdict(HOLD, None, "it may come back", due)
    if group.told_at is None:
        return Verdict(NOTHING, OVER, "it ended before anybody was told", now)
    return Verdict(SEND, OVER, "it has not come back", now)


def is_flapping(member: Member, now: Instant) -> bool:
    """Whether a problem has come back FLAPS times within an hour."""
    return len([at for at in member.fires if now - at < FLAPS_WITHIN]) > FLAPS


def told(group: Group, verdict: Verdict, now: Instant) -> None:
    """Note that a message was made of this verdict, or that the group closes without one."""
    if verdict.kind == OVER:
        group.closed_at = now
    if verdict.what != SEND:
        return
    group.sequence += 1
    group.told_at, group.first_told_at = now, group.first_told_at or now
    tellable = [one for one in group.open_members(now) if not one.quiet and not one.is_unknown]
    for one in tellable:
        one.told_severity, one.was_quiet = one.severity, False
    worst = [one.severity for one in tellable] + ([group.told_severity] if group.told_severity else [])
    group.told_severity = max(worst, key=SEVERITIES.index, default=None)
    group.is_flapping = group.is_flapping or any(is_flapping(one, now) for one in tellable)
    group.is_escalated = group.is_escalated or verdict.kind == ESCALATED


def fire(group: Group, alert: Alert, earlier: tuple[Instant, ...] = ()) -> None:
    """An alert of this group fired. `earlier`: when the same problem fired before, in a group that is closed."""
    new, known = member_of(alert), group.members.get((alert.hostname, alert.metric, alert.subject))
    before = known.fires if known is not None else earlier
    new.fires = tuple(at for at in before if 0 < alert.created_at - at < FLAPS_WITHIN)[-2 * FLAPS :] + new.fires
    if known is not None:
        new.told_severity, new.quiet, new.was_quiet = known.told_severity, known.quiet, known.was_quiet
    group.members[new.key] = new
    group.updated_at = max(group.updated_at, alert.updated_at)


def change(member: Member, alert: Alert, severity: str, value: float | None) -> None:
    """The severity of an alert changed."""
    member.version, member.severity = alert.version, severity
    member.value = member.value if value is None else value


def end(member: Member, version: int, at: Instant, reason: str | None, value: float | None) -> None:
    """An alert ended. One that ended because its host went silent is unknown: it may still be so."""
    member.version, member.reason = version, reason
    member.value = member.value if value is None else value
    if reason == "host-offline":
        member.is_unknown = True
    else:
        member.ended_at, member.is_unknown = at, False


def host_changed(member: Member, rule: str, transition: str, reason: str | None, at: Instant) -> None:
    """An alert of the member's host did this. If the host is back, a problem that was unknown ends, unless it comes again soon."""
    if rule != HOST_OFFLINE or not member.is_unknown:
        return
    if transition == "fired":
        member.ended_at = None
    elif transition == "resolved":
        member.ended_at = at if reason in {"host-removed", "rule-removed"} else at + BACK_FOR


def set_quiet(member: Member, reasons: tuple[str, ...]) -> bool:
    """Note why nobody is told of a problem now; whether that changed."""
    if member.quiet == reasons:
        return False
    member.was_quiet = member.was_quiet or bool(member.quiet)
    member.quiet = reasons
    return True
