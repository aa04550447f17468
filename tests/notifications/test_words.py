"""The texts of messages, in both languages, and templates."""

from __future__ import annotations

from string import Formatter

import pytest

from mirror_stage.core.instants import MINUTE
from mirror_stage.notifications import domain, grouping, words
from mirror_stage.notifications.domain import Group, facts_of
from mirror_stage.notifications.words import MEASURES, TEXTS, Manner, template_trouble, text_of
from tests.notifications.alerts import fired

T = 1_762_000_000_000


def group(*hosts: str, cause: str | None = None) -> Group:
    made = Group("g", "k", "all", cause, None if cause else "disk_full", None if cause else "R1", T, T)
    for host in hosts:
        grouping.fire(made, fired(host, "disk_full", T, subject="/srv"))
    return made


def named(text: str) -> set[str | None]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_languages_have_the_same_texts_with_the_same_names() -> None:
    assert TEXTS["en"].keys() == TEXTS["ko"].keys()
    for key, text in TEXTS["en"].items():
        assert named(text) == named(TEXTS["ko"][key]), key


def test_every_measure_that_has_words_of_its_own_has_them_in_korean() -> None:
    own = {name for name, text in MEASURES["en"].items() if not text.startswith(f"{name} is")}
    assert own == MEASURES["ko"].keys()
    for name in own:
        assert named(MEASURES["en"][name]) == named(MEASURES["ko"][name]), name


def test_every_kind_and_severity_has_its_words() -> None:
    assert set(domain.KINDS) <= TEXTS["en"].keys()


def test_one_problem_is_told_in_one_line() -> None:
    facts = facts_of(group("db-01"), T)
    assert text_of("opened", "critical", facts, Manner(), "").title == "[CRITICAL] db-01: disk /srv is 99% used"
    assert text_of("opened", "critical", facts, Manner("ko"), "").title == "[위험] db-01: 디스크 /srv 사용률 99%"


def test_many_problems_are_named_up_to_twenty() -> None:
    facts = facts_of(group(*(f"db-{number:02}" for number in range(25))), T)
    text = text_of("grew", "warning", facts, Manner(), "http://ego")
    assert text.title == "[WARNING, more] disk_full: 25 of 25 problems are open, rack R1"
    assert text.body.count("disk /srv") == 20
    assert "and 5 more" in text.body
    assert text.body.endswith("http://ego")


def test_a_cause_is_named_first() -> None:
    text = text_of("opened", "critical", facts_of(group("a", "b", cause="sw-r1"), T), Manner(), "")
    assert text.title == "[CRITICAL] sw-r1: 2 problems because of it"
    assert text.body.startswith("Cause: sw-r1")


def test_what_is_not_measured_any_more_is_not_called_over() -> None:
    made = group("db-01")
    grouping.end(next(iter(made.members.values())), 2, T + MINUTE, "no-data", None)
    body = text_of("over", "warning", facts_of(made, T + 2 * MINUTE), Manner(), "").body
    assert body.startswith("not measured any more  db-01")


def test_a_template_takes_the_place_of_the_text() -> None:
    manner = Manner("en", "$severity $host $$5", "$lines\n--\n$title")
    text = text_of("opened", "critical", facts_of(group("db-01"), T), manner, "")
    assert text.title == "CRITICAL db-01 $5"
    assert text.body.endswith("--\n[CRITICAL] db-01: disk /srv is 99% used")


@pytest.mark.parametrize("text", ["$hsot", "100 $", "${severity", "x" * 5_000])
def test_a_template_with_a_fault_is_refused(text: str) -> None:
    assert template_trouble(text)


def test_every_name_of_a_template_has_a_value() -> None:
    manner = Manner("en", None, "".join(f"<${name}>" for name in sorted(words.NAMES)))
    assert "$" not in text_of("opened", "critical", facts_of(group("db-01"), T), manner, "").body


def test_a_digest_lists_its_messages() -> None:
    messages = [{"kind": "opened", "severity": "warning", **facts_of(group(f"h{n}"), T)} for n in range(30)]
    text = text_of("digest", "warning", {"messages": messages}, Manner(), "")
    assert text.title == "[WARNING] 30 messages in one"
    assert "and 10 more" in text.body
