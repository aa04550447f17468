"""Builders and fakes: a sample, and a clock that the test sets."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from typing import Any

from mirror_stage.core.instants import Instant, to_text
from mirror_stage.core.signed import Recipient
from mirror_stage.metrics.decoder import decode_batch
from mirror_stage.metrics.domain import Sample, stamp

_numbers = itertools.count(1)


def make_sample(
    host: str = "titan-01", *, at: Instant | str | None = None, cpu_percent: float = 12.5, **fields: Any
) -> dict[str, Any]:
    """A sample as an agent posts it, now unless `at` (an instant or its text) says otherwise."""
    timestamp = to_text(at) if isinstance(at, int) else datetime.now(UTC).isoformat() if at is None else at
    return {
        "hostname": host,
        "timestamp": timestamp,
        "cpu_load": cpu_percent,
        "memory_used_percent": 40.0,
        "load_average": 0.5,
        "uptime_seconds": 7200,
        "agent_version": "0.1.0",
        "platform": "Linux-x86_64",
    } | fields


def decoded(*samples: dict[str, Any], received_at: Instant | None = None) -> list[Sample]:
    """The samples as the pipeline gets them: decoded, and with a receive time if `received_at` is given."""
    batch = decode_batch(json.dumps({"samples": samples}).encode())
    assert not batch.errors, batch.errors
    return batch.samples if received_at is None else stamp(batch.samples, received_at)


def unique_hostname(stem: str = "host") -> str:
    """A hostname that no other test of this process uses."""
    return f"{stem}-{next(_numbers):04d}"


class SetClock:
    """A clock that shows the time that the test sets."""

    def __init__(self, now: Instant = 1_762_000_000_000):
        self.instant = now

    def now(self) -> Instant:
        return self.instant

    def wall_offset_seconds(self) -> float:
        return 0.0

    def advance(self, seconds: float) -> Instant:
        self.instant += int(seconds * 1000)
        return self.instant


class NoSigner:
    """An EGO without keys: it signs nothing."""

    def recipient(self, _tx: Any, hostname: str) -> Recipient:
        return Recipient(hostname)

    def command(self, *_: object, **__: object) -> None:
        return None

    def cancel(self, *_: object) -> None:
        return None
