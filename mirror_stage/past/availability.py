"""How much of a stretch of time a host was online. Pure: no Flask, no SQL, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mirror_stage.core.instants import DAY, Instant

Span = tuple[Instant, Instant]
"""From an instant to before another one. A list of spans is rising, and no two of them touch."""

PERIODS: tuple[tuple[str, Instant], ...] = (("24h", DAY), ("7d", 7 * DAY), ("30d", 30 * DAY))


@dataclass(frozen=True, slots=True)
class Availability:
    """Milliseconds of a period: online and offline while EGO watched the host, and what is not known."""

    online: Instant
    offline: Instant
    unknown: Instant
    outages: int

    @property
    def share(self) -> float | None:
        """The part of the known time that the host was online, 0 to 1; None if nothing is known."""
        known = self.online + self.offline
        return self.online / known if known else None


def availability(there: Iterable[Span], watched: Iterable[Span], silent: Iterable[Span], period: Span) -> Availability:
    """What is known of a period.

    `there`: the host was in the twin. `watched`: EGO was running. `silent`: EGO called the host offline. Outside of
    both of the first two nothing is known, whatever the third says.
    """
    known = both(both(merged(there), merged(watched)), [period])
    quiet = merged(silent)
    seen, down = length(known), length(both(known, quiet))
    outages = sum(1 for span in quiet if both(known, [span]))
    return Availability(seen - down, down, period[1] - period[0] - seen, outages)


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same time as spans that rise and do not touch. Empty spans are left out."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if start >= end:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def both(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    """The time that is in both."""
    return list(_both(one, other))


def _both(one: Sequence[Span], other: Sequence[Span]) -> Iterator[Span]:
    here, there = 0, 0
    while here < len(one) and there < len(other):
        (start, end), (begins, ends) = one[here], other[there]
        if max(start, begins) < min(end, ends):
            yield max(start, begins), min(end, ends)
        if end < ends:
            here += 1
        else:
            there += 1


def length(spans: Iterable[Span]) -> Instant:
    return sum(end - start for start, end in spans)


def presence_of(turns: Iterable[tuple[Instant, bool]], until: Instant) -> list[Span]:
    """The time in which a host was in the twin, of (instant, whether it is there from then on), rising."""
    steps = [*turns, (until, False)]
    return merged((since, then) for (since, is_there), (then, _) in pairwise(steps) if is_there)
