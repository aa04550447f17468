"""Decides what silenced the hosts that are offline, and notices when that is back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from mirror_stage.alerts.cause import EGO, HELD, HOST, Cause, Network, Seen
from mirror_stage.alerts.domain import HOST_OFFLINE, Alert, victims
from mirror_stage.core.instants import SECOND, Instant
from mirror_stage.twin.domain import Host, Status

USUAL_INTERVAL: Instant = 5 * SECOND  # of a host that says no other
RETURNING: Instant = 30 * SECOND  # beside `offline_after`: how long hosts may take to come back after what cut them off

Key = tuple[str, str]
ISOLATED: Key = (EGO, "")
NOTHING: Mapping[str, str] = {}


class Causes:
    """Decides the cause of each `host_offline` alert, once: what people were told does not change while the cause lasts.

    If a cause is back, those that it cut off have `patience` to be heard again. Then each that is still silent is asked about anew.
    The decisions are stored with the alerts. What is kept here are the causes that are back, and a start finds them anew.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host],
        *,
        ego: str,
        hub: str,
        patience: Instant,
        ego_uplink: str | None = None,
        uplinks: Mapping[str, str] = NOTHING,
    ):
        """`hosts` are those of the live twin, by name. `ego` is the host that EGO runs on, `ego_uplink` what it is connected to.

        `uplinks` are those of hosts and switches that say none themselves.
        """
        self._hosts, self._ego, self._hub, self._patience = hosts, ego, hub, patience
        self._ego_uplink, self._uplinks = ego_uplink, uplinks
        self._back: dict[Key, Instant] = {}  # since when a cause is back
        self._hidden: Mapping[Key, int] | None = (
            None  # how many hosts each cause hid at the last look; None: there was none
        )

    def look(
        self, alerts: Iterable[Alert], listening_since: Instant, now: Instant, breathe: Callable[[], None]
    ) -> list[tuple[Alert, Cause]]:
        """What silenced the hosts of these open alerts, where that is new. Nothing is decided before everybody who is well had the time to
        be heard.

        It looks at the hosts and alerts as they are when it begins. `breathe` lets others have a turn meanwhile.
        """
        hosts = list(self._hosts.values())
        offline = [one for one in alerts if one.metric == HOST_OFFLINE]
        if not offline:
            self._back, self._hidden = {}, {}
            return []
        if now < listening_since + HELD:
            return []
        hidden = victims(offline)
        undecided = [one for one in offline if one.cause is None]
        doubted = self._doubted(hidden, now)
        self._hidden = hidden
        if not undecided and not doubted:
            return []
        seen: dict[str, Seen] = {}
        for host in hosts:
            if host.last_seen_at is not None:
                seen[host.hostname] = _seen(host, now if host.hostname == self._ego else None)
            breathe()
        network = Network(
            seen, ego=self._ego, hub=self._hub, ego_uplink=self._ego_uplink, uplinks=self._uplinks, breathe=breathe
        )
        found: dict[str, Cause | None] = {}
        for one in undecided:
            found[one.id] = self._decided(one, network, seen, listening_since, now)
            breathe()
        found |= self._anew([one for one in offline if one.is_victim], doubted, network, seen, now, breathe)
        since = _beginnings(offline, found, seen)
        decided = [(one, found.get(one.id)) for one in offline]
        return [(one, replace(cause, since=since[cause.key])) for one, cause in decided if cause is not None]

    def isolation(self, alerts: Iterable[Alert]) -> Cause | None:
        """Where EGO is cut off, by the open alerts; None: it is not, or is no more."""
        if ISOLATED in self._back:
            return None
        return next((one.cause for one in alerts if one.is_victim and one.cause and one.cause.kind == EGO), None)

    def _doubted(self, hidden: Mapping[Key, int], now: Instant) -> set[Key]:
        """The causes that may be back, because somebody they hid is, and those that were back for long enough."""
        self._back = {key: at for key, at in self._back.items() if key in hidden}
        before = self._hidden
        doubted = {key for key in hidden if before is None or hidden[key] < before.get(key, 0)}
        for kind, name in hidden:
            host = self._hosts.get(name) if kind == HOST else None
            if host is not None and host.status is Status.ONLINE:
                doubted.add((kind, name))
        over = {key for key, at in self._back.items() if now >= at + self._patience}
        return (doubted - self._back.keys()) | over

    def _decided(
        self, alert: Alert, network: Network, seen: Mapping[str, Seen], listening_since: Instant, now: Instant
    ) -> Cause | None:
        """The cause of an alert that has none; None while it is not decided, at most HELD after the alert fired."""
        if alert.hostname not in seen or alert.hostname == self._ego:
            return Cause(HOST, alert.hostname)
        may_hold = now < max(alert.created_at, listening_since) + HELD
        if may_hold and not network.is_settled(alert.hostname, now):
            return None
        return network.cause_of(alert.hostname, now, may_hold=may_hold)

    def _anew(
        self,
        hidden: Sequence[Alert],
        doubted: set[Key],
        network: Network,
        seen: Mapping[str, Seen],
        now: Instant,
        breathe: Callable[[], None],
    ) -> dict[str, Cause]:
        """The causes that have changed, by the alert, of those that were back for long enough. The others are noted as back."""
        found: dict[str, Cause] = {}
        over = {key for key in doubted if key in self._back}
        for alert in hidden:
            if alert.cause is None or alert.cause.key not in doubted or alert.hostname not in seen:
                continue
            breathe()
            key, cause = alert.cause.key, network.cause_of(alert.hostname, now)
            if cause is None or cause.key == key:
                continue
            if key in over:
                found[alert.id] = cause
            else:
                self._back.setdefault(key, now)
        for key in over:
            del self._back[key]
        return found


def _beginnings(
    offline: Iterable[Alert], found: Mapping[str, Cause | None], seen: Mapping[str, Seen]
) -> dict[Key, Instant]:
    """When the first host that each of these causes cut off fell silent."""
    since: dict[Key, Instant] = {}
    for alert in offline:
        cause = found.get(alert.id)
        if cause is not None and alert.hostname in seen:
            began = seen[alert.hostname].last_seen
        elif cause is None and alert.cause is not None:
            cause, began = alert.cause, alert.cause.since
        elif cause is not None:
            began = alert.created_at
        else:
            continue
        since[cause.key] = min(since.get(cause.key, began), began)
    return since


def _seen(host: Host, now: Instant | None) -> Seen:
    return Seen(
        last_seen=(host.last_seen_at or 0) if now is None else now,
        interval=host.interval or USUAL_INTERVAL,
        uplink=host.tags.get("uplink"),
        rack=host.sample.rack if host.sample is not None else None,
        room=host.tags.get("room"),
        is_offline=host.status == Status.OFFLINE,
    )
