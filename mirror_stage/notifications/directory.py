"""The channels and routes that there are, and how people change them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from mirror_stage.access import store as access
from mirror_stage.access.chain import Event
from mirror_stage.access.domain import Actor
from mirror_stage.core.clock import Clock
from mirror_stage.core.problems import Conflict, Invalid, NotFound
from mirror_stage.core.urls import url_trouble
from mirror_stage.notifications import channels, store
from mirror_stage.notifications.channels import ALERTMANAGER, APPRISE, EMAIL, PAGERDUTY, WEBHOOK, Channel
from mirror_stage.notifications.domain import Route
from mirror_stage.notifications.secrets import Secrets, Unreadable, is_reference, reference_trouble
from mirror_stage.notifications.store import Routes
from mirror_stage.notifications.words import Manner
from mirror_stage.storage.db import Storage, Tx

CHANNELS_MAX, ROUTES_MAX = 50, 100
FILE, HUD = "file", "hud"
KEPT = "kept:"  # in a document: the secret that EGO has
_NEEDS = {WEBHOOK: ("url",), ALERTMANAGER: ("url",), PAGERDUTY: ("secret",), APPRISE: ("url",), EMAIL: ()}
SECRETS = ("url", "secret")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A channel as somebody wants it. Of `secrets` by name: text sets one, None takes it away, one that is not named stays."""

    name: str
    kind: str
    settings: Mapping[str, Any]
    manner: Manner
    rate_per_minute: int
    secrets: Mapping[str, str | None]
    fallback: str | None = None


