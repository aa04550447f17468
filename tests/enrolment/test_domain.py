"""Keys, codes, labels, the waiting list, the line to paste, and when two instances are both alive."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from dataclasses import replace

import pytest

from mirror_stage.enrolment import domain
from mirror_stage.enrolment.domain import CodeRow, Instances

KEY = "k" * 43
CODE = CodeRow("c1", 1, 2_000, "db-*", {}, 0, "ada")


def test_a_fingerprint_is_the_first_20_characters_of_the_hash_of_the_key() -> None:
    whole = base64.b32encode(hashlib.sha256(KEY.encode()).digest()).decode()
    shown = domain.fingerprint(domain.sha256(KEY))
    assert shown is not None
    assert [len(part) for part in shown.split("-")] == [4] * 5
    assert whole.startswith(shown.replace("-", ""))
    assert domain.fingerprint(None) is None


@pytest.mark.parametrize("key", ["", "k" * 42, "k" * 44, "k" * 42 + "+", "k" * 42 + "=", "k" * 43 + "\n"])
def test_what_is_no_key(key: str) -> None:
    assert domain.key_trouble(key)
    assert domain.key_trouble(KEY) is None


@pytest.mark.parametrize(
    ("code", "hostname", "said"),
    [
        (CODE, "db-01", None),
        (CODE, "web-01", "for hosts named db-*"),
        (CODE, "DB-01", "for hosts named db-*"),
        (CODE, "my-db-01", "for hosts named db-*"),
        (replace(CODE, host_pattern="*"), "web-01", None),
        (replace(CODE, expires_at=1_000), "db-01", "has ended"),
    ],
)
def test_when_a_code_counts(code: CodeRow, hostname: str, said: str | None) -> None:
    trouble = code.trouble(hostname, 1_000)
    assert (trouble is None) == (said is None)
    assert said is None or said in (trouble or "")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"rack": "R1", "room": "A 2", "tier": "db", "role": "primary"}, None),
        ({}, None),
        ({"rack": ""}, "rack: must have"),
        ({"rack": "R" * 65}, "1 to 64"),
        ({"room": " A"}, "no space"),
        ({"room": "A\n"}, "printable"),
        ({"": "x"}, "the name"),
        ({"a=b": "x"}, "the name"),
        ({f"n{number}": "x" for number in range(33)}, "at most 32"),
    ],
)
def test_what_an_admin_may_pin(labels: dict[str, str], said: str | None) -> None:
    trouble = domain.labels_trouble(labels)
    assert (trouble is None) == (said is None)
    assert said is None or said in (trouble or "")


def test_one_address_takes_ten_places_of_the_waiting_list_and_all_take_a_hundred() -> None:
    assert domain.waiting_trouble(["a"] * 9, "a") is None
    assert "this address" in (domain.waiting_trouble(["a"] * 10, "a") or "")
    assert domain.waiting_trouble(["a"] * 10, "b") is None
    many = [str(number // 10) for number in range(100)]
    assert "100 hosts" in (domain.waiting_trouble(many, "b") or "")


@pytest.mark.parametrize("pin", [None, "sha256//AbC+/="])
def test_the_line_gives_the_code_and_the_script_to_one_shell(pin: str | None) -> None:
    url = "https://10.0.0.100:3000/" if pin else "http://10.0.0.100:3000"
    line = domain.line_to_paste(url, pin, "ms_enroll_x")
    assert f"{url.rstrip('/')}/enroll.sh" in line
    assert ("curl -fsSk --pinnedpubkey" in line) == (pin is not None)
    stand_ins = 'curl() { echo "echo \\$code; echo $*"; }; sudo() { "$@"; }; '
    said = subprocess.run(["sh", "-c", stand_ins + line], capture_output=True, text=True, check=True, timeout=20).stdout
    assert said.splitlines()[0] == "ms_enroll_x"
    assert (pin or "enroll.sh") in said


def test_an_instance_that_follows_another_is_an_agent_that_was_installed_anew() -> None:
    one = Instances("a")
    assert not any(one.alternate(instance, at) for at, instance in enumerate("aaabbbaabbb"))


def test_two_instances_that_come_back_again_and_again_are_both_alive() -> None:
    one = Instances("a")
    assert [one.alternate(instance, at) for at, instance in enumerate("ababa")] == [False, False, False, False, True]


def test_instances_that_alternate_seldom_are_not_both_alive() -> None:
    one = Instances("a")
    assert not any(one.alternate(instance, at * domain.RETURNS_WITHIN) for at, instance in enumerate("abababab"))
