"""What silenced the hosts that are offline now: asked by whoever tells people of it, answered where the twin is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from mirror_stage.alerts.cause import HELD, Network, Seen
from mirror_stage.alerts.domain import HOST_OFFLINE, Alert
from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.twin.domain import Host, Status

USUAL_INTERVAL: Instant = 5 * SECOND  # of a host that says no other
REMEMBERED = 20_000  # decisions


class Causes:
    """Decides the cause of each `host_offline` alert once: what people were told does not change while the alert is open.

    `hosts` are those of the live twin. The decisions are in memory: after a restart they are made anew.
    """

    def __init__(self, hosts: Callable[[], Iterable[Host]], *, ego: str, hub: str):
        self._hosts, self._ego, self._hub = hosts, ego, hub
        self._decided: dict[str, str] = {}  # by the id of the alert
        self._network: tuple[Instant, Network, Mapping[str, Seen]] | None = None  # as it was at an instant

    def cause_of(self, alert: Alert, now: Instant) -> str | None:
        """The name of what silenced the host of an offline alert: its own if nothing else did.

        None for other alerts, and while it is not decided, at most HELD after the alert fired.
        """
        if alert.rule != HOST_OFFLINE:
            return None
        known = self._decided.get(alert.id)
        if known is not None:
            return known
        network, seen = self._at(now)
        if alert.hostname not in seen or alert.hostname == self._ego:
            return alert.hostname
        may_hold = now < alert.created_at + HELD
        if may_hold and not network.is_settled(alert.hostname, now):
            return None
        found = network.cause_of(alert.hostname, now, may_hold=may_hold)
        if found is None:
            return None
        self._decided[alert.id] = found.name
        if len(self._decided) > REMEMBERED:
            del self._decided[next(iter(self._decided))]
        return found.name

    def _at(self, now: Instant) -> tuple[Network, Mapping[str, Seen]]:
        if self._network is None or self._network[0] != now:
            seen = {host.hostname: _seen(host, now if host.hostname == self._ego else None) for host in self._hosts()
                    if host.last_seen_at is not None}  # fmt: skip
            self._network = now, Network(seen, ego=self._ego, hub=self._hub), seen
        return self._network[1:]


def _seen(host: Host, now: Instant | None) -> Seen:
    return Seen(
        last_seen=(host.last_seen_at or 0) if now is None else now,
        interval=host.interval or USUAL_INTERVAL,
        uplink=host.tags.get("uplink"),
        rack=host.sample.rack if host.sample is not None else None,
        room=host.tags.get("room"),
        is_offline=host.status == Status.OFFLINE,
    )
