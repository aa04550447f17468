"""Runs a back-test, piece by piece: for some hosts the quarters of an hour that matter, then the minutes of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
from gevent.lock import BoundedSemaphore

from mirror_stage.alerts.domain import Rule
from mirror_stage.alerts.measures import DISK_USED, RULE_MEASURES
from mirror_stage.alerts.minutes import mean
from mirror_stage.alerts.rules import duration
from mirror_stage.backtest import store
from mirror_stage.backtest.domain import BRIEF, WAITS, Firing, Judged, Minute, Part, Walk, in_force
from mirror_stage.backtest.messages import messages
from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.core.instants import DAY, SECOND, Instant, to_optional_text, to_text
from mirror_stage.core.problems import Invalid, Unavailable
from mirror_stage.core.selector import Labels
from mirror_stage.core.turns import Turns
from mirror_stage.history.domain import METRICS_BY_NAME, Metric
from mirror_stage.storage.db import Storage
from mirror_stage.storage.pieces import Pace
from mirror_stage.twin.domain import Limits

DAYS_MAX = 30
BUDGET_SECONDS = 9.5  # what is not read then is named
QUEUE_SECONDS = 10.0  # one back-test at a time; another waits so long for its turn
RETRIED_ABOVE = 5  # hosts: a read that takes too long is tried again with fewer
QUARTERS_AT_ONCE = 8  # of one host; those after the first are a guess
MARKS_MAX, UNREAD_MAX = 500, 100
# What a history may be unable to tell.
UNKNOWN = ("order-within-minutes", "which-disk", "tags-of-then", "open-before")
# Measures of parts of a host, and the metric of which the history knows the worst part.
WORST_OF: Mapping[str, str] = {DISK_USED: "fullestDiskPercent"}

InForce = Callable[[Labels], tuple[Judged, ...] | None]


@dataclass(slots=True)
class _Tally:
    """What was found of one `for`."""

    certain: int = 0
    possible: int = 0
    brief: int = 0
    hosts: int = 0

    def add(self, firings: Sequence[Firing]) -> None:
        self.certain += sum(one.is_certain for one in firings)
        self.possible += len(firings)
        self.brief += sum(one.ended_at is not None and one.ended_at - one.began_at < BRIEF for one in firings)
        self.hosts += bool(firings)


@dataclass(slots=True)
class _Run:
    """A back-test under way. Seconds since 1970; `done` is up to where there are quarters."""

    metric: Metric
    limits: store.Limits
    find: InForce
    since: int
    until: int
    done: int
    ends_at: float
    tallies: list[_Tally]
    own: int  # the number of the `for` that the rule has
    is_of_some: bool  # the rule is for some parts of a host, and the history has the worst of all: nothing is certain
    is_by_minute: bool = False
    messages: int | None = None
    hosts: int = 0
    of_now: int = 0
    marks: list[tuple[str, Firing]] = field(default_factory=list)
    racks: dict[str, str | None] = field(default_factory=dict)  # of the hosts with a mark
    unread: list[int] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return elapsed_seconds() > self.ends_at


class BackTest:
    """Answers what a rule would have said."""

    def __init__(self, storage: Storage, clock: Clock, limits: Limits, *, hub: str, ego: str):
        self._storage, self._clock, self._limits, self._hub, self._ego = storage, clock, limits, hub, ego
        self._turn = BoundedSemaphore(1)
        self._breathe = Turns().breathe

    def run(self, rule: Rule, days: int) -> dict[str, Any]:
        """What a rule would have said in the last days, as the wire has it. Raises Invalid if the history cannot tell, Unavailable."""
        metric = _metric_of(rule)
        if not self._turn.acquire(timeout=QUEUE_SECONDS):
            raise Unavailable("another back-test is under way; ask again in a moment")
        try:
            return self._run(rule, metric, days)
        finally:
            self._turn.release()

    def _run(self, rule: Rule, metric: Metric, days: int) -> dict[str, Any]:
        ends_at = elapsed_seconds() + BUDGET_SECONDS
        kept_since, minutes_until, done = self._storage.read(store.extent)
        now = self._clock.now() // SECOND
        until = min(minutes_until, now - now % 60)
        since = max(kept_since, now - days * DAY // SECOND)
        since = min(since + -since % 900, until)
        waits = [*WAITS, *([] if rule.fire_after in WAITS else [rule.fire_after])]
        run = _Run(
            metric, _limits(rule, metric), in_force(rule, waits), since, until, done, ends_at,
            [_Tally() for _ in waits], waits.index(rule.fire_after), rule.subjects != ("*",), rule.is_by_minute,
        )  # fmt: skip
        hosts = self._storage.read(store.host_ids)
        pace = Pace(50, least=5, most=500)
        while hosts and not run.is_over:
            try:
                with pace.piece() as piece:
                    some, rest = hosts[: piece.size], hosts[piece.size :]
                    walks = self._walks(run, some, piece.timed)
            except Unavailable:
                if piece.size <= RETRIED_ABOVE:
                    raise
                continue  # it took too long: a smaller piece is next
            hosts = rest
            self._walk(run, walks)
        run.messages = self._messages(rule, run)
        return self._answer(rule, waits, run, [*run.unread, *hosts])

    def _walks(self, run: _Run, host_ids: Sequence[int], timed: Callable[[Any], Any]) -> dict[int, Walk]:
        """The hosts among these that have a value at which the rule fires."""
        until = run.until * SECOND
        ask = partial(store.identities, host_ids=host_ids, until=until, hub=self._hub, ego=self._ego)
        names, parts_by_host, of_now = {}, {}, 0
        for host_id, (name, identities, is_stored) in self._storage.read(timed(ask)).items():
            parts = self._parts(run, identities)
            if any(part.rules is not None for part in parts):
                names[host_id], parts_by_host[host_id] = name, parts
                run.racks[name] = next(
                    (one.labels.rack for one in reversed(identities) if one.labels is not None), None
                )
                of_now += not is_stored
            self._breathe()
        if not names:
            return {}
        about = partial(
            store.quarters, metric=run.metric, limits=run.limits, host_ids=list(names), since=run.since, until=run.until,
            done=run.done,
        )  # fmt: skip
        flagged = self._storage.read(timed(about))
        hot = [names[host_id] for host_id in flagged]
        ask_ends = partial(store.offline, names=hot, since=run.since * SECOND, until=until)
        ends = self._storage.read(timed(ask_ends)) if hot else {}
        run.hosts, run.of_now = run.hosts + len(names), run.of_now + of_now
        walks = {}
        for host_id, told in flagged.items():
            quarters = orjson.loads(f"[{told}]")
            walks[host_id] = Walk(
                names[host_id],
                len(run.tallies),
                parts_by_host[host_id],
                ends.get(names[host_id], ()),
                [one - (one & 3) for one in quarters if one & store.HOT],
                [one - (one & 3) for one in quarters if one & store.KEPT],
                is_by_minute=run.is_by_minute,
            )
            self._breathe()
        return walks

    def _parts(self, run: _Run, identities: Sequence[store.Identity]) -> list[Part]:
        """What is in force for a host, and when that changes."""
        parts: list[Part] = []
        for n, one in enumerate(identities):
            rules = None if one.labels is None else run.find(one.labels)
            since = one.since if n else 0  # what an agent had kept before it was first heard is in the history, too
            part = Part(since, rules, self._limits.of(one.interval).stale_after)
            if not parts or (parts[-1].rules, parts[-1].patience) != (part.rules, part.patience):
                parts.append(part)
        begun = max((n for n, part in enumerate(parts) if part.since <= run.since * SECOND), default=0)
        return parts[begun:]

    def _walk(self, run: _Run, walks: dict[int, Walk]) -> None:
        """Judge these hosts to the end, as far as there is time."""
        pace = Pace(100, least=20, most=200)
        while walks and not run.is_over:
            with pace.piece() as piece:
                wanted: dict[int, list[int]] = {}
                left = piece.size
                for host_id, walk in walks.items():
                    wanted[host_id] = walk.wanted(min(QUARTERS_AT_ONCE, left))
                    left -= len(wanted[host_id])
                    if left <= 0:
                        break
                pairs = [(host_id, quarter) for host_id, quarters in wanted.items() for quarter in quarters]
                ask = partial(store.minutes, metric=run.metric, wanted=pairs, until=run.until)
                told = self._storage.read(piece.timed(ask))
            found: dict[int, dict[int, list[Minute]]] = {
                host_id: {quarter: [] for quarter in quarters} for host_id, quarters in wanted.items()
            }
            for host_id, second, samples, values, low, high, total in sorted(orjson.loads(told)):
                known = (None, None) if low is None else (low / run.metric.scale, high / run.metric.scale)
                if run.is_by_minute:
                    known = (mean(total, values, run.metric),) * 2
                minute = Minute(second, samples, values, *known)
                found[host_id][second - second % 900].append(minute)
            self._breathe()
            for host_id, minutes in found.items():
                walks[host_id].hear(minutes, run.until)
                if not walks[host_id].wanted(1):
                    self._count(run, walks.pop(host_id))
                self._breathe()
        run.unread += walks

    def _count(self, run: _Run, walk: Walk) -> None:
        for tally, track in zip(run.tallies, walk.tracks, strict=True):
            for firing in track.firings:
                firing.is_certain &= not run.is_of_some
            tally.add(track.firings)
        run.marks += [(walk.hostname, firing) for firing in walk.tracks[run.own].firings]

    def _messages(self, rule: Rule, run: _Run) -> int | None:
        def breathe() -> bool:
            self._breathe()
            return not run.is_over

        stretches = [(name, run.racks.get(name), firing) for name, firing in run.marks]
        return messages(rule, stretches, run.until * SECOND, breathe)

    def _answer(self, rule: Rule, waits: Sequence[Instant], run: _Run, unread: Sequence[int]) -> dict[str, Any]:
        named = self._storage.read(partial(store.names, host_ids=unread[:UNREAD_MAX])) if unread else {}
        newest = sorted(run.marks, key=lambda mark: (mark[1].began_at, mark[0]))[-MARKS_MAX:]
        by_wait: dict[Instant, _Tally] = dict(zip(waits, run.tallies, strict=True))
        return {
            "from": to_text(run.since * SECOND),
            "to": to_text(run.until * SECOND),
            "hosts": run.hosts,
            "complete": not unread,
            "unread": sorted(named.values()),
            "unreadTotal": len(unread),
            "byFor": [
                {
                    "for": duration(wait),
                    "certain": tally.certain,
                    "possible": tally.possible,
                    "brief": tally.brief,
                    "hosts": tally.hosts,
                }
                for wait, tally in sorted(by_wait.items())
            ],
            "messages": run.messages,
            "total": len(run.marks),
            "marks": [
                {
                    "hostname": name,
                    "subject": None,
                    "from": to_text(firing.began_at),
                    "to": to_optional_text(firing.ended_at),
                    "isCertain": firing.is_certain,
                }
                for name, firing in newest
            ],
            "unknown": _unknown(rule, run),
        }


def _metric_of(rule: Rule) -> Metric:
    """The metric of the history that a rule is tested by. Raises Invalid."""
    name = WORST_OF.get(rule.measure, rule.measure)
    metric = METRICS_BY_NAME.get(name)
    if metric is None:
        known = [*WORST_OF, *(one for one in METRICS_BY_NAME if one in RULE_MEASURES)]
        detail = f"the history does not keep {rule.measure}; a rule of these can be tested: {', '.join(known)}"
        raise Invalid(f"measure: {detail}", errors=[{"field": "measure", "message": detail}])
    return metric


def _limits(rule: Rule, metric: Metric) -> store.Limits:
    """The values that matter to some host, in units of the metric, half a unit wider."""
    rules = [rule, *(one.rule for one in rule.overrides if one.rule.is_enabled)]
    fires = [one.steps[0].fire * metric.scale for one in rules]
    resolves = [(one.steps[0].resolve or 0.0) * metric.scale for one in rules]
    if rule.is_above:
        return store.Limits(min(fires) - 0.5, max(resolves) + 0.5, is_above=True)
    return store.Limits(max(fires) + 0.5, min(resolves) - 0.5, is_above=False)


def _unknown(rule: Rule, run: _Run) -> list[str]:
    """What the history cannot tell of this rule; docs/contract.md says what each name means."""
    facts = (not rule.is_by_minute, rule.measure in WORST_OF, run.of_now > 0, True)
    return [name for name, is_so in zip(UNKNOWN, facts, strict=True) if is_so]
