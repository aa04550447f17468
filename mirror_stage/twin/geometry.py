"""The place of a host, computed once from its rack and its index, so that a new host never moves the others."""

from __future__ import annotations

import hashlib
import math

Place = tuple[float, float, float]

ORIGIN: Place = (0.0, 0.0, 0.0)
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))  # of a sunflower spiral: equal area for every index, no two in one place
_RACK_DISTANCE, _RACK_SPREAD = 24.0, 60.0
_HOST_SPACING, _HOST_HEIGHT = 1.2, 0.55


def place(rack: str | None, index: int) -> Place:
    """The place of a host, in scene units, with the hub at the origin.

    The hosts of a rack stand on a sunflower spiral around the spot of their rack; hosts without a rack around the hub.
    """
    x, z = _rack_spot(rack) if rack else (0.0, 0.0)
    radius = _HOST_SPACING * math.sqrt(index) + (0.0 if rack else 6.0)
    angle = index * GOLDEN_ANGLE
    height = (index % 5) * _HOST_HEIGHT
    return (round(x + radius * math.cos(angle), 3), round(height, 3), round(z + radius * math.sin(angle), 3))


def _rack_spot(rack: str) -> tuple[float, float]:
    """The spot of a rack, computed from its name alone: an angle, and a distance between two limits."""
    digest = hashlib.sha256(rack.encode()).digest()
    angle = int.from_bytes(digest[:4]) / 2**32 * math.tau
    distance = _RACK_DISTANCE + int.from_bytes(digest[4:8]) / 2**32 * _RACK_SPREAD
    return distance * math.cos(angle), distance * math.sin(angle)
