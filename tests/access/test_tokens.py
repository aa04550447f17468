"""The text form of tokens."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.access import tokens
from mirror_stage.access.tokens import KINDS, Mistyped, make, parse, sha256


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_read_as_it_was_made(kind: str) -> None:
    token = make(kind, secrets.choice)
    assert parse(token.text) == token
    assert token.text.startswith(f"ms_{kind}_{token.id}_")
    assert token.text.isascii()


def test_two_tokens_are_never_the_same() -> None:
    made = [make("user", secrets.choice) for _ in range(200)]
    assert len({token.text for token in made}) == len({token.id for token in made}) == 200


def test_a_token_is_one_text_and_has_a_hash_for_the_database() -> None:
    token = make("agent", lambda alphabet: alphabet[0])
    assert token.text == "ms_agent_0000000000_" + "0" * 40 + token.text[-6:]
    assert sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_mistyped_character_is_noticed(data: st.DataObject) -> None:
    text = make("user", secrets.choice).text
    place = data.draw(st.integers(len("ms_user_"), len(text) - 1))
    other = data.draw(st.sampled_from(tokens._ALPHABET))
    mistyped = text[:place] + other + text[place + 1 :]
    if mistyped != text:
        with pytest.raises(Mistyped):
            parse(mistyped)


@pytest.mark.parametrize("text", ["", "ms_", "ms_user_a_b", "ms_root_0123456789_" + "0" * 46, "0" * 60])
def test_what_lacks_a_part_is_no_token(text: str) -> None:
    with pytest.raises(Mistyped, match="no whole token"):
        parse(text)
    with pytest.raises(Mistyped):
        parse(make("user", secrets.choice).text + "\n")
