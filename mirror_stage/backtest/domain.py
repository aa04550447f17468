"""How a rule would have judged the minutes of a host. Pure: no Flask, no SQL, no clock.

The history keeps the lowest and the highest value of each minute, not their order. So each rule is judged twice, by the
state machine of the live rules (`alerts.evaluation.advance`): once as seldom open as these minutes allow, once as often.

- Each minute is heard as three values: the one that is far from firing, the near one, and the far one again; or the other
  way round. So it ends as calm as it can, or as bad as it can.
- A wait that the minutes show begins up to a minute before or after its value: so waits are a minute longer, or shorter.

A rule that judges the mean of each whole minute is judged exactly: it sees what it saw then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mirror_stage.alerts.domain import MISSING_SAMPLES, RESOLVE, UNKNOWN_MAX, Rule
from mirror_stage.alerts.evaluation import advance, patience_in_minutes
from mirror_stage.core.instants import MINUTE, SECOND, Instant
from mirror_stage.core.selector import Labels

QUARTER_SECONDS = 900
WAITS: tuple[Instant, ...] = (0, MINUTE, 3 * MINUTE, 5 * MINUTE, 10 * MINUTE)  # of `for`, side by side
BRIEF: Instant = 2 * MINUTE
WITHIN = MINUTE - 1  # the longest time between two samples of one minute


class Minute(NamedTuple):
    """A minute of a host: its first second, how many samples it has, how many of them have the value, and these values.

    For a rule that judges minutes, `lowest` and `highest` are both the mean.
    """

    second: int
    samples: int
    values: int
    lowest: float | None
    highest: float | None


@dataclass(slots=True)
class Firing:
    """A stretch in which a rule may have had an alert. `ended_at` None: it has not ended. `is_certain`: it surely had one."""

    began_at: Instant
    ended_at: Instant | None = None
    is_certain: bool = False


@dataclass(slots=True)
class _Standing:
    """Where a rule stands: whether it has fired, and since when a value calls for a change; 0 if it does not."""

    has_fired: int = 0
    since: Instant = 0

    @property
    def is_settled(self) -> bool:
        return bool(self.has_fired) and not self.since

    def hear(self, rule: Rule, values: Sequence[float], at: Instant) -> bool:
        """Judge some values of a minute. Returns whether it has fired at any time of that minute."""
        ever = self.has_fired
        for value in values:
            self.has_fired, (self.since,) = advance(rule, value, self.has_fired, (self.since,), at)
            ever |= self.has_fired
        return bool(ever)


class Seen(NamedTuple):
    """The two ends of a minute, and what each calls for: the one that is near to firing, and the one that is far from it."""

    near: float
    far: float
    near_fires: bool
    far_fires: bool
    near_resolves: bool
    far_resolves: bool


def seen(rule: Rule, lowest: float, highest: float) -> Seen:
    """A minute as a rule sees it."""
    step, sign = rule.steps[0], 1 if rule.is_above else -1
    near, far = (highest, lowest) if rule.is_above else (lowest, highest)
    resolve = math.inf * -sign if step.resolve is None else step.resolve
    return Seen(
        near, far, sign * (near - step.fire) >= 0, sign * (far - step.fire) >= 0,
        sign * (near - resolve) <= 0, sign * (far - resolve) <= 0,
    )  # fmt: skip


def _most_open(rule: Rule, now: _Standing, minute: Seen, at: Instant) -> Sequence[float]:
    """What to judge of the near value, the far one and the near one again: the others would change nothing."""
    near, far = minute.near, minute.far
    if now.has_fired:
        if not minute.far_resolves or (not minute.near_resolves and rule.resolve_after):
            now.since = 0
            return ()
        return (far,) if minute.near_resolves else (far, near)
    if not minute.near_fires:
        now.since = 0
        return ()
    if minute.far_fires:
        return (near,)
    if not rule.fire_after or (now.since and at - now.since >= rule.fire_after):
        return near, far, near
    now.since = 0
    return (near,)


def _least_open(rule: Rule, now: _Standing, minute: Seen, at: Instant) -> Sequence[float]:
    """What to judge of the far value, the near one and the far one again: the others would change nothing."""
    near, far = minute.near, minute.far
    if now.has_fired:
        if not minute.far_resolves:
            now.since = 0
            return ()
        if minute.near_resolves:
            return (far,)
        if not rule.resolve_after or (now.since and at - now.since >= rule.resolve_after):
            return far, near, far
        now.since = 0
        return (far,)
    if minute.far_fires:
        return (near,)
    now.since = 0
    return (near, far) if minute.near_fires and not rule.fire_after else ()


class Track:
    """One `for` of a rule on one host or one of its subjects, judged minute by minute."""

    def __init__(self, width: Instant) -> None:
        """`width`: how long a value may be that of any moment: a minute, or 0."""
        self._width = width
        self._least, self._most = _Standing(), _Standing()
        self.firings: list[Firing] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing is open, and nothing waits: what a calm minute cannot change."""
        return not (self._most.has_fired or self._most.since or self._least.has_fired or self._least.since)

    @property
    def is_settled(self) -> bool:
        """Whether it has surely fired, and nothing waits."""
        return self._least.is_settled and self._most.is_settled

    def hear(self, judged: Judged, seen: Seen, at: Instant, *, may_gap: bool, has_gap: bool) -> None:
        """Judge a minute that has values. `has_gap`: it comes after a gap that ends every wait; `may_gap`: perhaps."""
        most, least = self._most, self._least
        if has_gap or (may_gap and most.has_fired):
            most.since = 0
        if has_gap or (may_gap and not least.has_fired):
            least.since = 0
        values = _most_open(judged.most, most, seen, at)
        if values:
            had_fired, has_fired = most.has_fired, most.hear(judged.most, values, at)
            if has_fired and not had_fired:
                self._begin(at)
            if has_fired or had_fired:
                self.firings[-1].ended_at = None if most.has_fired else at + self._width
        values = _least_open(judged.least, least, seen, at)
        if values and least.hear(judged.least, values, at):
            self.firings[-1].is_certain = True

    def _begin(self, at: Instant) -> None:
        """A stretch that begins as the one before it ends is the same one."""
        if not self._width or not self.firings or self.firings[-1].ended_at != at:
            self.firings.append(Firing(at))

    def lose(self, at: Instant) -> None:
        """End what is open because its value is missing. What waits is not touched."""
        if self._most.has_fired:
            self.end(at)

    def end(self, at: Instant, *, least: bool = True, most: bool = True) -> None:
        """End what is open then: the host is offline, has left, the rule is not for it any more, or the value is missing."""
        if least:
            self._least.has_fired = self._least.since = 0
        if most:
            if self._most.has_fired:
                self.firings[-1].ended_at = max(at, self.firings[-1].began_at)
            self._most.has_fired = self._most.since = 0


