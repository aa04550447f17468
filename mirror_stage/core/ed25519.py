"""Checks Ed25519 signatures (RFC 8032), so that an agent needs no library for that. It cannot sign. Pure.

The work depends on public values only (a key, a message, a signature), so how long it takes tells nobody anything.

It is strict: numbers and points have one encoding only, and keys and points of small order are refused, because with
those one signature fits many messages.
"""

from __future__ import annotations

import hashlib

KEY_BYTES, SIGNATURE_BYTES = 32, 64

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493  # the order of the base point
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT_OF_MINUS_1 = pow(2, (_P - 1) // 4, _P)
_SIGN = 1 << 255

Point = tuple[int, int, int, int]  # (X, Y, Z, T) with x = X / Z, y = Y / Z, x * y = T / Z: RFC 8032, section 5.1.4
_NEUTRAL = (0, 1, 1, 0)


def is_key(key: bytes) -> bool:
    """Whether this is a public key that signatures can be checked with."""
    point = _decoded(key) if len(key) == KEY_BYTES else None
    return point is not None and not _is_small(point)


def is_signed(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the owner of the public key has signed the message."""
    if len(key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    owner = _decoded(key)
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    if owner is None or _is_small(owner) or s >= _L:
        return False
    k = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % _L
    x, y, z, t = owner
    found = _sum_of_multiples(s, _MULTIPLES_OF_BASE, k, _multiples((-x % _P, y, z, -t % _P)))
    return _encoded(found) == r and not _is_small(found)


def _decoded(text: bytes) -> Point | None:
    """The point of 32 bytes: RFC 8032, section 5.1.3. None if they are no point, or not its only encoding."""
    number = int.from_bytes(text, "little")
    sign, y = number >> 255, number & (_SIGN - 1)
    if y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if (v * x * x - u) % _P:
        x = x * _ROOT_OF_MINUS_1 % _P
        if (v * x * x - u) % _P:
            return None
    if x == 0 and sign:
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _encoded(point: Point) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, _P - 2, _P)
    return (y * inverse % _P | (x * inverse % _P & 1) << 255).to_bytes(32, "little")


def _is_small(point: Point) -> bool:
    """Whether eight times the point is the neutral one."""
    x, y, z, _ = _doubled(_doubled(_doubled(point)))
    return x == 0 and y == z


def _added(one: Point, other: Point) -> Point:
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a, b = (y1 - x1) * (y2 - x2) % _P, (y1 + x1) * (y2 + x2) % _P
    c, d = 2 * _D * t1 * t2 % _P, 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _doubled(point: Point) -> Point:
    x, y, z, _ = point
    a, b = x * x % _P, y * y % _P
    h = a + b
    e, g = h - (x + y) * (x + y) % _P, a - b
    f = 2 * z * z % _P + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _multiples(point: Point) -> list[Point]:
    """0 to 15 times the point."""
    found = [_NEUTRAL]
    for _ in range(15):
        found.append(_added(found[-1], point))
    return found


def _sum_of_multiples(m: int, of_one: list[Point], n: int, of_other: list[Point]) -> Point:
    """m times one point and n times another, four bits of both at a time (Straus)."""
    total: Point = _NEUTRAL
    for shift in range(252, -1, -4):
        if total is not _NEUTRAL:
            total = _doubled(_doubled(_doubled(_doubled(total))))
        total = _added(_added(total, of_one[m >> shift & 15]), of_other[n >> shift & 15])
    return total


def _base() -> Point:
    found = _decoded((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little"))
    assert found is not None
    return found


_MULTIPLES_OF_BASE = _multiples(_base())
