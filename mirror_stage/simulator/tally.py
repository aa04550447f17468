"""Counts what became of the samples that a fleet sent, and the latencies of the answers. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from mirror_stage.simulator.client import Answer

ACCEPTED = 202
RESOLUTION = 1.02  # latencies that differ by less than 2 % are counted together
_LOG = math.log(RESOLUTION)


class Latencies:
    """A histogram of answer times, with steps of 2 %, so that its memory stays bounded."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._slowest = 0.0

    def add(self, seconds: float) -> None:
        """Count one answer."""
        self._counts[math.ceil(math.log(max(seconds, 1e-6)) / _LOG)] += 1
        self._slowest = max(self._slowest, seconds)

    def percentile(self, percent: float) -> float | None:
        """The seconds that `percent` of the answers did not exceed, at most 2 % too high; None without any."""
        wanted, seen = self._counts.total() * percent / 100, 0
        for step in sorted(self._counts):
            seen += self._counts[step]
            if seen >= wanted:
                return float(min(RESOLUTION**step, self._slowest))
        return None

    @property
    def slowest(self) -> float | None:
        """The longest answer time in seconds; None without any."""
        return self._slowest if self._counts else None


@dataclass
class Tally:
    """Counts of samples by outcome, requests by status, and commands by outcome.

    `unanswered` samples got no answer; `skipped` ones were not sent, because their turn was already over.
    """

    accepted: int = 0
    refused: int = 0
    unanswered: int = 0
    skipped: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    commands: Counter[str] = field(default_factory=Counter)
    latencies: Latencies = field(default_factory=Latencies)
    trouble: str | None = None  # the last reason why samples were not accepted

    def answered(self, count: int, answer: Answer, seconds: float) -> None:
        """Count an answered request with `count` samples."""
        self.statuses[answer.status] += 1
        self.latencies.add(seconds)
        if answer.status == ACCEPTED:
            self.accepted += count
        else:
            self.refused += count
            self.trouble = f"refused: {answer.reason}"

    def no_answer(self, count: int, why: str) -> None:
        """Count an unanswered request with `count` samples; their outcome is unknown."""
        self.unanswered += count
        self.trouble = f"no answer: {why}"

    def line(self, hosts: int, samples_per_second: float) -> str:
        """The progress of a fleet in one line."""
        parts = [
            f"{hosts:,} hosts",
            f"{samples_per_second:,.0f} samples/s",
            f"accepted {self.accepted:,}",
            f"refused {self.refused:,}",
        ]
        parts += [f"unanswered {self.unanswered:,}"] if self.unanswered else []
        parts += [f"skipped {self.skipped:,}"] if self.skipped else []
        parts.append(f"p50 {_short(self.latencies.percentile(50))} ms, p99 {_short(self.latencies.percentile(99))} ms")
        parts += [f"commands {self.commands.total():,}"] if self.commands else []
        return " · ".join(parts)

    def result(self, seconds: float, cpu_seconds: float) -> dict[str, Any]:
        """The counts as a JSON object. `cpuShare` is the CPU use of this process, of one core."""
        return {
            "seconds": round(seconds, 2),
            "requests": self.statuses.total(),
            "samplesPerSecond": round(self.accepted / seconds, 1) if seconds else 0.0,
            "accepted": self.accepted,
            "refused": self.refused,
            "unanswered": self.unanswered,
            "skipped": self.skipped,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "latencyMs": {
                "p50": _ms(self.latencies.percentile(50)),
                "p90": _ms(self.latencies.percentile(90)),
                "p99": _ms(self.latencies.percentile(99)),
                "max": _ms(self.latencies.slowest),
            },
            "commands": dict(self.commands),
            "cpuShare": round(cpu_seconds / seconds, 3) if seconds else 0.0,
            "trouble": self.trouble,
        }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _short(seconds: float | None) -> str:
    """Milliseconds for the progress line, with one decimal below 10 ms."""
    if seconds is None:
        return "–"
    return f"{seconds * 1000:.1f}" if seconds < 0.01 else f"{seconds * 1000:,.0f}"
