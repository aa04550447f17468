"""Agents that wait for a command: long polls, at most one for each host, woken when there is a command to claim."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from gevent import monkey
from gevent.event import Event

from mirror_stage.core.clock import elapsed_seconds

Found = TypeVar("Found")
_poll = monkey.get_original("select", "poll")  # gevent's version would let other greenlets run
_GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR | select.POLLNVAL


def is_connected(environ: dict[str, Any]) -> bool:
    """Whether the client of this request is still there, as far as its socket knows; never waits.

    Without a socket (a test client, another server) the answer is yes.
    """
    wire = environ.get("gunicorn.socket")
    if wire is None:
        return True
    if wire.fileno() < 0:
        return False
    poll = _poll()
    poll.register(wire.fileno(), _GONE)
    return not poll.poll(0)


class Waiter:
    """One request that waits; `credential` proves who sent it."""

    def __init__(self, credential: str | None) -> None:
        self.woken, self.credential = Event(), credential
        self.is_dismissed = False

    def dismiss(self) -> None:
        """End its wait without another claim."""
        self.is_dismissed = True
        self.woken.set()


class Waiters:
    """All long polls of this process, at most `most`. The newest poll of a host dismisses the older one."""

    def __init__(self, most: int):
        self._most = most
        self._waiters_by_hostname: dict[str, Waiter] = {}
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiters_by_hostname)

    def serve(
        self,
        hostname: str,
        seconds: float,
        claim: Callable[[], list[Found]],
        is_there: Callable[[], bool],
        credential: str | None = None,
    ) -> list[Found]:
        """What `claim` returns, as soon as that is not empty; [] after `seconds`.

        If too many requests wait, this claims once and does not wait. It claims nothing for a client that is gone.
        """
        waiter = self._enter(hostname, seconds, credential)
        until = elapsed_seconds() + seconds
        try:
            while is_there() and not waiter.is_dismissed:
                waiter.woken.clear()
                found = claim()
                if found or self._waiters_by_hostname.get(hostname) is not waiter:
                    return found
                if not waiter.woken.wait(max(0.0, until - elapsed_seconds())):
                    return []
            return []
        finally:
            if self._waiters_by_hostname.get(hostname) is waiter:
                del self._waiters_by_hostname[hostname]

    def _enter(self, hostname: str, seconds: float, credential: str | None) -> Waiter:
        """A new waiter. It is made before the first claim, so that no command is missed between claim and wait."""
        waiter = Waiter(credential)
        older = self._waiters_by_hostname.pop(hostname, None)
        if older is not None:
            older.dismiss()
        if seconds > 0 and len(self) < self._most and not self._is_closed:
            self._waiters_by_hostname[hostname] = waiter
        return waiter

    def look_again(self, hostnames: Iterable[str]) -> None:
        """Wake the requests that wait for these hosts."""
        for hostname in hostnames:
            waiter = self._waiters_by_hostname.get(hostname)
            if waiter is not None:
                waiter.woken.set()

    def look_again_all(self) -> None:
        """Wake all requests that wait."""
        for waiter in self._waiters_by_hostname.values():
            waiter.woken.set()

    def credentials(self) -> set[str]:
        """The credentials of the requests that wait."""
        return {waiter.credential for waiter in self._waiters_by_hostname.values() if waiter.credential is not None}

    def look_again_for(self, credentials: set[str]) -> None:
        """Wake the requests with these credentials."""
        for waiter in self._waiters_by_hostname.values():
            if waiter.credential in credentials:
                waiter.woken.set()

    def close(self) -> None:
        """Dismiss every waiter, and let no request wait from now on."""
        self._is_closed = True
        for waiter in self._waiters_by_hostname.values():
            waiter.dismiss()
