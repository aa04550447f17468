"""The alert rules of this EGO: the built-in ones, those of the file, and those that admins make over REST."""

from __future__ import annotations

import hashlib
import heapq
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any

import orjson
from gevent.lock import BoundedSemaphore

from mirror_stage.access.domain import Actor
from mirror_stage.alerts import store
from mirror_stage.alerts.domain import FILE, HUD, SEVERITIES, Rule
from mirror_stage.alerts.judge import Applied, Breach, applied_to, breaches, labels_of
from mirror_stage.alerts.measures import JUDGED, RULE_MEASURES
from mirror_stage.alerts.minutes import mean
from mirror_stage.alerts.rules import RULES_MAX, BadRule, document_of, of_wire
from mirror_stage.alerts.store import CHANGED, CREATED, StoredRule
from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import MINUTE, to_text
from mirror_stage.core.problems import Conflict, Invalid, NotFound, PreconditionFailed
from mirror_stage.core.turns import Turns
from mirror_stage.history import store as history
from mirror_stage.history.domain import METRICS_BY_NAME
from mirror_stage.storage.db import Storage, Tx
from mirror_stage.twin.domain import Host

log = logging.getLogger(__name__)

PREVIEWED_MAX = 100  # values
NAMED_MAX = 200  # hosts: as many as GET /api/history takes
ROUTES = ("preview", "backtest")  # beside the rules: no rule can have these names
ONLY_READ = (
    "name",
    "unit",
    "source",
    "etag",
    "updatedAt",
    "updatedBy",
)  # members of an answer that a request may repeat
_ALWAYS = ("measure", "steps")  # of a rule in a document


