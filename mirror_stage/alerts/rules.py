"""The alert rules of this EGO: the built-in ones, changed by a TOML file like `config/alert_rules.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from mirror_stage.alerts.domain import HOST_OFFLINE, RULES, SEVERITIES, Rule
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config

_VARIABLE = "MIRROR_STAGE_ALERT_RULES"
_NUMBERS = ("fire_at", "resolve_at", "critical_at", "critical_below")
_KEYS = {field.name for field in fields(Rule)} - {"name"} | {"enabled"}


def load(config: Config) -> tuple[Rule, ...]:
    """The rules in force. Raises BadSetting with one line that names the file and the key."""
    built_in = tuple(
        replace(rule, fire_at=config.offline_after_seconds) if rule.name == HOST_OFFLINE else rule for rule in RULES
    )
    if config.alert_rules is None:
        return built_in
    try:
        document = tomllib.loads(config.alert_rules.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSetting(f"{_VARIABLE}: {config.alert_rules}: {error}") from error
    return parse(document, built_in, config.alert_rules)


def parse(document: dict[str, Any], built_in: tuple[Rule, ...], path: Path) -> tuple[Rule, ...]:
    """`built_in` with the tables of a TOML document laid over it; a rule with `enabled = false` is left out."""
    known = {rule.name: rule for rule in built_in}
    for name, table in document.items():
        where = f"{_VARIABLE}: {path}: [{name}]"
        if name not in known:
            raise BadSetting(f"{where}: there is no such rule; there are {', '.join(known)}")
        if not isinstance(table, dict):
            raise BadSetting(f"{where}: must be a table")
        if not table.get("enabled", True):
            del known[name]
            continue
        known[name] = _changed(known[name], table, where)
    return tuple(known.values())


def _changed(rule: Rule, table: dict[str, Any], where: str) -> Rule:
    for key, value in table.items():
        if key not in _KEYS:
            raise BadSetting(f"{where}: {key} is not one of {', '.join(sorted(_KEYS))}")
        if key in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise BadSetting(f"{where}: {key} must be a number, not {value!r}")
    changed = replace(rule, **{key: value for key, value in table.items() if key != "enabled"})
    if changed.severity not in SEVERITIES:
        raise BadSetting(f"{where}: severity must be one of {', '.join(SEVERITIES)}, not {changed.severity!r}")
    if changed.resolve_at is not None and changed.resolve_at > changed.fire_at:
        raise BadSetting(
            f"{where}: resolve_at ({changed.resolve_at:g}) must not be above fire_at ({changed.fire_at:g})"
        )
    return changed
