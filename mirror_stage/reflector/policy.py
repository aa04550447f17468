"""Decides which commands may run on this host. Only the agent's settings decide; EGO cannot widen them."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mirror_stage.reflector.settings import ALLOW_LIST, OFF
from mirror_stage.reflector.words import SUBSTITUTIONS, Unreadable, Words, words_of

ANY_FURTHER = "..."
SHELL = ("/bin/sh", "-c")
_CLIMBS = re.compile(r"\.\.(?:/|\Z)")


@dataclass(frozen=True)
class Allowed:
    """A command that may run, as the arguments to execute."""

    argv: tuple[str, ...]
    note: str = ""  # shown to the sender of the command


@dataclass(frozen=True)
class Denied:
    """A command that may not run. The reason is shown to its sender."""

    reason: str


def judge(command: str, policy: str, patterns: Sequence[str] = (), *, shell: bool = False) -> Allowed | Denied:
    """Allowed with what to execute, or Denied with the reason."""
    if policy == OFF:
        return Denied("commands are off on this host; its owner can allow them: command_policy in reflector.toml")
    try:
        words = words_of(command)
    except Unreadable as error:
        return Denied(f"the command cannot be split into words: {error}")
    if policy == ALLOW_LIST and not any(is_allowed_by(pattern, command, words, shell=shell) for pattern in patterns):
        return Denied("not on the allow-list of this host; its owner can add it: command_allow in reflector.toml")
    if shell:
        return Allowed((*SHELL, command))
    if words.operator is not None:
        quotes = "single quotes" if words.operator in SUBSTITUTIONS else "quotes"
        return Denied(
            f"nothing was run: the command holds {words.operator} outside of {quotes}, which only a shell can do, "
            "and it would run without one; send sh -c '...', or quote what is meant as text"
        )
    return Allowed(words.argv, _note(words))


def is_allowed_by(pattern: str, command: str, words: Words, *, shell: bool) -> bool:
    """Whether a command matches one pattern of the allow-list.

    With `shell` the pattern must equal the whole command: a * would allow a second command after a semicolon.
    """
    if shell:
        return command.strip() == pattern.strip()
    wanted = shlex.split(pattern)
    given, further = words.argv, words.argv[:0]
    if wanted[-1:] == [ANY_FURTHER]:
        wanted = wanted[:-1]
        given, further = given[: len(wanted)], given[len(wanted) :]
    if not wanted or len(given) != len(wanted):
        return False
    return all(map(_matches, given, wanted)) and all(_matches(word, "*") for word in further)


def _matches(word: str, wanted: str) -> bool:
    """Whether one word of a command matches one word of a pattern.

    A wildcard does not match an option (-x) unless the pattern's word begins with - too, nor a path that contains `..`.
    """
    if word == wanted:
        return True
    if (word.startswith("-") and not wanted.startswith("-")) or _CLIMBS.search(word):
        return False
    return fnmatchcase(_normal(word), _normal(wanted))


def _normal(word: str) -> str:
    """A path without `//` and `/./`, so that /var/log//x is compared as /var/log/x. Other words are unchanged."""
    if "/" not in word:
        return word
    return ("/" if word.startswith("/") else "") + posixpath.normpath(word).lstrip("/")


def _note(words: Words) -> str:
    notes = []
    if words.as_written:
        notes.append(
            f"no shell runs this, so {' '.join(words.as_written)} was passed on as written; sh -c '...' would replace it"
        )
    if words.lookalikes:
        notes.append(
            f"{' '.join(words.lookalikes)} was passed on as written: it only looks like a blank, a quote or a hyphen, or like nothing"
        )
    return "; ".join(notes)
