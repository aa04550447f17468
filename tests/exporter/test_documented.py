"""docs/figures.md has every figure with its type, and no other; names and help texts are as Prometheus wants them."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.exporter.fleet import GROUPS
from tests.servers import ROOT, free_port

ROWS = dict(re.findall(r"^\| `(\w+)` \| ([cgh]) \| [^|]+ \| \S", (ROOT / "docs/figures.md").read_text(), re.MULTILINE))
LETTERS = {"c": "counter", "g": "gauge", "h": "histogram"}
OF_FLEET = {family.name: family.kind for group in GROUPS for family in group.families}


@pytest.fixture(scope="module")
def of_ego() -> dict[str, str]:
    """Every figure of an EGO with Redis, and its type."""
    app = create_app(Config(testing=True, redis_url=f"redis://127.0.0.1:{free_port()}"))
    text = app.test_client().get("/metrics").text
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def test_every_figure_is_documented_with_its_type_and_nothing_else_is(of_ego: dict[str, str]) -> None:
    assert {name: LETTERS[letter] for name, letter in ROWS.items()} == of_ego | OF_FLEET


def test_names_have_a_prefix_and_the_unit_of_their_kind(of_ego: dict[str, str]) -> None:
    for name, kind in (of_ego | OF_FLEET).items():
        assert name.startswith(("mirror_stage_", "node_", "process_", "python_")), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(ms|milliseconds|minutes|percent|gbps|mb|kb|celcius)(_|$)", name), name


def test_every_figure_has_a_sentence_that_says_what_it_is() -> None:
    text = create_app(Config(testing=True)).test_client().get("/metrics").text
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    helps |= {family.name: family.meaning for group in GROUPS for family in group.families}
    for name, meaning in helps.items():
        assert len(meaning) > 5, name
        assert name.startswith(("python_", "process_")) or meaning.endswith("."), name


def test_every_line_says_which_worker_answers() -> None:
    text = create_app(Config(testing=True)).test_client().get("/metrics").text
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    assert len(samples) > 100
    assert {one.labels.get("worker") for one in samples} == {"1"}
