"""Names, passwords, durations; when a credential is valid; how often somebody may try to sign in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mirror_stage.access import passwords
from mirror_stage.access.attempts import REMEMBERED_MAX, Attempts, Failures
from mirror_stage.access.passwords import NOBODYS_HASH, Passwords, hashed, is_right
from mirror_stage.access.people import Known, duration, name_trouble, password_trouble, shortened
from mirror_stage.core.problems import Refused

VALID = Known("user", "", None, 1, "ada", "admin", None, 2_000, None, None)


@pytest.mark.parametrize(
    ("known", "now", "said"),
    [
        (VALID, 1_999, None),
        (VALID, 2_000, "has expired"),
        (replace(VALID, expires_at=None), 10**15, None),
        (replace(VALID, revoked_at=500), 1_000, "was revoked"),
        (replace(VALID, disabled_at=500), 1_000, "the account ada is disabled"),
        (replace(VALID, kind="session"), 2_000, "sign in again"),
    ],
)
def test_when_a_credential_is_valid(known: Known, now: int, said: str | None) -> None:
    trouble = known.trouble(now)
    assert (trouble is None) == (said is None)
    assert said is None or said in (trouble or "")


@pytest.mark.parametrize("name", ["ada", "a", "ada.l@example.org", "x" * 64, "7of9"])
def test_names_that_somebody_may_have(name: str) -> None:
    assert name_trouble(name) is None


@pytest.mark.parametrize(
    "name", ["", "Ada", ".ada", "a b", "x" * 65, "ada\n", "ädä", "job:x", "local", "ego", "anonymous"]
)
def test_names_that_nobody_may_have(name: str) -> None:
    assert name_trouble(name)


@pytest.mark.parametrize(("text", "expected"), [("30m", 1_800_000), ("12h", 43_200_000), ("90d", 7_776_000_000)])
def test_a_duration_has_a_unit(text: str, expected: int) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["", "90", "d", "0d", "1w", "-1d", "1.5h"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="such as 90d"):
        duration(text)


def test_a_password_is_neither_short_nor_endless() -> None:
    assert [password_trouble("x" * length) is None for length in (11, 12, 1024, 1025)] == [False, True, True, False]


def test_what_a_browser_says_of_itself_is_shortened() -> None:
    assert shortened(None) is None
    assert shortened("a\x1b[31m" + "b" * 300) == "a?[31m" + "b" * 194


def test_a_password_is_right_or_wrong_and_nobodys_is_always_wrong() -> None:
    stored = hashed("correct horse battery")
    assert stored.startswith("$argon2id$")
    checks = Passwords()
    assert checks.is_right(stored, "correct horse battery")
    assert not checks.is_right(stored, "wrong horse battery")
    assert not is_right(None, "correct horse battery")
    assert not is_right("no hash", "correct horse battery")


def test_an_unknown_name_takes_the_same_work_as_a_known_one() -> None:
    assert not passwords._hasher.check_needs_rehash(NOBODYS_HASH)
    asked: list[str] = []

    class Counting:
        def verify(self, stored: str, _password: str) -> bool:
            asked.append(stored)
            return True

    original = passwords._hasher
    passwords._hasher = Counting()  # type: ignore[assignment]
    try:
        assert not is_right(None, "x")
    finally:
        passwords._hasher = original
    assert asked == [NOBODYS_HASH]


def tries(attempts: Attempts, count: int, now: float, address: str | None, account: str | None) -> Refused | None:
    for _ in range(count):
        try:
            attempts.take(now, address, account)
        except Refused as why:
            return why
    return None


def test_an_account_may_be_tried_five_times_at_once_then_once_in_20_seconds() -> None:
    attempts = Attempts()
    assert tries(attempts, 5, 0.0, "10.0.0.1", "ada") is None
    refused = tries(attempts, 1, 0.0, "10.0.0.2", "ada")  # from another address, too
    assert refused is not None
    assert (refused.retry_after, "this account" in refused.detail) == (21, True)
    assert tries(attempts, 1, 21.0, "10.0.0.2", "ada") is None


def test_one_address_does_not_use_up_the_tries_of_all() -> None:
    attempts = Attempts()
    refused = [tries(attempts, 1, 0.0, "10.0.0.66", None) for _ in range(1_000)]
    assert sum(each is None for each in refused) == 20
    assert tries(attempts, 1, 0.0, "10.0.0.1", "ada") is None


def test_who_signs_in_may_do_so_as_often_as_they_like() -> None:
    attempts = Attempts()
    for _ in range(30):
        assert tries(attempts, 1, 0.0, "10.0.0.1", "ada") is None
        attempts.succeeded("10.0.0.1", "ada")


@pytest.mark.parametrize(("first", "second"), [("10.0.0.1", "10.0.0.1"), ("fd00::1", "fd00::2")])
def test_an_address_is_limited_whatever_the_account(first: str, second: str) -> None:
    attempts = Attempts()
    for number in range(20):
        assert tries(attempts, 1, 0.0, first, f"a{number}") is None
    refused = tries(attempts, 1, 0.0, second, "another")
    assert refused is not None
    assert "this address" in refused.detail
    assert tries(attempts, 1, 0.0, "10.0.0.9", "another") is None


def test_at_home_an_account_has_tries_of_its_own_and_not_more() -> None:
    attempts = Attempts()
    assert tries(attempts, 6, 0.0, "10.0.0.66", "ada") is not None
    for _ in range(5):
        attempts.take_at_home(0.0, "10.0.0.1", "ada")
    with pytest.raises(Refused, match="from this address"):
        attempts.take_at_home(0.0, "10.0.0.1", "ada")


def test_all_together_are_limited_and_what_is_remembered_too() -> None:
    attempts = Attempts()
    refused = [tries(attempts, 1, 0.0, f"10.0.{n // 250}.{n % 250}", f"a{n}") for n in range(2 * REMEMBERED_MAX)]
    assert refused[59] is None
    assert refused[60] is not None
    assert "in total" in refused[60].detail
    assert len(attempts._by_account) <= REMEMBERED_MAX


def test_failures_are_reported_at_once_and_then_once_a_minute_and_peer() -> None:
    failures = Failures()
    assert failures.note(0.0, "10.0.0.1", "ada") == "as ada"
    assert [failures.note(1.0, "10.0.0.1", name) for name in ("ada", "bob", "ada")] == [None] * 3
    assert failures.note(2.0, "10.0.0.2", "ada") == "as ada"
    assert list(failures.due(59.0)) == []
    assert list(failures.due(60.0)) == [("10.0.0.1", "3 times more, as ada, bob")]
    assert failures.note(61.0, "10.0.0.1", "ada") is None
    assert list(failures.due(121.0)) == [("10.0.0.1", "once more, as ada")]
    assert list(failures.due(190.0)) == []
    assert failures.note(191.0, "10.0.0.1", "ada") == "as ada"


def test_many_peers_and_names_take_bounded_memory() -> None:
    failures = Failures()
    for number in range(2 * REMEMBERED_MAX):
        failures.note(0.0, f"peer {number}", "ada")
    for number in range(100):
        failures.note(0.0, "peer 1", f"name {number}")
    reports = dict(failures.due(60.0))
    assert reports[None] == f"{REMEMBERED_MAX - 1} times more, as ada"
    assert reports["peer 1"] == "100 times more, as name 0, name 1, name 2, name 3, name 4, others"
