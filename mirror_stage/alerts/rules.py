"""The alert rules that people write: in a TOML file like `config/alert_rules.toml`, or over REST. Both have the same keys.

Inside, a key is spelt like a name of Python (`resolve_for`), outside as everywhere on the wire (`resolveFor`).
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from mirror_stage.alerts.domain import ALERT as TELL
from mirror_stage.alerts.domain import (
    BY_MINUTE,
    FILE,
    HOST_OFFLINE,
    KEEP,
    NO_DATA_OF,
    RESOLVE,
    RULES,
    SAMPLE,
    SEVERITIES,
    Override,
    Rule,
    Step,
)
from mirror_stage.alerts.measures import ALIASES, JUDGED, RULE_MEASURES, SILENCE
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config
from mirror_stage.core.instants import DAY, HOUR, MINUTE, SECOND, Instant
from mirror_stage.core.names import BadField, is_printable, normalise_hostname
from mirror_stage.core.selector import BadSelector, Selector, parse
from mirror_stage.core.variables import nearest
from mirror_stage.history.domain import METRICS_BY_NAME

Document = Mapping[str, Any]

RULES_MAX = 200
OVERRIDES_MAX, SUBJECTS_MAX, SUBJECT_LENGTH_MAX = 20, 20, 200
NUMBER_MAX = 1e300
WAIT_MAX: Instant = 7 * DAY
KEYS = (
    "measure", "where", "every", "above", "steps", "for", "resolve_for", "subjects", "no_data", "no_data_after", "overrides", "enabled",
)  # fmt: skip
KEYS_OF_OVERRIDE = ("where", "steps", "for", "resolve_for", "subjects", "no_data", "no_data_after", "enabled")
KEYS_OF_STEP = ("severity", "fire", "resolve")
# How the keys are spelt on the wire, where that differs.
ON_WIRE = {"resolve_for": "resolveFor", "no_data": "noData", "no_data_after": "noDataAfter"}
_FROM_WIRE = {wire: key for key, wire in ON_WIRE.items()}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd])")
_UNITS: Mapping[str, Instant] = {"d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND}

UPLINKS_MAX = 20_000
_UPLINKS = "uplinks"
_VARIABLE = "MIRROR_STAGE_ALERT_RULES"
_OLD_NUMBERS = ("fire_at", "resolve_at", "critical_at", "critical_below")
_OLD_KEYS = sorted({"unit", "severity", "enabled", *_OLD_NUMBERS})


class BadRule(ValueError):
    """A rule that cannot be: which key of it, and why."""

    def __init__(self, key: str, message: str):
        super().__init__(f"{key} {message}" if key else message)
        self.key, self.message = key, message

    def within(self, place: str) -> BadRule:
        """The same, for a key that stands inside of another one."""
        return BadRule(f"{place}.{self.key}" if self.key else place, self.message)


# ------------------------------------------------------------------ the file


def load(config: Config) -> tuple[Rule, ...]:
    """The rules of the file and the built-in ones that are in force. Raises BadSetting with one line: the file and the key."""
    return tuple(rule for rule in read(config) if rule.is_enabled)


def read(config: Config) -> tuple[Rule, ...]:
    """The same, with those that are switched off."""
    built_in = tuple(
        replace(rule, steps=(Step(rule.severity, config.offline_after_seconds),)) if rule.name == HOST_OFFLINE else rule
        for rule in RULES
    )
    if config.alert_rules is None:
        return built_in
    document = dict(_document(config.alert_rules))
    document.pop(_UPLINKS, None)
    return _of_file(document, built_in, config.alert_rules)


def uplinks(config: Config) -> Mapping[str, str]:
    """The table `[uplinks]` of the file: what hosts and switches are connected to that do not say so themselves. Raises BadSetting."""
    if config.alert_rules is None:
        return {}
    where = f"{_VARIABLE}: {config.alert_rules}: [{_UPLINKS}]"
    table = _document(config.alert_rules).get(_UPLINKS, {})
    if not isinstance(table, dict) or len(table) > UPLINKS_MAX:
        raise BadSetting(f'{where}: must be a table of at most {UPLINKS_MAX:,} lines such as sw-r1 = "sw-hall-1"')
    found: dict[str, str] = {}
    for name, uplink in table.items():
        try:
            host, its_uplink = normalise_hostname(name), normalise_hostname(uplink if isinstance(uplink, str) else "")
        except BadField as why:
            raise BadSetting(f"{where}: {name} = {uplink!r}: {why}") from why
        if host == its_uplink:
            raise BadSetting(f"{where}: {name}: is connected to itself")
        found[host] = its_uplink
    return found


def _document(path: Path) -> Document:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSetting(f"{_VARIABLE}: {path}: {error}") from error


def _of_file(document: Document, built_in: tuple[Rule, ...], path: Path) -> tuple[Rule, ...]:
    """`built_in` with the tables of a TOML document laid over it, and the rules that are new."""
    known = {rule.name: rule for rule in built_in}
    names = list(known)
    written = document["rules"] if isinstance(document.get("rules"), dict) else {}
    for name, table in document.items():
        where = f"{_VARIABLE}: {path}: [{name}]"
        if table is written:
            continue
        if name not in known:
            raise BadSetting(
                f"{where}: there is no such rule; the rules are {', '.join(names)}{nearest(name, names)}; a rule of your own is "
                f"[rules.{name}]"
            )
        if not isinstance(table, dict):
            raise BadSetting(f"{where}: must be a table")
        if name in written:
            raise BadSetting(f"{where}: there is [rules.{name}], too; write one of them")
        known[name] = _changed(known[name], table, where)
    for name, table in written.items():
        try:
            known[name] = of_wire(name, respelt(table), known.get(name), FILE)
        except BadRule as why:
            raise BadSetting(f"{_VARIABLE}: {path}: [rules.{name}]: {why}") from why
    if len(known) > RULES_MAX:
        raise BadSetting(f"{_VARIABLE}: {path}: has {len(known)} rules with the built-in ones; {RULES_MAX} are allowed")
    return tuple(known.values())


def _changed(rule: Rule, table: Document, where: str) -> Rule:
    """A built-in rule with a table of the older form laid over it."""
    if not rule.is_above:
        raise BadSetting(f"{where}: fires at low values; write it as [rules.{rule.name}], with steps")
    for key, value in table.items():
        _check(key, value, where)
    critical = rule.steps[1] if len(rule.steps) > 1 else Step("critical", math.inf)
    before: dict[str, Any] = {
        "unit": rule.unit, "fire_at": rule.fire_at, "resolve_at": rule.resolve_at, "severity": rule.severity,
        "critical_at": rule.critical_at, "critical_below": critical.resolve, "enabled": True,
    }  # fmt: skip
    wanted = before | dict(table)
    if wanted["severity"] not in SEVERITIES:
        raise BadSetting(f"{where}: severity must be one of {', '.join(SEVERITIES)}, not {wanted['severity']!r}")
    if rule.measure == SILENCE and (wanted["resolve_at"] is not None or wanted["fire_at"] <= 0):
        raise BadSetting(f"{where}: fire_at must be above 0, and there is no resolve_at: a sample ends a silence")
    if (wanted["critical_at"] is None) != (wanted["critical_below"] is None):
        raise BadSetting(f"{where}: critical_at and critical_below go together")
    for lower, upper in (("resolve_at", "fire_at"), ("critical_below", "critical_at"), ("fire_at", "critical_at")):
        low, high = wanted[lower], wanted[upper]
        if low is not None and high is not None and low > high:
            raise BadSetting(f"{where}: {lower} ({low:g}) must not be above {upper} ({high:g})")
    steps = [Step(wanted["severity"], wanted["fire_at"], wanted["resolve_at"])]
    if wanted["critical_at"] is not None and wanted["severity"] != "critical":
        steps.append(Step("critical", wanted["critical_at"], wanted["critical_below"]))
    return replace(rule, steps=tuple(steps), unit=wanted["unit"], is_enabled=wanted["enabled"], source=FILE)


def _check(key: str, value: Any, where: str) -> None:
    if key not in _OLD_KEYS:
        raise BadSetting(f"{where}: {key} is not one of {', '.join(_OLD_KEYS)}{nearest(key, _OLD_KEYS)}")
    if key in _OLD_NUMBERS and not _is_number(value):
        raise BadSetting(f"{where}: {key} must be a number, not {value!r}")
    if key == "enabled" and not isinstance(value, bool):
        raise BadSetting(f"{where}: enabled must be true or false, not {value!r}")
    if key == "unit" and not isinstance(value, str):
        raise BadSetting(f"{where}: unit must be a text, not {value!r}")


# ------------------------------------------------------------------ one rule


def of_wire(name: str, document: Document, base: Rule | None, source: str) -> Rule:
    """The rule of a document in the spelling of the wire. Raises BadRule, whose key is spelt so, too."""
    inside = _from_wire(document)
    try:
        return rule_of(name, inside, base, source)
    except BadRule as why:
        key = ".".join(ON_WIRE.get(part, part) for part in why.key.split("."))
        raise BadRule(key, why.message) from why


def _from_wire(document: Any) -> Any:
    if isinstance(document, Mapping):
        for key in document:
            if key in ON_WIRE:
                raise BadRule(key, f"is spelt {ON_WIRE[key]} here")
        return {_FROM_WIRE.get(key, key): _from_wire(value) for key, value in document.items()}
    return [_from_wire(one) for one in document] if isinstance(document, list) else document


def respelt(document: Any) -> Any:
    """The document of a file as the wire spells its keys: files may also write `resolve_for`, as they did before. Raises BadRule."""
    if isinstance(document, Mapping):
        for key, wire in ON_WIRE.items():
            if key in document and wire in document:
                raise BadRule(wire, f"stands there as {key}, too; write one of them")
        return {ON_WIRE.get(key, key): respelt(value) for key, value in document.items()}
    return [respelt(one) for one in document] if isinstance(document, list) else document


def rule_of(name: str, document: Any, base: Rule | None, source: str) -> Rule:
    """The rule that a document says, laid over the rule `base` of this name, if there is one. Raises BadRule."""
    if not _NAME.fullmatch(name):
        raise BadRule("", "a name has 1 to 64 letters, digits, _ . or -, and begins with a letter or a digit")
    if name.endswith(NO_DATA_OF):
        raise BadRule("", f"a name must not end in {NO_DATA_OF}")
    if not isinstance(document, Mapping):
        raise BadRule("", "must be a table")
    _known_keys(document, KEYS)
    measure = _measure(document, base)
    if base is None and "steps" not in document:
        raise BadRule("steps", "is missing: at which values it fires and resolves")
    above = document.get("above", base.is_above if base is not None else True)
    if not isinstance(above, bool):
        raise BadRule("above", "must be true or false")
    start = base or Rule(name, measure, (), RULE_MEASURES[measure].unit)
    if above is not start.is_above and "steps" not in document:
        raise BadRule("steps", "is missing: other values with another `above`")
    where = _where(document["where"]) if "where" in document else start.where
    every = _every(document.get("every", start.every), measure)
    rule = replace(start, where=where, is_above=above, source=source, overrides=(), every=every)
    rule = _with(rule, document)
    written = document.get("overrides")
    if written is None:
        overrides = tuple(
            replace(one, rule=_kept(rule, one.rule, one.keys)) for one in (base.overrides if base is not None else ())
        )
        return replace(rule, overrides=overrides)
    if not isinstance(written, list) or len(written) > OVERRIDES_MAX:
        raise BadRule("overrides", f"must be a list of at most {OVERRIDES_MAX} tables")
    return replace(rule, overrides=tuple(_override(rule, one, n) for n, one in enumerate(written)))


def _kept(rule: Rule, before: Rule, keys: Sequence[str]) -> Rule:
    return replace(rule, **{_FIELDS[key]: getattr(before, _FIELDS[key]) for key in keys})


def _override(rule: Rule, document: Any, number: int) -> Override:
    place = f"overrides.{number}"
    if not isinstance(document, Mapping) or "where" not in document:
        raise BadRule(place, "must be a table with `where`")
    try:
        _known_keys(document, KEYS_OF_OVERRIDE)
        keys = tuple(key for key in KEYS_OF_OVERRIDE if key in document and key != "where")
        if not keys:
            raise BadRule("", "changes nothing")
        return Override(_where(document["where"]), keys, _with(rule, document))
    except BadRule as why:
        raise why.within(place) from why


_FIELDS = {
    "steps": "steps", "for": "fire_after", "resolve_for": "resolve_after", "subjects": "subjects", "no_data": "no_data",
    "no_data_after": "no_data_after", "enabled": "is_enabled",
}  # fmt: skip


def _with(rule: Rule, document: Document) -> Rule:
    """The rule with the keys of a document that an override may have, too."""
    readers: dict[str, Callable[[Any], Any]] = {
        "steps": lambda value: _steps(value, rule),
        "for": lambda value: _wait(value, "for"),
        "resolve_for": lambda value: _wait(value, "resolve_for"),
        "subjects": lambda value: _subjects(value, rule.measure),
        "no_data": _no_data,
        "no_data_after": lambda value: _wait(value, "no_data_after"),
        "enabled": _enabled,
    }
    changed = replace(
        rule, **{_FIELDS[key]: reader(document[key]) for key, reader in readers.items() if key in document}
    )
    if changed.measure == SILENCE:
        usual = Rule("", SILENCE, ())
        for key in ("for", "resolve_for", "no_data", "no_data_after"):
            if getattr(changed, _FIELDS[key]) != getattr(usual, _FIELDS[key]):
                raise BadRule(key, "makes no sense of a silence: `fire` says how long it is, and a sample ends it")
        if not changed.is_above:
            raise BadRule("above", "must be true: a silence only grows")
    return changed


def _known_keys(document: Document, keys: Sequence[str]) -> None:
    for key in document:
        if key not in keys:
            raise BadRule(key, f"is not one of {', '.join(keys)}{nearest(key, list(keys))}")


def _measure(document: Document, base: Rule | None) -> str:
    if "measure" not in document:
        if base is None:
            raise BadRule("measure", f"is missing: one of {', '.join(JUDGED)}")
        return base.measure
    written = document["measure"]
    measure = ALIASES.get(written, written) if isinstance(written, str) else ""
    if measure not in JUDGED:
        raise BadRule(
            "measure", f"must be one of {', '.join(JUDGED)}, not {written!r}{nearest(str(written), list(JUDGED))}"
        )
    if base is not None and measure != base.measure:
        raise BadRule("measure", f"of {base.name} is {base.measure}; give another rule a name of its own")
    return measure


def _every(value: Any, measure: str) -> str:
    if value not in {SAMPLE, BY_MINUTE}:
        raise BadRule("every", f"must be {SAMPLE} or {BY_MINUTE}, not {value!r}")
    if value == BY_MINUTE and measure not in METRICS_BY_NAME:
        raise BadRule("every", f"can be {BY_MINUTE} for what the history keeps: {', '.join(METRICS_BY_NAME)}")
    return str(value)


def _where(value: Any) -> Selector:
    if not isinstance(value, str):
        raise BadRule("where", "must be a text such as 'tier:edge -tag:env=lab'")
    try:
        return parse(value)
    except BadSelector as why:
        raise BadRule("where", str(why)) from why


def _steps(value: Any, rule: Rule) -> tuple[Step, ...]:
    """The steps of a rule: severities rise, and so do the values (with `above = false` they fall)."""
    if not isinstance(value, list) or not 1 <= len(value) <= len(SEVERITIES):
        raise BadRule("steps", f"must be a list of 1 to {len(SEVERITIES)} tables with {', '.join(KEYS_OF_STEP)}")
    steps = tuple(_step(one, rule, f"steps.{n}") for n, one in enumerate(value))
    beyond = "below" if rule.is_above else "above"
    sign = 1 if rule.is_above else -1
    for n, (lower, upper) in enumerate(pairwise(steps), 1):
        if SEVERITIES.index(lower.severity) >= SEVERITIES.index(upper.severity):
            raise BadRule(
                f"steps.{n}.severity", f"must be worse than {lower.severity}: the steps begin with the least severe one"
            )
        for name in ("fire", "resolve"):
            low, high = getattr(lower, name), getattr(upper, name)
            if low is not None and high is not None and sign * low > sign * high:
                raise BadRule(
                    f"steps.{n}.{name}", f"({high:g}) must not be {beyond} that of the step before it ({low:g})"
                )
    return steps


def _step(value: Any, rule: Rule, place: str) -> Step:
    if not isinstance(value, Mapping):
        raise BadRule(place, f"must be a table with {', '.join(KEYS_OF_STEP)}")
    try:
        _known_keys(value, KEYS_OF_STEP)
    except BadRule as why:
        raise why.within(place) from why
    severity: Any = value.get("severity")
    fire: Any = value.get("fire")
    resolve: Any = value.get("resolve")
    if severity not in SEVERITIES:
        raise BadRule(f"{place}.severity", f"must be one of {', '.join(SEVERITIES)}, not {severity!r}")
    if not _is_number(fire):
        raise BadRule(f"{place}.fire", f"must be a number, not {fire!r}")
    if rule.measure == SILENCE:
        if resolve is not None or fire <= 0:
            raise BadRule(place, "must have a `fire` above 0 and no `resolve`: a sample ends a silence")
        return Step(severity, float(fire))
    if not _is_number(resolve):
        raise BadRule(f"{place}.resolve", f"must be a number, not {resolve!r}")
    if (resolve > fire) if rule.is_above else (resolve < fire):
        raise BadRule(
            f"{place}.resolve", f"({resolve:g}) must not be {'above' if rule.is_above else 'below'} its fire ({fire:g})"
        )
    return Step(severity, float(fire), float(resolve))


def _wait(value: Any, key: str) -> Instant:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        wait = float(found[1]) * _UNITS[found[2]]
    elif _is_number(value):
        wait = value * SECOND
    else:
        raise BadRule(key, f"must be a time such as 90s, 3m, 2h or 1d, not {value!r}")
    if not 0 <= wait <= WAIT_MAX:
        raise BadRule(key, f"must be at most {duration(WAIT_MAX)}")
    return round(wait)


def duration(wait: Instant) -> str:
    """A time as a rule writes it: `90s`, `3m`."""
    unit, size = next(((unit, size) for unit, size in _UNITS.items() if wait and wait % size == 0), ("s", SECOND))
    return f"{wait / size:g}{unit}"


def _subjects(value: Any, measure: str) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or not 1 <= len(value) <= SUBJECTS_MAX
        or not all(isinstance(one, str) and 0 < len(one.removeprefix("!")) <= SUBJECT_LENGTH_MAX for one in value)
        or not all(is_printable(one) for one in value)
    ):
        raise BadRule("subjects", f"must be a list of 1 to {SUBJECTS_MAX} patterns such as '/data/*' or '!/snap/*'")
    if RULE_MEASURES[measure].values is None and value != ["*"]:
        raise BadRule("subjects", f"makes no sense: a host has one {measure}")
    return tuple(value)


def _no_data(value: Any) -> str:
    if value not in {RESOLVE, KEEP, TELL}:
        raise BadRule("no_data", f"must be {RESOLVE}, {KEEP} or {TELL}, not {value!r}")
    return str(value)


def _enabled(value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadRule("enabled", f"must be true or false, not {value!r}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -NUMBER_MAX <= value <= NUMBER_MAX


def document_of(rule: Rule) -> dict[str, Any]:
    """The rule as the wire and the table of rules have it. `of_wire` makes the same rule of it."""
    return {
        "measure": rule.measure,
        "where": rule.where.text,
        "every": rule.every,
        "above": rule.is_above,
        **_written(rule, KEYS_OF_OVERRIDE[1:]),
        "overrides": [{"where": one.where.text, **_written(one.rule, one.keys)} for one in rule.overrides],
    }


def _written(rule: Rule, keys: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "steps": [{"severity": step.severity, "fire": step.fire, "resolve": step.resolve} for step in rule.steps],
        "for": duration(rule.fire_after),
        "resolve_for": duration(rule.resolve_after),
        "subjects": list(rule.subjects),
        "no_data": rule.no_data,
        "no_data_after": duration(rule.no_data_after),
        "enabled": rule.is_enabled,
    }
    return {ON_WIRE.get(key, key): values[key] for key in keys}
