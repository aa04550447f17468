"""Routes, groups of alerts, and what is sent about them: values and rules. Pure: no Flask, no SQL, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from uuid import UUID, uuid5

from mirror_stage.alerts.domain import SEVERITIES, Alert
from mirror_stage.core.instants import DAY, HOUR, MINUTE, SECOND, Instant
from mirror_stage.core.selector import EVERY_HOST, Labels, Selector, parse

_IDS = UUID("5d0c3c8e-0f5b-4b52-9c0b-2f1f8a7f6f31")

OPENED, GREW, WORSE, REPEAT, OVER = "opened", "grew", "worse", "repeat", "over"
FLAPPING, ESCALATED = "flapping", "escalated"
WAS, DIGEST, TEST = (
    "was",
    "digest",
    "test",
)  # a problem that ended before it could be told; several messages in one; a trial
KINDS = (OPENED, GREW, WORSE, REPEAT, OVER, FLAPPING, ESCALATED, WAS, DIGEST, TEST)
AWAY, BACK = "away", "back"  # EGO's own database; never stored
ENDS = frozenset({OVER, WAS, BACK})
DATABASE_AWAY = "database_away"  # the rule and the measure that such a message has

QUEUED, LEASED, RETRY, ACCEPTED, DEAD, MERGED, DRY = "queued", "leased", "retry", "accepted", "dead", "merged", "dry"
STATES = (QUEUED, LEASED, RETRY, ACCEPTED, DEAD, MERGED, DRY)
WAITING = (QUEUED, RETRY)

NOTHING = "none"  # passes through a mute time
LEASE: Instant = 60 * SECOND
RETRIES: tuple[Instant, ...] = (5 * SECOND, 15 * SECOND, 45 * SECOND, 2 * MINUTE, 5 * MINUTE)
RETRY_AT_MOST: Instant = 10 * MINUTE
DEAD_AFTER: Instant = DAY
OBEYED_MAX: Instant = HOUR  # of a Retry-After
FALL_BACK_AFTER = len(
    RETRIES
)  # tries in vain, some three minutes: then the fallback of the channel has the message, too
LATER = frozenset({408, 425, 429})  # answers below 500 after which the same message may be accepted

MEMBERS_SENT_MAX = 200  # in one message; it says how many there are
MemberKey = tuple[str, str, str | None]  # hostname, rule, subject


@dataclass(frozen=True, slots=True)
class Route:
    """Which alerts go to which channels. Routes stand in order: the first that fits counts, and those after it if it `continues`.

    `rules` are names of rules, in which `*` stands for any characters. `escalate_after` ms after the first message the channels of
    `escalate_to` are told, too, while the problem is open. During `mute_times`, given by their names, nobody is told of what is less
    severe than `passes` (NOTHING: of anything).
    """

    name: str
    channels: tuple[str, ...]
    where: str = EVERY_HOST
    rules: tuple[str, ...] = ("*",)
    min_severity: str = "warning"
    continues: bool = False
    escalate_after: Instant | None = None
    escalate_to: tuple[str, ...] = ()
    mute_times: tuple[str, ...] = ()
    passes: str = "critical"
    selector: Selector = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "selector", parse(self.where))

    def takes(self, rule: str, severity: str, labels: Labels) -> bool:
        """Whether an alert of this rule and severity is for this route."""
        is_severe = SEVERITIES.index(severity) >= SEVERITIES.index(self.min_severity)
        return is_severe and any(fnmatchcase(rule, one) for one in self.rules) and self.selector.matches(labels)

    def mutes(self, severity: str) -> bool:
        """Whether its mute times keep an alert of this severity quiet."""
        return self.passes == NOTHING or SEVERITIES.index(severity) < SEVERITIES.index(self.passes)


TAKES, OTHER_HOST, OTHER_RULE, TOO_MILD, EARLIER = "takes", "host", "rule", "severity", "earlier"
WHYS = (TAKES, OTHER_HOST, OTHER_RULE, TOO_MILD, EARLIER)  # why a route takes an alert, or does not


def explained(routes: Sequence[Route], rule: str, severity: str, labels: Labels) -> list[tuple[Route, str]]:
    """Each route with one of WHYS. `earlier`: it would take the alert, but a route before it does and does not `continue`."""
    found, is_over = [], False
    for route in routes:
        if not route.selector.matches(labels):
            why = OTHER_HOST
        elif not any(fnmatchcase(rule, one) for one in route.rules):
            why = OTHER_RULE
        elif SEVERITIES.index(severity) < SEVERITIES.index(route.min_severity):
            why = TOO_MILD
        else:
            why = EARLIER if is_over else TAKES
            is_over = is_over or not route.continues
        found.append((route, why))
    return found


def routes_of(routes: Sequence[Route], rule: str, severity: str, labels: Labels) -> list[Route]:
    """The routes that an alert takes."""
    found = []
    for route in routes:
        if route.takes(rule, severity, labels):
            found.append(route)
            if not route.continues:
                break
    return found


@dataclass(slots=True)
class Member:
    """One problem of a group: a rule of a host and what of it, whatever alerts it had. `fires` are those of the last hour.

    `ended_at` may be in the future: then it ends if nothing fires before. `is_unknown`: it was open when its host went silent.
    `quiet` says why nobody is told of it now; `was_quiet`, that somebody has to be told when there is no such reason any more.
    """

    hostname: str
    rule: str
    subject: str | None
    alert_id: str
    version: int
    measure: str
    severity: str
    value: float
    threshold: float
    fired_at: Instant
    fires: tuple[Instant, ...] = ()
    ended_at: Instant | None = None
    reason: str | None = None
    is_unknown: bool = False
    told_severity: str | None = None
    quiet: tuple[str, ...] = ()
    was_quiet: bool = False

    @property
    def key(self) -> MemberKey:
        return self.hostname, self.rule, self.subject

    def is_open(self, now: Instant) -> bool:
        return self.ended_at is None or self.ended_at > now


@dataclass(slots=True)
class Group:
    """Problems that are told together, because they have one route and one cause, or one rule and rack. `route` None: nobody is told.

    `sequence` counts its messages, `told_to` the channels that got one. `told_severity` is the worst that was told.
    """

    id: str
    key: str
    route: str | None
    cause: str | None
    rule: str | None
    rack: str | None
    opened_at: Instant
    updated_at: Instant
    sequence: int = 0
    first_told_at: Instant | None = None
    told_at: Instant | None = None
    told_severity: str | None = None
    told_to: tuple[str, ...] = ()
    is_flapping: bool = False
    is_escalated: bool = False
    closed_at: Instant | None = None
    version: int = 1
    members: dict[MemberKey, Member] = field(default_factory=dict)

    def open_members(self, now: Instant) -> list[Member]:
        return [one for one in self.members.values() if one.is_open(now)]

    @property
    def severity(self) -> str:
        """The worst severity of its problems, ended ones too."""
        return max((one.severity for one in self.members.values()), key=SEVERITIES.index, default="info")


def key_of(route: str | None, cause: str | None, rule: str, rack: str | None) -> str:
    """What the problems of one group share."""
    return "\n".join((route or "", f"cause {cause}" if cause is not None else f"rule {rule} {rack or ''}"))


def group_id(key: str, alert_id: str, version: int) -> str:
    """The id of a new group: a step that is repeated after a kill gives the same."""
    return str(uuid5(_IDS, f"{key}\n{alert_id}\n{version}"))


def delivery_id(group: str, sequence: int, channel: str) -> str:
    """The id of a message, which is also its key: whoever gets it twice sees that by this."""
    return str(uuid5(_IDS, f"{group}\n{sequence}\n{channel}"))


def digest_id(channel: str, ids: Sequence[str]) -> str:
    return str(uuid5(_IDS, "\n".join((channel, *sorted(ids)))))


@dataclass(frozen=True, slots=True)
class Intent:
    """What has to be sent to one channel. `facts` say of what (`facts_of`)."""

    id: str
    group_id: str
    channel: str
    sequence: int
    kind: str
    severity: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """An intent, and how far it is. `status` is the receiver's last answer, `detail` what went wrong: never an address or a secret."""

    id: str
    group_id: str | None
    channel: str
    sequence: int
    kind: str
    severity: str
    state: str
    attempts: int
    created_at: Instant
    due_since: Instant
    next_at: Instant
    leased_until: Instant | None
    ended_at: Instant | None
    status: int | None
    detail: str | None
    merged_into: str | None
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try. `is_final`: another try would be refused, too. `retry_after` is what the receiver asks for, in ms."""

    is_accepted: bool
    status: int | None = None
    detail: str | None = None
    is_final: bool = False
    retry_after: Instant | None = None


def refused_for_good(status: int) -> bool:
    """Whether a receiver that answers with this HTTP status will never accept the message."""
    return 300 <= status < 500 and status not in LATER


def falls_back(done: Delivery) -> bool:
    """Whether a message that was just tried in vain is also for the fallback of its channel."""
    return done.state == DEAD or (done.state == RETRY and done.attempts == FALL_BACK_AFTER)


def next_try(attempts: int, due_since: Instant, now: Instant, outcome: Outcome) -> Instant | None:
    """When to try again after `attempts` tries, the last with this outcome; None: never, the message is dead."""
    if outcome.is_final:
        return None
    wait = RETRIES[attempts - 1] if attempts <= len(RETRIES) else RETRY_AT_MOST
    if outcome.retry_after is not None:
        wait = max(wait, min(outcome.retry_after, OBEYED_MAX))
    return now + wait if now + wait < due_since + DEAD_AFTER else None


def in_order(group: Group, now: Instant) -> list[Member]:
    """The problems of a group, the open and worst first."""

    def order(one: Member) -> tuple[bool, int, Instant, str]:
        return (not one.is_open(now), -SEVERITIES.index(one.severity), one.fired_at, one.hostname)

    return sorted(group.members.values(), key=order)


def facts_of(group: Group, now: Instant) -> dict[str, Any]:
    """What a message says about a group, as JSON: its problems (the open and worst first), how many there are, since when."""
    members = in_order(group, now)
    ends = [one.ended_at for one in members if one.ended_at is not None]
    return {
        "group": group.id,
        "route": group.route,
        "cause": group.cause,
        "rule": group.rule,
        "rack": group.rack,
        "isFlapping": group.is_flapping,
        "startedAt": min((one.fired_at for one in members), default=group.opened_at),
        "endedAt": None if group.open_members(now) else max(ends, default=None),
        "open": len(group.open_members(now)),
        "total": len(members),
        "members": [_told(one, now) for one in members[:MEMBERS_SENT_MAX]],
    }


def _told(one: Member, now: Instant) -> dict[str, Any]:
    return {
        "id": one.alert_id,
        "hostname": one.hostname,
        "rule": one.rule,
        "subject": one.subject,
        "measure": one.measure,
        "severity": one.severity,
        "value": one.value,
        "threshold": one.threshold,
        "firedAt": one.fired_at,
        "endedAt": None if one.is_open(now) else one.ended_at,
        "reason": one.reason,
    }


def facts_of_absence(ego: str, since: Instant, until: Instant | None, alerts: Sequence[Alert]) -> dict[str, Any]:
    """What a message says of a database that was away from `since` on, and is back at `until`; `alerts` are the open ones."""
    member = {
        "id": f"{DATABASE_AWAY}-{since}", "hostname": ego, "rule": DATABASE_AWAY, "subject": None, "measure": DATABASE_AWAY, "severity": "critical",
        "value": 1.0, "threshold": 1.0, "firedAt": since, "endedAt": until, "reason": None,
    }  # fmt: skip
    worst = sorted(alerts, key=lambda one: (-SEVERITIES.index(one.severity), one.created_at, one.hostname))
    return {
        "group": f"{DATABASE_AWAY}-{since}", "route": None, "cause": None, "rule": DATABASE_AWAY, "rack": None, "isFlapping": False,
        "startedAt": since, "endedAt": until, "open": int(until is None), "total": 1, "members": [member],
        "alsoOpen": len(worst), "others": [_told(member_of(one), one.created_at) for one in worst[:MEMBERS_SENT_MAX]],
    }  # fmt: skip


def member_of(alert: Alert) -> Member:
    """A problem that has just begun."""
    return Member(
        alert.hostname, alert.metric, alert.subject, alert.id, alert.version, alert.measure, alert.severity,
        alert.current_value, alert.threshold, alert.created_at, (alert.created_at,),
    )  # fmt: skip