@dataclass(frozen=True, slots=True)
class Entry:
    """A rule, and its row if somebody has made or changed it over REST."""

    rule: Rule
    row: StoredRule | None = None

    @property
    def etag(self) -> str:
        """What a change of the rule changes."""
        told = orjson.dumps([self.rule.source, document_of(self.rule)], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(told).hexdigest()[:16]


class RuleBook:
    """The rules by name. The file wins over the database, and that over what is built in.

    The database is the truth: each worker looks at it every second. `change` is called with the rules that are in force from
    then on, `tell` with the instant of the change in the worker that was asked for it.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        written: Sequence[Rule],
        *,
        tell: Callable[[int], None],
    ):
        """`written`: the rules of the file and the built-in ones."""
        self._storage, self._clock, self._tell = storage, clock, tell
        self._written = {rule.name: rule for rule in written}
        self._entries = {rule.name: Entry(rule) for rule in written}
        self._revision: str | None = None
        self._looking, self._breathe = BoundedSemaphore(1), Turns().breathe
        self.change: Callable[[Sequence[Rule]], None] = lambda _rules: None

    @property
    def in_force(self) -> tuple[Rule, ...]:
        """The rules that are switched on."""
        return tuple(entry.rule for entry in self._entries.values() if entry.rule.is_enabled)

    def entries(self) -> list[Entry]:
        """Every rule: the built-in ones first, then by name."""
        return list(self._entries.values())

    def names(self) -> list[str]:
        """The names of all rules, as they are stored now."""
        self.look()
        return list(self._entries)

    def applied_to(self, host: Host) -> list[Applied]:
        """The rules that are in force for a host."""
        labels = labels_of(host)
        return [one for rule in self.in_force if (one := applied_to(rule, labels)) is not None]

    def get(self, name: str) -> Entry:
        """One rule. Raises NotFound."""
        self.look()
        entry = self._entries.get(name)
        if entry is None:
            raise NotFound(f"there is no alert rule {name[:64]}; GET /api/alert-rules lists those that there are")
        return entry

    def look(self) -> None:
        """Learn what was changed, here or by another worker, and judge by it from now on. One look at a time: the newest counts last."""
        with self._looking:
            revision = self._storage.own.read(store.rules_revision)
            if revision == self._revision:
                return
            self._entries = self._read(self._storage.own.read(store.rules))
            self._revision = revision
            self.change(self.in_force)

    def _read(self, rows: Sequence[StoredRule]) -> dict[str, Entry]:
        entries = {name: Entry(rule) for name, rule in self._written.items()}
        for row in rows:
            base = self._written.get(row.name)
            if base is not None and base.source == FILE:
                log.warning("the alert rule %s of the file counts, not the one that was made over REST", row.name)
                continue
            known = self._entries.get(row.name)
            if known is not None and known.row == row:
                entries[row.name] = known
                continue
            self._breathe()
            try:
                entries[row.name] = Entry(of_wire(row.name, row.document, base, row.source), row)
            except BadRule as why:
                log.error("the stored alert rule %s is passed over: %s", row.name, why)
        return entries

    def parse(self, document: Mapping[str, Any]) -> Rule:
        """The rule of a body that is not stored, as the wire has it; its name may be missing. Raises Invalid."""
        name = document.get("name", "preview")
        if not isinstance(name, str):
            raise Invalid("name: must be a text", errors=[{"field": "name", "message": "must be a text"}])
        return self._parsed(name, document, self._written.get(name))

    def preview(self, document: Mapping[str, Any], hosts: Iterable[Host]) -> dict[str, Any]:
        """What a rule that is not stored would say now, as the wire has it; its waits do not count. Raises Invalid."""
        rule, now = self.parse(document), self._clock.now()
        means = self._means_of_the_last_minute(rule) if rule.is_by_minute else {}
        matched: list[dict[str, str | None]] = []
        without = 0
        found: list[Breach] = []
        for host in hosts:
            self._breathe()
            applied = applied_to(rule, labels_of(host))
            if applied is None:
                continue
            matched.append({"hostname": host.hostname, "why": applied.why})
            its = breaches(applied.rule, host, now, means.get(host.id))
            without += its is None
            found += its or ()
        worst = sorted(found, key=lambda one: (-SEVERITIES.index(one.severity), one.hostname, one.subject or ""))
        return {
            "hosts": len(matched),
            "withoutValue": without,
            "matched": heapq.nsmallest(NAMED_MAX, matched, key=itemgetter("hostname")),
            "total": len(found),
            "items": [asdict(one) for one in worst[:PREVIEWED_MAX]],
        }

    def _means_of_the_last_minute(self, rule: Rule) -> dict[int, float | None]:
        """The means that a rule would judge now, by the ids of the hosts."""
        metric, second = METRICS_BY_NAME[rule.measure], (self._clock.now() // MINUTE - 1) * 60
        rows = self._storage.read(lambda tx: history.sums_of_minute(tx, second, metric))
        return {host_id: mean(units, count, metric) for host_id, units, count in rows}

    # ------------------------------------------------------------------ changes

    def create(self, name: str, document: Mapping[str, Any], actor: Actor) -> Entry:
        """Make a rule. Raises Invalid; Conflict if there is one of this name, or too many."""
        self.look()
        self._parsed(name, document, None)
        if name in ROUTES:
            raise Conflict(f"{name} is a route of its own; give the alert rule another name")
        if name in self._entries:
            raise Conflict(f"there is an alert rule {name} already; PUT /api/alert-rules/{name} changes it")
        if len(self._entries) >= RULES_MAX:
            raise Conflict(f"there are {RULES_MAX} alert rules already; remove one that nobody needs")
        return self._store(name, document, None, actor, CREATED)

    def replace(self, name: str, document: Mapping[str, Any], etag: str | None, actor: Actor) -> Entry:
        """Change a rule. Raises NotFound, Invalid, Conflict; PreconditionFailed if it is not the one of `etag` any more."""
        entry = self._changeable(name, etag)
        return self._store(name, document, entry.row, actor, CHANGED)

    def remove(self, name: str, etag: str | None, actor: Actor) -> None:
        """Remove a rule; a built-in one is again as it was. Raises NotFound, Conflict, PreconditionFailed."""
        entry, now = self._changeable(name, etag), self._clock.now()
        row = entry.row
        if row is None:
            raise Conflict(f"{name} is built in and cannot be removed; to switch it off, PUT it with enabled: false")

        def work(tx: Tx) -> None:
            if not store.remove_rule(tx, row, actor, now):
                raise _other(name)

        self._storage.write(work)
        self._learn(now)

    def _changeable(self, name: str, etag: str | None) -> Entry:
        entry = self.get(name)
        if entry.row is not None and entry.row.source == FILE:
            raise Conflict(
                f"the alert rule {name} is kept in a file; change it there, and apply it: mirror-stage alerts apply FILE"
            )
        if entry.rule.source == FILE:
            raise Conflict(
                f"{name} stands in the file of MIRROR_STAGE_ALERT_RULES; change it there, or copy it under another name"
            )
        if etag is not None and etag not in {"*", entry.etag}:
            raise _other(name)
        return entry

    # ------------------------------------------------------------------ documents

    def document(self, tx: Tx) -> dict[str, dict[str, Any]]:
        """The rules that somebody has made or changed over REST, by name: of each what differs from what it would be without it."""
        found = {}
        for row in store.rules(tx):
            base = self._written.get(row.name)
            if base is not None and base.source == FILE:
                continue
            try:
                rule = of_wire(row.name, row.document, base, row.source)
            except BadRule:
                continue  # `_read` has said so
            usual = base or Rule(rule.name, rule.measure, (), rule.unit)
            said, before = document_of(rule), document_of(usual)
            found[row.name] = {key: value for key, value in said.items() if key in _ALWAYS or value != before[key]}
        return found

    def planned(self, tx: Tx, wanted: Mapping[str, Mapping[str, Any]], *, prune: bool) -> dict[str, str]:
        """What a document would change, by name: `added`, `changed`, `removed`. Raises Invalid."""
        rows, changes = {row.name: row for row in store.rules(tx)}, {}
        for name, document in wanted.items():
            base, row = self._written.get(name), rows.get(name)
            if base is not None and base.source == FILE:
                raise _invalid(
                    f"rules.{name}", "stands in the file of MIRROR_STAGE_ALERT_RULES; write it there or here"
                )
            if name == "preview":
                raise _invalid(f"rules.{name}", "is the name of a route; give the alert rule another one")
            try:
                rule = document_of(of_wire(name, document, base, FILE))
            except BadRule as why:
                raise _invalid(f"rules.{name}.{why.key}".rstrip("."), why.message) from why
            before = row.document if row is not None else document_of(base) if base is not None else None
            if rule != before:
                changes[name] = "added" if before is None else "changed"
        changes |= {name: "removed" for name in rows if prune and name not in wanted}
        if (
            len(self._written.keys() | rows.keys() | wanted.keys()) - list(changes.values()).count("removed")
            > RULES_MAX
        ):
            raise _invalid("rules", f"there would be more than {RULES_MAX} alert rules")
        return changes

    def carry_out(
        self, tx: Tx, changes: Mapping[str, str], wanted: Mapping[str, Mapping[str, Any]], actor: Actor
    ) -> None:
        """Make the changes that were planned in this transaction. `learn` afterwards."""
        now, rows = self._clock.now(), {row.name: row for row in store.rules(tx)}
        for name, change in changes.items():
            row = rows.get(name)
            if change == "removed":
                done = row is not None and store.remove_rule(tx, row, actor, now)
            else:
                document = document_of(of_wire(name, wanted[name], self._written.get(name), FILE))
                version = 1 if row is None else row.version + 1
                new = StoredRule(name, document, version, now, actor.name, FILE)
                done = store.put_rule(tx, new, actor, CREATED if row is None else CHANGED)
            if not done:
                raise _other(name)

    def learn(self) -> None:
        """Judge by what was changed, and tell clients so."""
        self._learn(self._clock.now())

    # ------------------------------------------------------------------

    def _parsed(self, name: str, document: Mapping[str, Any], base: Rule | None) -> Rule:
        """The rule of a request. Raises Invalid, which names the key."""
        try:
            return of_wire(name, {key: value for key, value in document.items() if key not in ONLY_READ}, base, HUD)
        except BadRule as why:
            raise Invalid(str(why), errors=[{"field": why.key or "name", "message": why.message}]) from why

    def _store(self, name: str, document: Mapping[str, Any], row: StoredRule | None, actor: Actor, what: str) -> Entry:
        rule, now = self._parsed(name, document, self._written.get(name)), self._clock.now()
        new = StoredRule(name, document_of(rule), 1 if row is None else row.version + 1, now, actor.name)

        def work(tx: Tx) -> None:
            if not store.put_rule(tx, new, actor, what):
                raise _other(name)

        self._storage.write(work)
        self._learn(now)
        return self.get(name)

    def _learn(self, now: int) -> None:
        self.look()
        self._tell(now)


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f"{field}: {message}", errors=[{"field": field, "message": message}])


def _other(name: str) -> PreconditionFailed:
    return PreconditionFailed(f"the alert rule {name} was changed meanwhile; GET it again, and change that")


def measures_on_wire() -> list[dict[str, Any]]:
    """What a rule may name as its `measure`."""
    rows = (RULE_MEASURES[name] for name in JUDGED)
    return [{"name": row.name, "unit": row.unit, "hasSubjects": row.values is not None} for row in rows]


def entry_on_wire(entry: Entry) -> dict[str, Any]:
    """The rule as clients see it."""
    rule, row = entry.rule, entry.row
    return {
        "name": rule.name,
        "unit": rule.unit,
        "source": rule.source,
        "etag": entry.etag,
        "updatedAt": to_text(row.updated_at) if row is not None else None,
        "updatedBy": row.updated_by if row is not None else None,
        **document_of(rule),
    }


def applied_on_wire(applied: Applied) -> dict[str, Any]:
    """A rule as it is in force for one host: without its selector and the overrides that it has for others."""
    rule, document = applied.rule, document_of(applied.rule)
    figures = {key: value for key, value in document.items() if key not in {"where", "overrides"}}
    return {"name": rule.name, "unit": rule.unit, "source": rule.source, "why": applied.why, **figures}