class Directory:
    """Channels and routes in memory, as they are stored. `look` reads them anew: another worker may have changed them.

    `mute_times` are the names that routes may have as such.
    """

    def __init__(
        self, storage: Storage, clock: Clock, secrets: Secrets, mute_times: Callable[[Tx], Set[str]] = lambda _tx: set()
    ):
        self._storage, self._clock, self.secrets, self._mute_times = storage, clock, secrets, mute_times
        self._routes = Routes()
        self.channels: Mapping[str, Channel] = {}

    @property
    def routes(self) -> Sequence[Route]:
        return self._routes.routes

    def look(self) -> None:
        """Read what is stored."""
        self.channels, self._routes = self._storage.own.read(lambda tx: (store.channels(tx), store.routes(tx)))

    def all_channels(self) -> list[Channel]:
        """Every channel, by name."""
        return list(self._storage.read(store.channels).values())

    def channel(self, name: str) -> Channel:
        """The channel of a name. Raises NotFound."""
        found = self._storage.read(store.channels).get(name)
        if found is None:
            raise NotFound(f"there is no channel {name}")
        return found

    def all_routes(self) -> Routes:
        return self._storage.read(store.routes)

    def host_of(self, channel: Channel) -> str | None:
        """Where a channel goes, for people, without what may be secret."""
        try:
            return channels.shown_host(channel, self.secrets.unseal(channel.name, channel.sealed).get("url"))
        except (Unreadable, ValueError):
            return None

    # ------------------------------------------------------------------ changes

    def create(self, wanted: Wanted, actor: Actor) -> Channel:
        """Add a channel. Raises Conflict if there is one of this name, Invalid."""
        check_secrets([wanted])

        def work(tx: Tx) -> Channel:
            self._check(wanted, None)
            there = store.channels(tx)
            if wanted.name in there:
                raise Conflict(f"there is a channel {wanted.name} already")
            _check_fallbacks({wanted.name: wanted.fallback}, there.keys())
            if len(there) >= CHANNELS_MAX:
                raise Conflict(f"there are {CHANNELS_MAX} channels, and no more are taken")
            made = self._put(tx, wanted, None, HUD, actor)
            access.record(tx, actor, Event("channel-created", wanted.name, wanted.kind), self._clock.now())
            return made

        return self._changed(self._storage.write(work))

    def change(self, wanted: Wanted, expected: int | None, actor: Actor) -> Channel:
        """Change a channel that has the version `expected`. Raises NotFound, Conflict, Invalid."""
        check_secrets([wanted])

        def work(tx: Tx) -> Channel:
            there = store.channels(tx)
            before = self._editable(there.get(wanted.name), wanted.name, expected)
            self._check(wanted, before)
            _check_fallbacks({wanted.name: wanted.fallback}, there.keys())
            after = self._put(tx, wanted, before, HUD, actor)
            access.record(tx, actor, Event("channel-changed", wanted.name, wanted.kind), self._clock.now())
            return after

        return self._changed(self._storage.write(work))

    def remove(self, name: str, actor: Actor) -> None:
        """Remove a channel. Raises NotFound, and Conflict while a route names it."""

        def work(tx: Tx) -> None:
            there = store.channels(tx)
            self._editable(there.get(name), name, None)
            falling = [one.name for one in there.values() if one.fallback == name]
            if falling:
                raise Conflict(f"{name} is the fallback of the channel {falling[0]}; change that channel first")
            users = [one.name for one in store.routes(tx).routes if name in (*one.channels, *one.escalate_to)]
            if users:
                raise Conflict(f"the route {users[0]} goes to {name}; change the route first")
            self._remove(tx, name, actor)

        self._storage.write(work)
        self.look()

    def _remove(self, tx: Tx, name: str, actor: Actor) -> None:
        store.delete_channel(tx, name)
        store.give_up(tx, name, "the channel was removed", self._clock.now())
        access.record(tx, actor, Event("channel-removed", name), self._clock.now())

    def put_routes(self, wanted: Sequence[Route], expected: int | None, actor: Actor) -> Routes:
        """Replace all routes, if they have the version `expected`. Raises Conflict, Invalid."""

        def work(tx: Tx) -> Routes:
            before = store.routes(tx)
            if before.source == FILE:
                raise Conflict(
                    "the routes are kept in a file; change them there, and apply it: mirror-stage alerts apply FILE"
                )
            _refuse_stale(before.version, expected, "the routes")
            _check_routes(wanted, store.channels(tx), self._mute_times(tx))
            after = store.put_routes(tx, wanted, HUD, actor.name, self._clock.now())
            names = ", ".join(one.name for one in wanted)
            access.record(tx, actor, Event("routes-changed", None, names[:500] or "none"), self._clock.now())
            return after

        after = self._storage.write(work)
        self.look()
        return after

    def routes_muted_by(self, tx: Tx, name: str) -> list[str]:
        """The routes that have a mute time."""
        return [one.name for one in store.routes(tx).routes if name in one.mute_times]

    def _check(self, wanted: Wanted, before: Channel | None) -> None:
        """Raise Invalid if a channel lacks something."""
        kept = set() if before is None or before.kind != wanted.kind else set(self._known(before))
        given = {name for name, secret in wanted.secrets.items() if secret}
        missing = [one for one in _NEEDS[wanted.kind] if one not in given | (kept - wanted.secrets.keys())]
        missing += [
            one for one in ("server", "sender", "recipients") if wanted.kind == EMAIL and not wanted.settings.get(one)
        ]
        if missing:
            errors = [{"field": one, "message": "is missing"} for one in missing]
            raise Invalid(f"a channel of the kind {wanted.kind} needs {', '.join(missing)}", errors=errors)
        if before is not None and before.kind == wanted.kind and "secret" not in wanted.secrets:
            known = self._known(before)
            after = {**known, **wanted.secrets}
            is_own = "secret" in known and not is_reference(known["secret"])
            if is_own and _receiver(before.settings, known) != _receiver(wanted.settings, after):
                why = "has to be entered again: it is for the receiver that this channel had before"
                raise Invalid(f"{wanted.name}: secret {why}", errors=[{"field": "secret", "message": why}])

    def _known(self, channel: Channel) -> dict[str, str]:
        try:
            return self.secrets.unseal(channel.name, channel.sealed)
        except Unreadable:
            return {}

    def _put(self, tx: Tx, wanted: Wanted, before: Channel | None, source: str, actor: Actor) -> Channel:
        kept = self._known(before) if before is not None and before.kind == wanted.kind else {}
        secrets = {name: secret for name, secret in {**kept, **wanted.secrets}.items() if secret}
        sealed = (
            before.sealed
            if before is not None and secrets == self._known(before)
            else self.secrets.seal(wanted.name, secrets)
        )
        channel = Channel(
            wanted.name,
            wanted.kind,
            dict(wanted.settings),
            sealed,
            wanted.manner,
            wanted.rate_per_minute,
            wanted.fallback,
            source,
        )
        return store.put_channel(tx, channel, actor.name, self._clock.now())

    @staticmethod
    def _editable(found: Channel | None, name: str, expected: int | None) -> Channel:
        if found is None:
            raise NotFound(f"there is no channel {name}")
        if found.source == FILE:
            raise Conflict(
                f"the channel {name} is kept in a file; change it there, and apply it: mirror-stage alerts apply FILE"
            )
        _refuse_stale(found.version, expected, f"the channel {name}")
        return found

    def _changed(self, channel: Channel) -> Channel:
        self.look()
        return channel

    # ------------------------------------------------------------------ documents

    def document(self, tx: Tx) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
        """(all channels by name, all routes) as a document has them. A secret is a reference as it is, or `kept:`."""
        channels = {one.name: self._channel_in_document(one) for one in store.channels(tx).values()}
        return channels, [_route_in_document(one) for one in store.routes(tx).routes]

    def _channel_in_document(self, channel: Channel) -> dict[str, Any]:
        secrets = {name: text if is_reference(text) else KEPT for name, text in self._known(channel).items()}
        said = {"kind": channel.kind, **channel.settings, **secrets}
        manner = channel.manner
        options = {
            "language": manner.language,
            "title": manner.title,
            "body": manner.body,
            "ratePerMinute": channel.rate_per_minute,
            "fallback": channel.fallback,
        }
        usual = {"language": "en", "title": None, "body": None, "ratePerMinute": 10, "fallback": None}
        return said | {name: value for name, value in options.items() if value != usual[name]}

    def stand(self, tx: Tx) -> list[tuple[str, int]]:
        """What changes with every change of a channel or of the routes."""
        return [(one.name, one.version) for one in store.channels(tx).values()] + [("", store.routes(tx).version)]

    def planned(
        self,
        tx: Tx,
        wanted: Mapping[str, Wanted],
        routes: Sequence[Route] | None,
        mute_times: Set[str],
        *,
        prune: bool,
    ) -> tuple[dict[str, str], Sequence[Route] | None]:
        """(what a document would change of the channels, by name; the routes, if these would change). Raises Invalid.

        `routes` None: the document says nothing of routes. `mute_times` are those that there will be.
        """
        there, known, changes = store.channels(tx), store.routes(tx), dict[str, str]()
        for name, one in wanted.items():
            before = there.get(name)
            self._check(one, before)
            if before is None:
                changes[name] = "added"
            elif not self._is_same(one, before):
                changes[name] = "changed"
        changes |= {name: "removed" for name in there if prune and name not in wanted}
        left = {name for name in (*there, *wanted) if changes.get(name) != "removed"}
        if len(left) > CHANNELS_MAX:
            raise Invalid(f"there would be {len(left)} channels; {CHANNELS_MAX} are allowed")
        after = {name: one.fallback for name, one in there.items()} | {
            name: one.fallback for name, one in wanted.items()
        }
        _check_fallbacks({name: after[name] for name in left}, left)
        new = tuple(routes) if routes is not None else () if prune else known.routes
        _check_routes(new, left, mute_times)
        return changes, new if new != known.routes else None

    def carry_out(
        self,
        tx: Tx,
        changes: Mapping[str, str],
        wanted: Mapping[str, Wanted],
        routes: Sequence[Route] | None,
        actor: Actor,
    ) -> None:
        """Make the changes that were planned in this transaction. `look` afterwards."""
        there = store.channels(tx)
        for name, change in changes.items():
            if change == "removed":
                self._remove(tx, name, actor)
            else:
                self._put(tx, wanted[name], there.get(name), FILE, actor)
        if routes is not None:
            store.put_routes(tx, routes, FILE, actor.name, self._clock.now())

    def _is_same(self, wanted: Wanted, before: Channel) -> bool:
        known = self._known(before)
        secrets = {name: secret for name, secret in {**known, **wanted.secrets}.items() if secret}
        after = replace(before, kind=wanted.kind, settings=dict(wanted.settings), manner=wanted.manner)
        after = replace(after, rate_per_minute=wanted.rate_per_minute, fallback=wanted.fallback)
        return after == before and secrets == known


