"""Accounts of this machine that the settings name."""

from __future__ import annotations

import pwd
from collections.abc import Iterable

from mirror_stage.core.clock import elapsed_seconds

KEPT_SECONDS = 10.0


class Accounts:
    """The uids of accounts that are given as names or uids. An account that does not exist is left out.

    A look-up is valid for 10 s. The account of a service with `DynamicUser=` exists only while the service runs, and has
    another uid after each start.
    """

    def __init__(self, names: Iterable[str]):
        self._names = tuple(names)
        self._looked_up_at: float | None = None
        self._uids: frozenset[int] = frozenset()

    def uids(self) -> frozenset[int]:
        """The uids of the accounts; the answer is at most 10 s old."""
        now = elapsed_seconds()
        if self._looked_up_at is None or now - self._looked_up_at >= KEPT_SECONDS:
            self._looked_up_at = now
            self._uids = frozenset(uid for uid in map(uid_named, self._names) if uid is not None)
        return self._uids

    def unknown(self) -> list[str]:
        """The names for which this machine has no account."""
        return [name for name in self._names if uid_named(name) is None]


def uid_named(name: str) -> int | None:
    """The uid of an account; None if there is no account of this name."""
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None