class Judged(NamedTuple):
    """A rule as it is in force for a host, and its first step as often and as seldom open as the minutes allow."""

    rule: Rule
    most: Rule
    least: Rule


def judged(rule: Rule) -> Judged:
    """The rule, made ready."""
    first = replace(rule, steps=rule.steps[:1], overrides=())
    if rule.is_by_minute:
        return Judged(first, first, first)
    fire, resolve = rule.fire_after, rule.resolve_after
    return Judged(
        first,
        replace(first, fire_after=_shorter(fire), resolve_after=_longer(resolve)),
        replace(first, fire_after=_longer(fire), resolve_after=_shorter(resolve)),
    )


def _longer(wait: Instant) -> Instant:
    return wait + WITHIN if wait else 0


def _shorter(wait: Instant) -> Instant:
    return max(0, wait - WITHIN)


def in_force(rule: Rule, waits: Sequence[Instant]) -> Callable[[Labels], tuple[Judged, ...] | None]:
    """A function that finds the rule for a host, once for each `for` of `waits`. An override that has a `for` of its own keeps it."""
    others = [
        tuple(judged(one.rule if "for" in one.keys else replace(one.rule, fire_after=wait)) for wait in waits)
        for one in rule.overrides
    ]
    usual = tuple(judged(replace(rule, fire_after=wait)) for wait in waits)

    def find(labels: Labels) -> tuple[Judged, ...] | None:
        if not rule.where.matches(labels):
            return None
        for override, its in zip(rule.overrides, others, strict=True):
            if override.where.matches(labels):
                return its if override.rule.is_enabled else None
        return usual

    return find