def _receiver(settings: Mapping[str, Any], secrets: Mapping[str, str | None]) -> tuple[Any, ...]:
    """To whom the secret of a channel is sent, and how safely: nobody may learn it by having it sent to himself."""
    url = secrets.get("url") or ""
    parts = urlsplit(url)
    to = (url,) if is_reference(url) else (parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower())
    return (*to, *(settings.get(one) for one in ("server", "port", "security")))


def _refuse_stale(version: int, expected: int | None, what: str) -> None:
    if expected is not None and expected != version:
        raise Conflict(f"{what} changed since you read it; read it again")


def _check_fallbacks(fallbacks: Mapping[str, str | None], channels: Set[str]) -> None:
    for name, fallback in fallbacks.items():
        if fallback is not None and (fallback not in channels or fallback == name):
            trouble = "must be another channel" if fallback == name else f"there is no channel {fallback}"
            raise Invalid(f"{name}: fallback: {trouble}", errors=[{"field": "fallback", "message": trouble}])


def _check_routes(routes: Sequence[Route], channels: Mapping[str, Any] | set[str], mute_times: Set[str]) -> None:
    errors = []
    names: set[str] = set()
    for index, route in enumerate(routes):
        if route.name in names:
            errors.append({"field": f"routes.{index}.name", "message": f"there are two routes {route.name}"})
        names.add(route.name)
        unknown = [one for one in (*route.channels, *route.escalate_to) if one not in channels]
        if unknown:
            errors.append({"field": f"routes.{index}.channels", "message": f"there is no channel {unknown[0]}"})
        lost = [one for one in route.mute_times if one not in mute_times]
        if lost:
            errors.append({"field": f"routes.{index}.muteTimes", "message": f"there is no mute time {lost[0]}"})
    if errors:
        raise Invalid("; ".join(f"{one['field']}: {one['message']}" for one in errors), errors=errors)


