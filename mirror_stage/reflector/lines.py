"""Lines of a file that somebody else may have cut in two: each carries its own checksum. Pure."""

from __future__ import annotations

import zlib

_SUM_DIGITS = 8


def to_line(record: bytes) -> bytes:
    """The line of one record, which holds no line break: `checksum record`."""
    return b"%08x %b\n" % (zlib.crc32(record), record)


def to_records(content: bytes) -> tuple[list[bytes], int]:
    """The whole records in a file's content, in order, and how many lines are none: torn or changed."""
    records: list[bytes] = []
    torn = 0
    for line in content.split(b"\n"):
        record = line[_SUM_DIGITS + 1 :]
        if line[: _SUM_DIGITS + 1] == b"%08x " % zlib.crc32(record):
            records.append(record)
        elif line:
            torn += 1
    return records, torn
