"""How much of a command's output is kept, and the line that replaces the part left out. Agent and EGO use the same rules. Pure."""

from __future__ import annotations

import re

HEAD_BYTES = 16 * 1024
TAIL_BYTES = 48 * 1024
NOTE_BYTES_MAX = 64
KEPT_BYTES = HEAD_BYTES + TAIL_BYTES + NOTE_BYTES_MAX

_NOTE = re.compile(rb"^\[(\d{1,15}) bytes are left out here\]\n", re.MULTILINE)


def note(left_out: int) -> bytes:
    """The line that replaces `left_out` bytes."""
    return b"[%d bytes are left out here]\n" % left_out


def full_size(text: bytes) -> int:
    """How many bytes a text had before parts of it were replaced by the lines of `note`."""
    return len(text) + sum(int(found[1]) - len(found[0]) for found in _NOTE.finditer(text))


def shortened(text: bytes) -> bytes:
    """`text`, or its beginning and its end if it is longer than what is kept. Its notes count what they stand for."""
    if len(text) <= KEPT_BYTES:
        return text
    ends = text[:HEAD_BYTES], text[-TAIL_BYTES:]
    hidden = (full_size(text) - len(text)) - sum(full_size(end) - len(end) for end in ends)
    return cut(*ends, len(text) + hidden)


def cut(first: bytes, last: bytes, size_bytes: int) -> bytes:
    """The beginning of a stream (at most 16 KiB of `first`), the line of `note`, and its end (at most 48 KiB of `last`).

    The cut lies between whole lines; where a line is too long for that, between whole UTF-8 characters.
    """
    head = _without_last_part(first[:HEAD_BYTES])
    tail = without_first_part(last[-TAIL_BYTES:])
    line_break = b"" if head.endswith(b"\n") or not head else b"\n"
    return head + line_break + note(size_bytes - len(head) - len(tail)) + tail


def without_first_part(text: bytes) -> bytes:
    """`text` from its first whole line on; if its first half has no line break, from its first whole UTF-8 character on."""
    begins = text.find(b"\n") + 1
    if 0 < begins <= len(text) // 2:
        return text[begins:]
    return text[next((place for place, byte in enumerate(text[:4]) if byte & 0xC0 != 0x80), 0) :]


def _without_last_part(text: bytes) -> bytes:
    ends = text.rfind(b"\n") + 1
    if ends > len(text) // 2:
        return text[:ends]
    for back in range(1, min(4, len(text)) + 1):
        byte = text[-back]
        if byte & 0xC0 != 0x80:  # where the last character begins
            length = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return text if length <= back else text[:-back]
    return text
