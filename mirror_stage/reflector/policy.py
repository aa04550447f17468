"""What EGO may have run on this host. The owner's settings decide alone; nothing that comes over the wire widens them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mirror_stage.reflector.settings import ALLOW_LIST, OFF

ANY_FURTHER = "..."
SHELL = ("/bin/sh", "-c")


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
    if "\0" in command:
        return Denied("a command cannot hold a NUL character")
    try:
        words = shlex.split(command)
    except ValueError as error:
        return Denied(f"the command cannot be split into words: {error}")
    if not words or not words[0]:
        return Denied("the command names no program")
    if policy == ALLOW_LIST and not any(is_allowed_by(pattern, command, words, shell=shell) for pattern in patterns):
        return Denied("not on the allow-list of this host; its owner can add it: command_allow in reflector.toml")
    return Allowed((*SHELL, command) if shell else tuple(words))


def is_allowed_by(pattern: str, command: str, words: Sequence[str], *, shell: bool) -> bool:
    """Whether a command matches one pattern of the allow-list.

    For the shell a pattern is the whole text: any * would let a second command hide behind a semicolon.
    """
    if shell:
        return command.strip() == pattern.strip()
    wanted = shlex.split(pattern)
    if wanted[-1:] == [ANY_FURTHER]:
        wanted = wanted[:-1]
        words = words[: len(wanted)]
    return len(words) == len(wanted) and all(map(_matches, words, wanted))


def _matches(word: str, wanted: str) -> bool:
    """Whether one word matches. A * does not begin an option: `systemctl status *` allows no `--root=/elsewhere`."""
    if word.startswith("-") and not wanted.startswith("-"):
        return False
    return fnmatchcase(word, wanted)
