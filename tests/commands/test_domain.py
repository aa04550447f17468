"""The pure rules as tables: the state table, outcomes, what is kept of a stream."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest

from mirror_stage.commands.domain import (
    MOVES,
    OUTCOMES,
    REFUSALS,
    Act,
    BadOutcome,
    Command,
    Standing,
    gap,
    kept,
    normalise_id,
    outcome_of,
    refusal,
)

KIB = 1024
ANY = Command(*[None] * len(fields(Command)))  # type: ignore[arg-type]


def standing(status: str, reason: str | None = None, *, is_closed: bool = False) -> Standing:
    return replace(ANY, status=status, reason=reason, is_closed=is_closed).standing


@pytest.mark.parametrize(
    ("status", "reason", "is_closed", "expected"),
    [
        ("pending", None, False, Standing.PENDING),
        ("running", None, False, Standing.RUNNING),
        ("timeout", "lost", False, Standing.LOST),
        ("timeout", "lost", True, Standing.FINAL),
        ("timeout", "expired", False, Standing.FINAL),
        ("timeout", "exec_timeout", False, Standing.FINAL),
        ("failed", "cancelled", False, Standing.FINAL),
        ("succeeded", None, False, Standing.FINAL),
    ],
)
def test_the_standing_follows_from_status_and_reason(
    status: str, reason: str | None, is_closed: bool, expected: Standing
) -> None:
    assert standing(status, reason, is_closed=is_closed) is expected


def test_the_moves_are_those_of_the_contract() -> None:
    edges = {(before.name, act.name): (move.status, move.reason) for (before, act), move in MOVES.items()}
    assert edges == {
        ("PENDING", "CLAIM"): ("running", None),
        ("PENDING", "CANCEL"): ("failed", "cancelled"),
        ("PENDING", "EXPIRY"): ("timeout", "expired"),
        ("RUNNING", "CANCEL"): ("running", None),
        ("RUNNING", "RESULT"): (None, None),
        ("RUNNING", "LEASE_OVER"): ("timeout", "lost"),
        ("LOST", "RESULT"): (None, None),
        ("LOST", "CANCEL"): ("timeout", "lost"),
    }


def test_a_command_that_has_ended_makes_no_transition() -> None:
    assert not [(standing, act) for standing, act in MOVES if standing is Standing.FINAL]


@pytest.mark.parametrize("act", [Act.HEARTBEAT, Act.RESULT, Act.CANCEL])
@pytest.mark.parametrize("before", list(Standing))
def test_each_act_leads_to_a_transition_or_a_refusal(before: Standing, act: Act) -> None:
    accepted = (before, act) in MOVES or (before, act) == (Standing.RUNNING, Act.HEARTBEAT)
    if (before, act) != (Standing.LOST, Act.CANCEL):
        assert accepted != ((before, act) in REFUSALS)


def test_a_refusal_names_the_state() -> None:
    expired = replace(ANY, status="timeout", reason="expired")
    assert refusal(Act.RESULT, expired) == "it was never handed out (expired)"
    assert refusal(Act.CANCEL, replace(ANY, status="succeeded")) == "it is over (succeeded)"


@pytest.mark.parametrize(
    ("reported", "status", "reason"),
    [
        ({"status": "succeeded"}, "succeeded", None),
        ({"status": "success"}, "succeeded", None),
        ({"status": "error"}, "failed", None),
        ({"status": "failed"}, "failed", None),
        ({"status": "failed", "reason": "rejected"}, "failed", "rejected"),
        ({"status": "failed", "reason": "agent_restarted"}, "failed", "agent_restarted"),
        ({"status": "failed", "reason": "cancelled"}, "failed", "cancelled"),
        ({"status": "timeout"}, "timeout", "exec_timeout"),
        ({"status": "timeout", "reason": "exec_timeout"}, "timeout", "exec_timeout"),
    ],
)
def test_a_report_becomes_an_outcome(reported: dict[str, str], status: str, reason: str | None) -> None:
    found = outcome_of(reported)
    assert (found.status, found.reason) == (status, reason)
    assert (status, reason) in OUTCOMES


@pytest.mark.parametrize(
    ("status", "reason"),
    [("succeeded", "rejected"), ("failed", "exec_timeout"), ("timeout", "cancelled"), ("failed", "lost")],
)
def test_a_status_takes_only_its_own_reasons(status: str, reason: str) -> None:
    with pytest.raises(BadOutcome, match=f"status {status} cannot have reason {reason}"):
        outcome_of({"status": status, "reason": reason})


CUT = f"\n[{8_000_000 - 64 * KIB} bytes are left out here]\n"


@pytest.mark.parametrize(
    ("text", "reported_bytes", "length", "size_bytes", "truncated"),
    [
        (None, None, None, None, False),
        (None, 7, None, 7, True),
        ("", None, 0, 0, False),
        ("a" * 64 * KIB, None, 64 * KIB, 64 * KIB, False),
        ("a" * (64 * KIB + 64), None, 64 * KIB + 64, 64 * KIB + 64, False),  # as our agent cuts
        ("a" * (64 * KIB + 65), None, 64 * KIB + len("\n[65 bytes are left out here]\n"), 64 * KIB + 65, True),
        ("a" * 100, 5000, 100, 5000, True),
        ("a" * 8_000_000, None, 64 * KIB + len(CUT), 8_000_000, True),
        ("a" * 8_000_000, 9_000_000, 64 * KIB + len(CUT), 9_000_000, True),
    ],
)
def test_how_much_of_a_stream_is_kept(
    text: str | None, reported_bytes: int | None, length: int | None, size_bytes: int | None, truncated: bool
) -> None:
    stream = kept(text, reported_bytes)
    assert (stream.size_bytes, stream.truncated) == (size_bytes, truncated)
    assert (None if stream.text is None else len(stream.text)) == length


def test_the_first_16_and_the_last_48_kib_are_kept() -> None:
    stream = kept("h" * 16 * KIB + "m" * 1_000_000 + "t" * 48 * KIB, None)
    assert stream.text == "h" * 16 * KIB + "\n[1000000 bytes are left out here]\n" + "t" * 48 * KIB


def test_no_character_is_cut_in_two() -> None:
    stream = kept("x" + "나" * 100_000 + "yy", None)
    assert stream.text is not None
    head, note, tail = re.split("\n(.*)\n", stream.text)
    assert set(head + tail) == {"x", "나", "y"}
    assert note == f"[{300_003 - len((head + tail).encode())} bytes are left out here]"
    assert 64 * KIB - 6 <= len((head + tail).encode()) <= 64 * KIB
    assert stream.size_bytes == 300_003


@pytest.mark.parametrize(
    ("previous", "now", "expected"),
    [(None, 9, 0), (1_000, 1_000, 0), (1_000, 6_000, 0), (1_000, 6_001, 5_001), (6_000, 1_000, -5_000)],
)
def test_how_far_a_pause_moves_leases(previous: int | None, now: int, expected: int) -> None:
    assert gap(previous, now) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0C0A1C58-5F26-4F5A-8A0E-4F2B1A6F2D02", "0c0a1c58-5f26-4f5a-8a0e-4f2b1a6f2d02"),
        ("0c0a1c58-5f26-4f5a-8a0e-4f2b1a6f2d02\n", None),
        ("pending", None),
        ("", None),
        ("\0", None),
    ],
)
def test_an_id_has_one_normal_form(text: str, expected: str | None) -> None:
    assert normalise_id(text) == expected
