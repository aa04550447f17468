"""Rules, channels, routes, silences, maintenance and mute times as one document: export, plan, apply."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from mirror_stage.access import store as access
from mirror_stage.access.chain import Event
from mirror_stage.access.domain import Actor
from mirror_stage.alerts import store as alert_store
from mirror_stage.alerts.rulebook import RuleBook
from mirror_stage.core.clock import Clock
from mirror_stage.core.problems import Conflict
from mirror_stage.notifications.directory import Directory, Wanted, check_secrets
from mirror_stage.notifications.domain import Route
from mirror_stage.quiet import store as quiet_store
from mirror_stage.quiet.domain import MUTE_TIME, Version, Written
from mirror_stage.quiet.service import Quiet
from mirror_stage.storage.db import Storage, Tx

# Silences, maintenance and mute times have the names of `quiet.domain`.
CHANNEL, ROUTES, RULE = "channel", "routes", "rule"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between a document and what EGO has: `added`, `changed`, `removed`."""

    what: str
    name: str
    change: str


@dataclass(frozen=True, slots=True)
class Document:
    """What somebody wants, by name; silences and the like by kind and name. `routes` None: it says nothing of routes."""

    channels: Mapping[str, Wanted] = field(default_factory=dict)
    routes: Sequence[Route] | None = None
    rules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    quiet: Mapping[tuple[str, str], Written] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a document would change. `id` is another one as soon as somebody has changed anything that a document is about."""

    id: str
    channels: Mapping[str, str]
    routes: Sequence[Route] | None
    rules: Mapping[str, str]
    quiet: Mapping[tuple[str, str], str]

    @property
    def changes(self) -> list[Change]:
        found = [Change(RULE, name, change) for name, change in self.rules.items()]
        found += [Change(kind, name, change) for (kind, name), change in self.quiet.items()]
        found += [Change(CHANNEL, name, change) for name, change in self.channels.items()]
        return found + ([Change(ROUTES, ROUTES, "changed")] if self.routes is not None else [])


@dataclass(frozen=True, slots=True)
class Exported:
    """What EGO has, as it stands in a document."""

    channels: Mapping[str, dict[str, Any]]
    routes: Sequence[dict[str, Any]]
    rules: Mapping[str, dict[str, Any]]
    quiet: Sequence[Version]


class Alerting:
    """Plans and applies documents. Each part knows itself what a document changes of it; here they share one transaction."""

    def __init__(self, storage: Storage, clock: Clock, directory: Directory, rules: RuleBook, quiet: Quiet):
        self._storage, self._clock = storage, clock
        self._directory, self._rules, self._quiet = directory, rules, quiet

    def export(self) -> Exported:
        """All of it. Secrets are not in it."""

        def read(tx: Tx) -> Exported:
            channels, routes = self._directory.document(tx)
            return Exported(channels, routes, self._rules.document(tx), self._quiet.document(tx))

        return self._storage.read(read)

    def plan(self, document: Document, *, prune: bool) -> Plan:
        """What `apply` would change. Raises Invalid, Conflict."""
        check_secrets(document.channels.values())
        return self._storage.read(lambda tx: self._plan(tx, document, prune=prune))

    def apply(self, document: Document, plan_id: str | None, actor: Actor, *, prune: bool) -> Plan:
        """Make EGO as a document says, all or nothing. Raises Conflict if the plan is not that of now, Invalid."""
        check_secrets(document.channels.values())

        def work(tx: Tx) -> tuple[Plan, list[Version]]:
            plan = self._plan(tx, document, prune=prune)
            if plan_id is not None and plan_id != plan.id:
                raise Conflict("something was changed after this plan was made; make it anew")
            self._rules.carry_out(tx, plan.rules, document.rules, actor)
            made = self._quiet.carry_out(tx, plan.quiet, document.quiet, actor)
            self._directory.carry_out(tx, plan.channels, document.channels, plan.routes, actor)
            if plan.changes:
                told = ", ".join(f"{one.what} {one.name} {one.change}" for one in plan.changes)
                access.record(tx, actor, Event("alerting-applied", None, told[:500]), self._clock.now())
            return plan, made

        plan, made = self._storage.write(work)
        self._directory.look()
        self._quiet.learn(made)
        if plan.rules:
            self._rules.learn()
        return plan

    def _plan(self, tx: Tx, document: Document, *, prune: bool) -> Plan:
        names = {entry.rule.name for entry in self._rules.entries()} | document.rules.keys()
        rules = self._rules.planned(tx, document.rules, prune=prune)
        quiet = self._quiet.planned(tx, document.quiet, names, prune=prune)
        mute_times = self._quiet.mute_time_names(tx) | {name for kind, name in document.quiet if kind == MUTE_TIME}
        mute_times -= {name for (kind, name), change in quiet.items() if kind == MUTE_TIME and change == "removed"}
        channels, routes = self._directory.planned(tx, document.channels, document.routes, mute_times, prune=prune)
        stand = (self._directory.stand(tx), alert_store.rules_revision(tx), quiet_store.last_change(tx))
        return Plan(hashlib.sha256(orjson.dumps(stand)).hexdigest()[:32], channels, routes, rules, quiet)
