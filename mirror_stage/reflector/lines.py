"""Lines with a checksum each, so that a line which a crash has torn is recognised. Pure."""

from __future__ import annotations

import zlib

_SUM_DIGITS = 8


def to_line(record: bytes) -> bytes:
    """The line `checksum record`. The record must not hold a line break."""
    return b"%08x %b\n" % (zlib.crc32(record), record)


def to_records(content: bytes) -> tuple[list[bytes], int]:
    """The valid records of a file's content, in order, and the number of torn or changed lines."""
    records: list[bytes] = []
    torn = 0
    for line in content.split(b"\n"):
        record = line[_SUM_DIGITS + 1 :]
        if line[: _SUM_DIGITS + 1] == b"%08x " % zlib.crc32(record):
            records.append(record)
        elif line:
            torn += 1
    return records, torn
