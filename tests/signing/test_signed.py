"""The envelope: what counts as signed, and what an agent says of what does not."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from mirror_stage.core import signed
from mirror_stage.core.instants import DAY, MINUTE
from mirror_stage.core.signed import COMMAND, Recipient, Unproved, check_recipient, check_time, number_of, statement_of
from mirror_stage.signing.keys import Keys, made
from mirror_stage.signing.private_keys import PrivateKey

NOW = 1_762_000_000_000
KEYS = made(PrivateKey.new(), NOW)
OTHER = made(PrivateKey.new(), NOW)
STATEMENT = {"host": "titan-01", "agentId": "a1", "generation": 2, "id": "x", "seq": 7, "expiresAt": NOW + MINUTE}


def envelope(keys: Keys = KEYS, purpose: str = COMMAND) -> dict[str, Any]:
    return json.loads(json.dumps(keys.envelope(purpose, STATEMENT)))  # type: ignore[no-any-return]


def changed(text: str) -> str:
    """The base64 of the same bytes with one bit changed."""
    content = bytearray(base64.b64decode(text))
    content[len(content) // 2] ^= 1
    return base64.b64encode(content).decode()


def test_the_bytes_that_are_signed_are_those_of_dsse() -> None:
    assert signed.to_sign(b'{"a":1}') == b'DSSEv1 33 application/vnd.mirror-stage+json 7 {"a":1}'


def test_a_signed_statement_is_read() -> None:
    found = statement_of(envelope(), KEYS.root, COMMAND, NOW)
    assert found == {"v": 1, "purpose": COMMAND, "ego": signed.ego_of(KEYS.root), **STATEMENT}


@pytest.mark.parametrize("path", ["payload", "signature", "keyCertificate.payload", "keyCertificate.signature"])
@pytest.mark.parametrize(
    "change", [changed, lambda _text: "", lambda _text: "no base64!", lambda _text: None, lambda _text: 7]
)
def test_a_changed_member_is_refused(path: str, change: Any) -> None:
    one = envelope()
    place, _, name = path.rpartition(".")
    inner = one[place] if place else one
    inner[name] = change(inner[name])
    with pytest.raises(Unproved):
        statement_of(one, KEYS.root, COMMAND, NOW)


@pytest.mark.parametrize("one", [None, [], "text", {}, {"payload": "e30="}, {**envelope(), "keyCertificate": None}])
def test_what_is_no_envelope_is_refused(one: Any) -> None:
    with pytest.raises(Unproved):
        statement_of(one, KEYS.root, COMMAND, NOW)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (envelope(OTHER), "another EGO signed it"),
        ({**envelope(OTHER), "keyCertificate": KEYS.certificate}, "signature does not fit"),
        ({**envelope(), "keyCertificate": OTHER.certificate}, "signature does not fit"),
        (envelope(purpose="cancel"), "signed it as 'cancel', not as 'command'"),
        ({**KEYS.certificate, "keyCertificate": KEYS.certificate}, "signature does not fit"),
        (None, "EGO has not signed it"),
    ],
)
def test_what_another_key_or_for_another_purpose_was_signed_is_refused(one: Any, said: str) -> None:
    with pytest.raises(Unproved, match=said):
        statement_of(one, KEYS.root, COMMAND, NOW)


def test_an_online_key_counts_only_while_it_is_valid() -> None:
    for days, is_valid in ((-1, True), (-1.1, False), (88.9, True), (89.1, False)):
        at = NOW + int(days * DAY)
        if is_valid:
            statement_of(envelope(), KEYS.root, COMMAND, at)
        else:
            with pytest.raises(Unproved, match="online key is valid from"):
                statement_of(envelope(), KEYS.root, COMMAND, at)


@pytest.mark.parametrize(
    ("me", "said"),
    [
        (Recipient("titan-01"), None),
        (Recipient("titan-01", "a1", 2), None),
        (Recipient("titan-02"), "it is for titan-01, and this host is titan-02"),
        (Recipient("titan-01", "a2", 2), "another agent of this name"),
        (Recipient("titan-01", "a1", 3), None),  # its token has changed since
    ],
)
def test_a_statement_is_for_one_agent(me: Recipient, said: str | None) -> None:
    if said is None:
        check_recipient(STATEMENT, me)
    else:
        with pytest.raises(Unproved, match=said):
            check_recipient(STATEMENT, me)


def test_a_statement_expires() -> None:
    check_time(STATEMENT, NOW + MINUTE)
    with pytest.raises(Unproved, match="it expired at 2025-11-01T12:27:40"):
        check_time(STATEMENT, NOW + 2 * MINUTE)
    with pytest.raises(Unproved, match="lacks expiresAt"):
        check_time({}, NOW)


def test_a_number_must_be_above_the_highest() -> None:
    assert number_of(STATEMENT, 6) == 7
    for highest in (7, 8):
        with pytest.raises(Unproved, match="somebody repeats old ones"):
            number_of(STATEMENT, highest)
    for other in (True, 7.0, "7", None):
        with pytest.raises(Unproved, match="lacks seq"):
            number_of({"seq": other}, 0)


@pytest.mark.parametrize("text", ["", "AAAA", "no base64", base64.b64encode(bytes(32)).decode()])
def test_a_text_that_is_no_root_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="mirror-stage signing show"):
        signed.key_of(text)
