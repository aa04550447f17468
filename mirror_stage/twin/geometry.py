"""Where hosts stand: computed once from the rack and the place index, so that no newcomer moves anybody."""

from __future__ import annotations

import hashlib
import math

Place = tuple[float, float, float]

ORIGIN: Place = (0.0, 0.0, 0.0)
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))  # the sunflower's: equal area for every index, no two in one place
_RACK_DISTANCE, _RACK_SPREAD = 24.0, 60.0
_HOST_SPACING, _HOST_HEIGHT = 1.2, 0.55


def place(rack: str | None, index: int) -> Place:
    """The place of a host, in scene units around the hub at the origin.

    Hosts of a rack stand on a small sunflower around their rack's own spot; those without a rack on one around the hub.
    """
    x, z = _rack_spot(rack) if rack else (0.0, 0.0)
    radius = _HOST_SPACING * math.sqrt(index) + (0.0 if rack else 6.0)
    angle = index * GOLDEN_ANGLE
    height = (index % 5) * _HOST_HEIGHT
    return (round(x + radius * math.cos(angle), 3), round(height, 3), round(z + radius * math.sin(angle), 3))


def _rack_spot(rack: str) -> tuple[float, float]:
    """A rack's spot, from its name alone: an angle and a distance between two rings."""
    digest = hashlib.sha256(rack.encode()).digest()
    angle = int.from_bytes(digest[:4]) / 2**32 * math.tau
    distance = _RACK_DISTANCE + int.from_bytes(digest[4:8]) / 2**32 * _RACK_SPREAD
    return distance * math.cos(angle), distance * math.sin(angle)
