"""What EGO may have run on this host. The owner's settings decide alone; nothing that comes over the wire widens them."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mirror_stage.reflector.settings import ALLOW_LIST, OFF
from mirror_stage.reflector.words import Unreadable, Words, words_of

ANY_FURTHER = "..."
SHELL = ("/bin/sh", "-c")
_CLIMBS = re.compile(r"\.\.(?:/|\Z)")


@dataclass(frozen=True, slots=True)
class Allowed:
    """A command that may run, as the system wants it."""

    argv: tuple[str, ...]
    note: str = ""  # for whoever sent it


@dataclass(frozen=True, slots=True)
class Denied:
    """One that may not, and why, for whoever sent it."""

    reason: str


def judge(command: str, policy: str, patterns: Sequence[str] = (), *, shell: bool = False) -> Allowed | Denied:
    """Whether a command may run here, and what would be executed."""
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
        return Denied(
            f"nothing was run: the command holds {words.operator} outside of quotes, which only a shell can do, "
            "and it would run without one; quote it, or send sh -c '...'"
        )
    return Allowed(words.argv, _note(words))


def is_allowed_by(pattern: str, command: str, words: Words, *, shell: bool) -> bool:
    """Whether a command matches one pattern of the allow-list.

    For the shell a pattern is the whole text: any * would let a second command hide behind a semicolon.
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
    """Whether one word is, or is like, a word of a pattern.

    What a wildcard lets through is no option, unless the pattern's own word begins with -, and leads nowhere by `..`.
    """
    if word == wanted:
        return True
    if (word.startswith("-") and not wanted.startswith("-")) or _CLIMBS.search(word):
        return False
    return fnmatchcase(_normal(word), _normal(wanted))


def _normal(word: str) -> str:
    """A path without `//` and `/./`, so that /var/log//x is judged as /var/log/x; any other word as it is."""
    if "/" not in word:
        return word
    return ("/" if word.startswith("/") else "") + posixpath.normpath(word).lstrip("/")


def _note(words: Words) -> str:
    if not words.as_written:
        return ""
    return f"no shell runs this, so {' '.join(words.as_written)} was passed on as written; sh -c '...' would replace it"