def check_secrets(wanted: Iterable[Wanted]) -> None:
    """Raise Invalid if a secret cannot be. Not within a transaction: it may load Apprise."""
    for one in wanted:
        for name, secret in one.secrets.items():
            trouble = _secret_trouble(name, secret, one.kind) if secret is not None else None
            if trouble is not None:
                raise Invalid(f"{one.name}: {name} {trouble}", errors=[{"field": name, "message": trouble}])


def _secret_trouble(name: str, secret: str, kind: str) -> str | None:
    if is_reference(secret):
        return reference_trouble(secret)
    if name != "url":
        return None
    if kind == APPRISE:
        return channels.apprise_trouble(secret)
    return url_trouble(secret, ("http", "https"), may_hold_password=True, needs_host=True)


def _route_in_document(route: Route) -> dict[str, Any]:
    said: dict[str, Any] = {"name": route.name, "channels": list(route.channels)}
    optional = {
        "where": (route.where, "*"), "rules": (list(route.rules), ["*"]), "minSeverity": (route.min_severity, "warning"),
        "continue": (route.continues, False), "escalateTo": (list(route.escalate_to), []),
        "escalateAfterSeconds": (None if route.escalate_after is None else route.escalate_after // 1000, None),
        "muteTimes": (list(route.mute_times), []), "passes": (route.passes, "critical"),
    }  # fmt: skip
    return said | {name: value for name, (value, usual) in optional.items() if value != usual}
