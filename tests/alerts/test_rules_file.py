"""The TOML file of alert rules: the shipped one equals the built-in rules, a bad one stops the start with one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mirror_stage.alerts.domain import RULES, Rule
from mirror_stage.alerts.rules import load, read
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config
from mirror_stage.core.shipped import path_of

HUD = Path(__file__).resolve().parents[2] / "mirror_stage/hud/web/src"


def rules_of(tmp_path: Path, text: str):
    path = tmp_path / "rules.toml"
    path.write_text(text)
    return {rule.name: rule for rule in load(Config(alert_rules=path))}


def test_the_shipped_file_equals_the_built_in_rules() -> None:
    assert read(Config(alert_rules=path_of("config") / "alert_rules.toml")) == RULES


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_hud_knows_what_each_built_in_rule_measures(rule: Rule) -> None:
    text = (HUD / "store/rules.ts").read_text()
    silence = re.findall(r"SILENCE = '(.*)'", text)
    measures = dict(re.findall(r"^  (\w+): '?(\w+)'?,$", text.replace("SILENCE,", f"{silence[0]},"), re.MULTILINE))
    assert measures[rule.name] == rule.measure


@pytest.mark.parametrize("offline_after", [5, 60, 120, 3600])
def test_a_copy_of_the_shipped_file_changes_nothing_whatever_the_offline_limit(offline_after: float) -> None:
    without = Config(offline_after_seconds=offline_after)
    copied = Config(offline_after_seconds=offline_after, alert_rules=path_of("config") / "alert_rules.toml")
    assert load(copied) == load(without)
    assert {rule.name: rule.fire_at for rule in load(copied)}["host_offline"] == offline_after


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, "[cpu_load_high]\nfire_at = 95\n[memory_high]\nenabled = false\n")
    assert (rules["cpu_load_high"].fire_at, rules["cpu_load_high"].resolve_at) == (95, 70)
    assert "memory_high" not in rules
    assert rules["host_offline"].fire_at == 60


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[cpu]\nfire_at = 1", "there is no such rule"),
        ("[cpu_load_high]\nfire_at = '95'", "fire_at must be a number"),
        ("[cpu_load_high]\nfire = 95", "fire is not one of"),
        ("[cpu_load_high]\nfireat = 95", "did you mean fire_at?"),
        ("[cpu_load_high]\nmeasure = 'swapUsedPercent'", "measure is not one of"),
        ("[cpu_load_hi]\nfire_at = 95", "did you mean cpu_load_high?"),
        ("[cpu_load_high]\nfire_at = nan", "fire_at must be a number"),
        ("[cpu_load_high]\nenabled = 'false'", "enabled must be true or false"),
        ("[cpu_load_high]\nenabled = false\nfireat = 1", "did you mean fire_at?"),
        ("[cpu_load_high]\nunit = 3", "unit must be a text"),
        ("[cpu_load_high]\ncritical_at = 95", "critical_at and critical_below go together"),
        ("[disk_full]\ncritical_below = 98", "critical_below (98) must not be above critical_at (97)"),
        ("[host_offline]\nresolve_at = 3", "a sample ends a silence"),
        ("[host_offline]\nfire_at = 0", "a sample ends a silence"),
        ("[cpu_load_high]\nfire_at = 60", "resolve_at (70) must not be above fire_at (60)"),
        ("[cpu_load_high]\nseverity = 'loud'", "severity must be one of"),
        ("cpu_load_high = 3", "must be a table"),
        ("[cpu_load_high", "rules.toml"),
    ],
)
def test_a_bad_file_is_refused_with_one_line_that_names_the_place(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(BadSetting) as refused:
        rules_of(tmp_path, text)
    line = str(refused.value)
    assert line.startswith("MIRROR_STAGE_ALERT_RULES: ")
    assert named in line
    assert "\n" not in line


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"nowhere\.toml"):
        load(Config(alert_rules=tmp_path / "nowhere.toml"))
