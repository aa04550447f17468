"""Accounts of this machine that the settings name."""

from __future__ import annotations

import pwd
from collections.abc import Iterable

from mirror_stage.core.clock import elapsed_seconds

KEPT_SECONDS = 10.0


class Accounts:
    """The numbers (uids) of accounts that are given as names or numbers; those that do not exist are left out.

    They are looked up again after 10 s: a service's account may come with the service, under a new number each time.
    """

    def __init__(self, names: Iterable[str]):
        self._names = tuple(names)
        self._looked_up_at: float | None = None
        self._uids: frozenset[int] = frozenset()

    def uids(self) -> frozenset[int]:
        """The numbers as they are now, or were 10 s ago."""
        now = elapsed_seconds()
        if self._looked_up_at is None or now - self._looked_up_at >= KEPT_SECONDS:
            self._looked_up_at = now
            self._uids = frozenset(uid for uid in map(uid_named, self._names) if uid is not None)
        return self._uids

    def unknown(self) -> list[str]:
        """The names that no account has."""
        return [name for name in self._names if uid_named(name) is None]


def uid_named(name: str) -> int | None:
    """The number of an account; None if there is none of this name."""
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None
