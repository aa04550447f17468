"""Selectors: the cases that the HUD reads too, and what the grammar promises for any text."""

from __future__ import annotations

import json
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mirror_stage.core.names import is_printable
from mirror_stage.core.selector import KEYS, LENGTH_MAX, STARS_MAX, TERMS_MAX, BadSelector, Labels, parse

CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "selectors.json").read_text(encoding="utf-8"))
HOSTS = [Labels(**host) for host in CASES["hosts"]]

names = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters='*?",'), min_size=1, max_size=12)


@pytest.mark.parametrize("case", CASES["found"], ids=lambda case: case["selector"])
def test_a_selector_means_these_hosts(case: dict[str, object]) -> None:
    selector = parse(str(case["selector"]))
    assert [host.host for host in HOSTS if selector.matches(host)] == case["hosts"]


@pytest.mark.parametrize("text", CASES["refused"])
def test_a_text_that_is_no_selector_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(BadSelector, match=r".{10}"):
        parse(text)


def test_too_long_a_selector_is_refused() -> None:
    assert len(parse(" ".join(["rack:R1"] * TERMS_MAX)).terms) == TERMS_MAX
    assert parse("host:" + ",".join(["a*"] * STARS_MAX)).terms
    for text in (
        " ".join(["rack:R1"] * (TERMS_MAX + 1)),
        f"host:{'a' * LENGTH_MAX}",
        "host:" + ",".join(["a*"] * (STARS_MAX + 1)),
    ):
        with pytest.raises(BadSelector, match="are allowed"):
            parse(text)


@given(st.sampled_from([key for key in KEYS if key != "tag"]), names, names)
def test_a_value_means_itself_and_nothing_longer(key: str, value: str, more: str) -> None:
    assume(is_printable(value))
    selector = parse(f"{key}:{value}")
    assert selector.matches(Labels(**{"host": "other", key: value}))
    assert selector.matches(Labels(**{"host": "other", key: unicodedata.normalize("NFD", value)}))
    for longer in (value + more, more + value):
        if unicodedata.normalize("NFC", longer).casefold() != unicodedata.normalize("NFC", value).casefold():
            assert not selector.matches(Labels(**{"host": "other", key: longer}))


@given(
    st.sampled_from(
        [case["selector"] for case in CASES["found"] if " " not in case["selector"] and ":" in case["selector"]]
    )
)
def test_a_minus_turns_a_term_round(term: str) -> None:
    turned = term.removeprefix("-") if term.startswith("-") else f"-{term}"
    assert all(parse(term).matches(host) is not parse(turned).matches(host) for host in HOSTS)


def test_no_pattern_takes_a_long_time() -> None:
    selector, began = parse("host:" + "a*" * STARS_MAX + "b"), time.process_time()
    assert not selector.matches(Labels("a" * 120))
    assert time.process_time() - began < 0.5
