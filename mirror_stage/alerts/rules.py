"""The alert rules of this EGO: the built-in ones, changed by a TOML file like `config/alert_rules.toml`."""

from __future__ import annotations

import math
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from mirror_stage.alerts.domain import HOST_OFFLINE, RULES, SEVERITIES, SILENCE, Rule
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config
from mirror_stage.core.variables import nearest

_VARIABLE = "MIRROR_STAGE_ALERT_RULES"
_NUMBERS = ("fire_at", "resolve_at", "critical_at", "critical_below")
_KEYS = sorted({field.name for field in fields(Rule)} - {"name", "measure"} | {"enabled"})


def load(config: Config) -> tuple[Rule, ...]:
    """The rules in force. Raises BadSetting with one line that names the file and the key."""
    built_in = tuple(
        replace(rule, fire_at=config.offline_after_seconds) if rule.name == HOST_OFFLINE else rule for rule in RULES
    )
    if config.alert_rules is None:
        return built_in
    try:
        document = tomllib.loads(config.alert_rules.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSetting(f"{_VARIABLE}: {config.alert_rules}: {error}") from error
    return parse(document, built_in, config.alert_rules)


def parse(document: dict[str, Any], built_in: tuple[Rule, ...], path: Path) -> tuple[Rule, ...]:
    """`built_in` with the tables of a TOML document laid over it; a rule with `enabled = false` is left out."""
    known = {rule.name: rule for rule in built_in}
    names = list(known)
    for name, table in document.items():
        where = f"{_VARIABLE}: {path}: [{name}]"
        if name not in known:
            raise BadSetting(f"{where}: there is no such rule; the rules are {', '.join(names)}{nearest(name, names)}")
        if not isinstance(table, dict):
            raise BadSetting(f"{where}: must be a table")
        changed = _changed(known[name], table, where)
        if table.get("enabled", True):
            known[name] = changed
        else:
            del known[name]
    return tuple(known.values())


def _changed(rule: Rule, table: dict[str, Any], where: str) -> Rule:
    for key, value in table.items():
        _check(key, value, where)
    changed = replace(rule, **{key: value for key, value in table.items() if key != "enabled"})
    if changed.severity not in SEVERITIES:
        raise BadSetting(f"{where}: severity must be one of {', '.join(SEVERITIES)}, not {changed.severity!r}")
    if rule.measure == SILENCE and (changed.resolve_at is not None or changed.fire_at <= 0):
        raise BadSetting(f"{where}: fire_at must be above 0, and there is no resolve_at: a sample ends a silence")
    if (changed.critical_at is None) != (changed.critical_below is None):
        raise BadSetting(f"{where}: critical_at and critical_below go together")
    for lower, upper in (("resolve_at", "fire_at"), ("critical_below", "critical_at"), ("fire_at", "critical_at")):
        low, high = getattr(changed, lower), getattr(changed, upper)
        if low is not None and high is not None and low > high:
            raise BadSetting(f"{where}: {lower} ({low:g}) must not be above {upper} ({high:g})")
    return changed


def _check(key: str, value: Any, where: str) -> None:
    if key not in _KEYS:
        raise BadSetting(f"{where}: {key} is not one of {', '.join(_KEYS)}{nearest(key, _KEYS)}")
    if key in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)):
        raise BadSetting(f"{where}: {key} must be a number, not {value!r}")
    if key == "enabled" and not isinstance(value, bool):
        raise BadSetting(f"{where}: enabled must be true or false, not {value!r}")
    if key == "unit" and not isinstance(value, str):
        raise BadSetting(f"{where}: unit must be a text, not {value!r}")
