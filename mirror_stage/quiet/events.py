"""What clients of the `/alerts` namespace hear of silences, maintenance and mute times."""

from __future__ import annotations

from typing import Any

from mirror_stage.core.instants import Instant
from mirror_stage.quiet.domain import Version
from mirror_stage.quiet.schemas import on_wire

SILENCE_UPDATE = "silence-update"


def silence_update(change: str, version: Version, now: Instant, grace: Instant) -> dict[str, Any]:
    """`{"kind": "silence|maintenance|mute-time", "change": "created|changed|ended|began|over", "item": {...}}`."""
    return {"kind": version.kind, "change": change, "item": on_wire(version, now, grace)}
