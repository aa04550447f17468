"""Who hears of what: which routes take the alerts of a rule, for one host or for all of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mirror_stage.alerts.domain import ALERT, NO_DATA_OF
from mirror_stage.alerts.judge import Applied
from mirror_stage.core.selector import Labels
from mirror_stage.notifications.domain import TAKES, Route, explained

Kind = tuple[str, str]  # of an alert: what the wire calls its metric, and its severity


@dataclass(slots=True)
class Reach:
    """For how many hosts an alert may be, and for how many of them nobody hears of it; `example` is one of these."""

    hosts: int = 0
    unheard: int = 0
    example: str | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """Who hears of an alert: the channels, and of each route why it takes the alert or does not (WHYS)."""

    rule: str
    severity: str
    channels: tuple[str, ...]
    routes: tuple[tuple[str, str], ...]


def kinds_of(applied: Iterable[Applied]) -> list[Kind]:
    """The alerts that some rules may give a host."""
    found: list[Kind] = []
    for rule in (one.rule for one in applied):
        found += [(rule.name, step.severity) for step in rule.steps]
        if rule.no_data == ALERT:
            found.append((rule.name + NO_DATA_OF, "warning"))
    return found


def heard(routes: Sequence[Route], kind: Kind, labels: Labels) -> Heard:
    """Who hears of an alert of a host."""
    told = explained(routes, *kind, labels)
    channels = dict.fromkeys(channel for route, why in told if why == TAKES for channel in route.channels)
    return Heard(*kind, tuple(channels), tuple((route.name, why) for route, why in told))


class Survey:
    """Counts, host by host, which alerts nobody hears of. `found` is by kind, in the order in which the kinds came."""

    def __init__(self, routes: Sequence[Route]):
        self._routes = routes
        self._known: dict[
            tuple[Kind, tuple[bool, ...]], bool
        ] = {}  # whether somebody hears: by kind and fitting selectors
        self.found: dict[Kind, Reach] = {}

    def add(self, labels: Labels, kinds: Iterable[Kind]) -> None:
        """Count a host, with the alerts that it may have."""
        fits = tuple(route.selector.matches(labels) for route in self._routes)
        for kind in kinds:
            is_heard = self._known.get((kind, fits))
            if is_heard is None:
                is_heard = self._known[kind, fits] = bool(heard(self._routes, kind, labels).channels)
            of_kind = self.found.setdefault(kind, Reach())
            of_kind.hosts += 1
            if not is_heard:
                of_kind.unheard += 1
                of_kind.example = of_kind.example or labels.host
