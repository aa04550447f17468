"""How often somebody may try something, and how failed tries come into the audit. Time is an argument, in seconds."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from mirror_stage.core.budget import Budget
from mirror_stage.core.problems import Refused

OF_ACCOUNT = (1 / 20, 5.0)  # a second, and at once
OF_ADDRESS = (1 / 5, 20.0)
OF_ALL = (2.0, 60.0)
REMEMBERED_MAX = 1_000  # accounts and addresses, each
REPORT_SECONDS = 60.0
NAMES_MAX = 5  # in one report


class Attempts:
    """Limits how often `what` may be tried: for each account, for each address, and in total."""

    def __init__(
        self,
        what: str = "to sign in",
        of_address: tuple[float, float] = OF_ADDRESS,
        of_all: tuple[float, float] = OF_ALL,
    ) -> None:
        self._what, self._of_address, self._all = what, of_address, Budget(*of_all)
        self._by_account: dict[str, Budget] = {}
        self._by_address: dict[str, Budget] = {}
        self._at_home: dict[str, Budget] = {}  # by account and address

    def take(self, now: float, address: str | None, account: str | None) -> None:
        """Count one try. Raises Refused, with the time to wait, if there were too many."""
        limits = [("from this address", _of(self._by_address, network_of(address), self._of_address))]
        if account is not None:
            limits.append(("for this account", _of(self._by_account, account, OF_ACCOUNT)))
        limits.append(("in total", self._all))  # last: who is refused otherwise must not use up the tries of all
        for whose, budget in limits:
            _take(now, whose, budget, self._what)

    def take_at_home(self, now: float, address: str | None, account: str) -> None:
        """Count one try from an address where this account has signed in before: the tries of others do not keep it out.

        Raises Refused.
        """
        _take(
            now,
            "for this account from this address",
            _of(self._at_home, f"{account} {network_of(address)}", OF_ACCOUNT),
            self._what,
        )

    def succeeded(self, address: str | None, account: str | None) -> None:
        """Give the try back: it was no guess."""
        for known, name in ((self._by_address, network_of(address)), (self._by_account, account)):
            if name in known:
                known[name].left += 1


def _take(now: float, whose: str, budget: Budget, what: str) -> None:
    if not budget.take(now):
        wait = int((1 - budget.left) / budget.per_second) + 1
        raise Refused(f"too many tries {what} {whose}; try again in {wait} s", retry_after=wait)


def _of(known: dict[str, Budget], name: str, limit: tuple[float, float]) -> Budget:
    budget = known.pop(name, None) or Budget(*limit)
    known[name] = budget  # the one used last is at the end
    if len(known) > REMEMBERED_MAX:
        del known[next(iter(known))]
    return budget


def network_of(address: str | None) -> str:
    """The address, of IPv6 its /64: a client has all addresses of that."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return ""
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)


@dataclass(slots=True)
class _Failed:
    since: float
    names: Counter[str] = field(default_factory=Counter)


class Failures:
    """Tries that failed, by peer. The first is reported at once, then at most one report a minute."""

    def __init__(self) -> None:
        self._by_peer: dict[str | None, _Failed] = {}

    def note(self, now: float, peer: str | None, name: str) -> str | None:
        """Count a failure. Returns what is to be reported now, None if it waits."""
        if peer not in self._by_peer and len(self._by_peer) >= REMEMBERED_MAX:
            peer = None  # too many peers: the others are one
        failed = self._by_peer.get(peer)
        if failed is None:
            self._by_peer[peer] = _Failed(now)
            return f"as {name}"
        failed.names[name if name in failed.names or len(failed.names) < NAMES_MAX else "others"] += 1
        return None

    def due(self, now: float) -> Iterator[tuple[str | None, str]]:
        """Peer and report of all failures that have waited for a minute."""
        for peer, failed in list(self._by_peer.items()):
            if now - failed.since < REPORT_SECONDS:
                continue
            if failed.names:
                count = failed.names.total()
                names = ", ".join(sorted(failed.names))
                self._by_peer[peer] = _Failed(now)
                yield peer, f"{'once' if count == 1 else f'{count} times'} more, as {names}"
            else:
                del self._by_peer[peer]
