"""Passwords as argon2id hashes. One takes 64 MiB and some 50 ms, so EGO computes two at a time, in native threads."""

from __future__ import annotations

from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY
from gevent.threadpool import ThreadPool

AT_ONCE = 2

_hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
# Of no password: it is checked for names that EGO does not know, so that the answer takes as long.
NOBODYS_HASH = "$argon2id$v=19$m=65536,t=3,p=4$MIRRORSTAGEEGOnobodyAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def hashed(password: str) -> str:
    """The hash of a password, with a salt of its own. Takes some 50 ms."""
    return _hasher.hash(password)


def is_right(stored: str | None, password: str) -> bool:
    """Whether a password has this hash; False if there is none. It takes the same time in each case."""
    try:
        return _hasher.verify(stored or NOBODYS_HASH, password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


class Passwords:
    """Checks passwords without holding up the event loop."""

    @cached_property
    def _threads(self) -> ThreadPool:
        return ThreadPool(AT_ONCE)

    def is_right(self, stored: str | None, password: str) -> bool:
        """`is_right`, in one of AT_ONCE threads; it waits while all of them compute."""
        return bool(self._threads.apply(is_right, (stored, password)))
