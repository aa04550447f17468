"""Strict JSON: UTF-8, no NaN, limited nesting. A number beyond the range of a float loads as infinity.

A byte order mark before it is left out, as RFC 8259 allows: programs of Windows write one.
"""

from __future__ import annotations

import json
from itertools import accumulate
from typing import Any

DEPTH_MAX = 32
_DIGITS_MAX = 400  # a longer whole number is beyond the range of a float (309 digits)


def load(body: bytes) -> Any:
    """The value of a JSON text. Raises ValueError; its text completes the sentence "the body …"."""
    if is_too_deep(body):
        raise ValueError(f"nests deeper than {DEPTH_MAX}")
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=_no_constant, parse_int=_whole)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from error


def is_too_deep(content: bytes) -> bool:
    """Whether brackets nest deeper than DEPTH_MAX. Takes time in proportion to the length, for any content."""
    if content.count(b"{") + content.count(b"[") <= DEPTH_MAX:
        return False
    marks = content.replace(rb"\\", b"").replace(rb"\"", b"").translate(_AS_SQUARE, _NO_MARKS)
    brackets = b"".join(marks.replace(b'""', b"").split(b'"')[::2])  # the brackets outside of JSON strings
    if b"[" * (DEPTH_MAX + 1) in brackets:
        return True
    steps = memoryview(brackets.translate(_AS_STEPS)).cast("b")
    return max(accumulate(steps), default=0) > DEPTH_MAX


_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_MARKS = bytes(set(range(256)) - set(b'{}[]"'))
_AS_STEPS = bytes.maketrans(b"[]", b"\x01\xff")  # +1 and -1


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS_MAX else float(digits)
