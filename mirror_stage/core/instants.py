"""Instants: whole milliseconds since 1970-01-01 UTC, and their text on the wire (ISO 8601, milliseconds, `Z`)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

Instant = int

SECOND: Instant = 1_000
MINUTE: Instant = 60 * SECOND
HOUR: Instant = 60 * MINUTE
DAY: Instant = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)
_SECOND_60 = re.compile(r"(?<=[T ]\d\d:\d\d:)60|(?<=[T ]\d{4})60")


def to_text(instant: Instant) -> str:
    """`2025-11-01T02:15:00.000Z` for an instant."""
    return f"{datetime.fromtimestamp(instant // 1000, timezone.utc).isoformat()[:19]}.{instant % 1000:03d}Z"


def to_optional_text(instant: Instant | None) -> str | None:
    """The text of an instant; None stays None."""
    return None if instant is None else to_text(instant)


def day(seconds: float) -> str:
    """`2025-11-01`: the date of a moment in seconds since 1970, UTC."""
    return to_text(int(seconds) * SECOND)[:10]


def from_text(text: str) -> Instant:
    """The instant of an ISO 8601 date and time. A text without a zone is UTC; digits beyond milliseconds are cut.

    A leap second, 23:59:60 at the end of a month, is the second after it, as on Unix clocks.
    Raises ValueError for anything else. An offset may move the result before year 1 or after 9999, so callers check its range.
    """
    if not 16 <= len(text) <= 64:  # shorter than 2025-11-01T02:15: a bare date is not an instant
        raise ValueError("not a date and a time")
    text = text.upper().replace("Z", "+00:00")  # RFC 3339 allows a lower-case t and z; Python knows Z from 3.11 on
    try:
        return _of_iso(text)
    except ValueError:
        before = _SECOND_60.sub("59", text, count=1)
        after = _of_iso(before) + SECOND
        if before == text or to_text(after)[8:19] != "01T00:00:00":  # leap seconds are the last of a month in UTC
            raise
        return after


def _of_iso(text: str) -> Instant:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - _EPOCH) // _MILLISECOND


EARLIEST: Instant = 0  # of a sample or a query: a clock that was never set begins at 1970
LATEST: Instant = from_text("2100-12-31T23:59:59.999Z")