@dataclass(frozen=True, slots=True)
class Part:
    """From `since` on, these rules are in force for the host, one for each `for`; None: it is not there, or they are not for it.

    A gap between two samples of more than `patience` ends what waits.
    """

    since: Instant
    rules: tuple[Judged, ...] | None
    patience: Instant


class Walk:
    """Judges a host: says which quarters of an hour it has to see, and hears their minutes."""

    def __init__(
        self,
        hostname: str,
        tracks: int,
        parts: Sequence[Part],
        ends: Iterable[Instant],
        hot: Iterable[int],
        kept: Iterable[int] = (),
        *,
        is_by_minute: bool = False,
    ):
        """`ends`: when what was open ended, because the host was offline. `hot`: the quarters, by their first seconds, with a
        value at which the rule fires. `kept`: those in which each sample has a value, and none would end it.
        """
        self.hostname = hostname
        self._is_by_minute = is_by_minute
        self.tracks = [Track(0 if is_by_minute else MINUTE) for _ in range(tracks)]
        self._parts, self._ends = list(parts), sorted(ends)
        self._part = Part(0, None, 0)
        self._hot, self._kept = sorted(set(hot)), set(kept)
        self._next_hot = 0
        self._next: int | None = self._hot[0] if self._hot else None
        self._is_idle = True
        self._in_a_row = 1  # so many quarters are worth a guess
        self._before: Minute | None = None  # the last minute that has values
        self._usual = 1  # so many samples has a minute in which none is missing
        self._missing: list[Minute] = []  # the minutes since then
        self._unknown_at: Instant | None = None
        self._held: Minute | None = None  # a minute that is judged once another one follows

    def wanted(self, most: int) -> list[int]:
        """The quarters that it has to see next, at most so many; none: it is done. Those after the first are a guess."""
        if self._next is None:
            return []
        found = [self._next + n * QUARTER_SECONDS for n in range(min(most, self._in_a_row))]
        n = self._next_hot
        while len(found) < most and n < len(self._hot):
            for quarter in (self._hot[n], self._hot[n] + QUARTER_SECONDS):
                if quarter > found[-1]:
                    found.append(quarter)
            n += 1
        return found[:most]

    def hear(self, minutes_by_quarter: Mapping[int, Sequence[Minute]], until: int) -> None:
        """Judge the quarters that it has to see, as far as they are given, in order of time. Nothing is known from `until` on."""
        while self._next is not None and self._next in minutes_by_quarter:
            quarter = self._next
            for minute in minutes_by_quarter[quarter]:
                self._hear(minute)
            self._next = self._after(quarter + QUARTER_SECONDS, until)

    def _after(self, quarter: int, until: int) -> int | None:
        """The next quarter to see, from this one on."""
        while True:
            if quarter >= until:
                self._catch_up(until * SECOND)
                return None
            while self._next_hot < len(self._hot) and self._hot[self._next_hot] < quarter:
                self._next_hot += 1
            if self._is_idle and not self._is_held(lambda ends: ends.near_fires):
                self._in_a_row, self._missing, self._held = 1, [], None
                if self._next_hot == len(self._hot):
                    return None
                return self._hot[self._next_hot]
            is_settled = quarter in self._kept and all(track.is_settled for track in self.tracks)
            is_settled &= not self._is_held(lambda ends: ends.far_resolves)
            if not is_settled or self._is_interrupted(quarter + QUARTER_SECONDS):
                self._in_a_row *= 2
                return quarter
            quarter += QUARTER_SECONDS  # nothing happens in it
            self._before, self._missing, self._held = None, [], None

    def _is_held(self, calls: Callable[[Seen], bool]) -> bool:
        """Whether a minute waits to be judged that calls for something."""
        held, rules = self._held, self._part.rules
        if held is None or rules is None or held.lowest is None or held.highest is None:
            return False
        return calls(seen(rules[0].rule, held.lowest, held.highest))

    def _is_interrupted(self, until: int) -> bool:
        """Whether something but a value ends it before then."""
        return bool(
            (self._ends and self._ends[0] < until * SECOND) or (self._parts and self._parts[0].since < until * SECOND)
        )

    def _look(self) -> None:
        self._is_idle = all(track.is_idle for track in self.tracks)

    def _catch_up(self, until: Instant) -> None:
        """Learn what happened to the host before then."""
        while self._parts and self._parts[0].since < until:
            self._part = self._parts.pop(0)
            if self._part.rules is None:
                for track in self.tracks:
                    track.end(self._part.since)
        while self._ends and self._ends[0] < until:
            at = self._ends.pop(0)
            for track in self.tracks:
                track.end(at)
        if not self._is_idle:
            self._look()

    def _hear(self, minute: Minute) -> None:
        self._catch_up((minute.second + 60) * SECOND)
        if not self._is_by_minute:
            self._judge(minute)
            return
        held, self._held = self._held, minute
        patience = patience_in_minutes(self._part.patience)
        if held is not None and (minute.second - held.second) * SECOND <= patience:
            self._judge_mean(held, patience)

    def _judge_mean(self, minute: Minute, patience: Instant) -> None:
        """Judge the mean of a minute, as the live rules do when the next one begins."""
        rules, at = self._part.rules, (minute.second + 60) * SECOND
        if rules is None:
            return
        if minute.lowest is None or minute.highest is None:
            if not self._is_idle:
                self._miss_mean(minute, rules, at)
            return
        self._missing, self._unknown_at = [], None
        has_gap = self._before is not None and (minute.second - self._before.second) * SECOND > patience
        self._hear_ends(minute, rules, at, may_gap=False, has_gap=has_gap)

    def _miss_mean(self, minute: Minute, rules: Sequence[Judged], at: Instant) -> None:
        self._missing.append(minute)
        rule = rules[0].rule
        is_lost = (
            len(self._missing) >= MISSING_SAMPLES
            and (minute.second - self._missing[0].second) * SECOND >= rule.no_data_after
        )
        if self._unknown_at is None and is_lost:
            self._unknown_at = at
        if self._unknown_at is not None and (rule.no_data == RESOLVE or at - self._unknown_at >= UNKNOWN_MAX):
            for track in self.tracks:
                track.lose(at)
            self._look()

    def _judge(self, minute: Minute) -> None:
        rules = self._part.rules
        if rules is None:
            return
        if minute.values < minute.samples:
            self._miss(minute, rules)
        if not minute.values:
            return
        self._missing = self._missing[-1:] if minute.values < minute.samples else []
        self._usual = max(self._usual, minute.values)
        lost, apart, patience = self._usual - minute.values, MINUTE, self._part.patience
        if self._before is not None:
            lost += self._usual - self._before.values
            apart = (minute.second - self._before.second) * SECOND
        has_gap = apart - MINUTE > patience
        may_gap = (lost + 1) * MINUTE > self._usual * patience or (apart > MINUTE and apart + MINUTE > patience)
        self._hear_ends(minute, rules, minute.second * SECOND, may_gap=may_gap, has_gap=has_gap)

    def _hear_ends(self, minute: Minute, rules: Sequence[Judged], at: Instant, *, may_gap: bool, has_gap: bool) -> None:
        assert minute.lowest is not None
        assert minute.highest is not None
        ends = seen(rules[0].rule, minute.lowest, minute.highest)
        if ends.near_fires or not self._is_idle:
            for track, one in zip(self.tracks, rules, strict=True):
                if ends.near_fires or not track.is_idle:
                    track.hear(one, ends, at, may_gap=may_gap, has_gap=has_gap)
            self._look()
        self._before = minute

    def _miss(self, minute: Minute, rules: Sequence[Judged]) -> None:
        """End what is open, where its value has been missing for long enough: perhaps, or surely."""
        if self._is_idle:
            return
        self._missing.append(minute)
        missing = sum(each.samples - each.values for each in self._missing)
        whole = [each for each in self._missing if not each.values]
        for track, one in zip(self.tracks, rules, strict=True):
            after = one.rule.no_data_after + (0 if one.rule.no_data == RESOLVE else UNKNOWN_MAX)
            most = (minute.second - self._missing[0].second) * SECOND + WITHIN
            may_end = missing >= MISSING_SAMPLES and most >= after
            surely = bool(whole) and (whole[-1].second - whole[0].second) * SECOND - WITHIN >= after
            must_end = surely and sum(each.samples for each in whole) >= MISSING_SAMPLES
            track.end((minute.second + 60) * SECOND, least=may_end, most=must_end)
        self._look()
