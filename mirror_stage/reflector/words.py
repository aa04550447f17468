"""Splits a command into words as a shell does, for running it without a shell, and finds what only a shell can do.

Pure. Quotes and backslashes mean what they mean in POSIX sh.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BLANKS = " \t"
_NAME = re.compile(r"\$(?:\w+|\{[^}]*\}|[@*#?$!-])")
_BRACES = re.compile(r"\{[^{}\s]*(?:,|\.\.)[^{}\s]*\}")
_BRACKETS = re.compile(r"\[.*\]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?")

# Text from a web page or a document has these where somebody means a blank, a quote or a hyphen; no shell takes them for one.
_QUOTES, _HYPHENS = r"\u2018-\u201f", r"\u2010-\u2015\u2212"
_INVISIBLE = r"\x01-\x08\x0b\x0c\x0e-\x1f\x7f\xa0\xad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u2064\u3000\ufeff"
_LOOKALIKE, _BEFORE_OPTION = re.compile(f"[{_INVISIBLE}{_QUOTES}]"), re.compile(f"[{_HYPHENS}]")

# Shell operators, longer ones first, so that the longest match wins.
OPERATORS = (
    "&&", "||", "|&", "&>", ">>", "<<", ">&", "<&", "|", "&", ";", "<", ">", "(", ")",
)  # fmt: skip

# A shell does these itself: no system has a program of that name that would do the same.
SHELL_WORDS = frozenset((
    "!", ".", ":", "[[", "{", "alias", "bg", "bind", "builtin", "case", "cd", "command", "coproc", "declare", "do", "eval",
    "exec", "exit", "export", "fg", "for", "function", "getopts", "hash", "if", "jobs", "let", "local", "popd", "pushd",
    "read", "readonly", "return", "select", "set", "shift", "shopt", "source", "times", "trap", "type", "typeset", "ulimit",
    "umask", "unalias", "unset", "until", "wait", "while", "then", "elif", "else", "fi", "done", "esac", "}", "dirs", "disown",
    "history", "logout", "mapfile", "readarray",
))  # fmt: skip

SUBSTITUTIONS = ("$( )", "a command in backticks")  # a shell runs them within double quotes, too


class Unreadable(ValueError):
    """A quote that is not closed, a backslash at the end, or nothing to run."""


@dataclass(frozen=True)
class Words:
    """The words of a command. `operator` is the first part that only a shell can do; `as_written` lists what a shell would expand.

    `lookalikes` are the characters that only look like a blank, a quote or a hyphen, those that nobody sees as `U+00A0`.
    """

    argv: tuple[str, ...]
    operator: str | None = None
    as_written: tuple[str, ...] = ()
    lookalikes: tuple[str, ...] = ()


def words_of(command: str) -> Words:
    """The words of a command. Raises Unreadable."""
    if "\0" in command:
        raise Unreadable("it holds a NUL character")
    reader = _Reader(command)
    reader.read()
    if not reader.words or not reader.words[0]:
        raise Unreadable("it names no program")
    as_written, lookalikes = dict.fromkeys(reader.as_written), dict.fromkeys(reader.lookalikes)
    return Words(tuple(reader.words), reader.operator, tuple(as_written), tuple(lookalikes))


class _Reader:
    """Reads a text once, character by character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.words: list[str] = []
        self.operator: str | None = None
        self.as_written: list[str] = []
        self.lookalikes: list[str] = []
        self._word: str | None = None  # the word that is being read; None between two words
        self._unquoted = ""  # its unquoted characters, which a shell would expand

    def read(self) -> None:
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in _BLANKS:
                self._end_word()
                self.at += 1
            elif char == "'":
                self._add(self._until_quote())
            elif char == '"':
                self._read_double_quotes()
            elif char == "\\":
                self._read_escape()
            else:
                self._read_unquoted(char)
        self._end_word()

    def _read_unquoted(self, char: str) -> None:
        rest = self.text[self.at :]
        if char in "\r\n":
            self._end_word()
            if self.words and rest.strip(" \t\r\n"):
                self._found("a line break")
            self.at += 1
            return
        if _LOOKALIKE.match(char) or (self._word is None and _BEFORE_OPTION.match(char)):
            self.lookalikes.append(f"U+{ord(char):04X}" if re.match(f"[{_INVISIBLE}]", char) else char)
        if char == "#" and self._word is None:
            self._found("a comment: #")
        operator = next((text for text in OPERATORS if rest.startswith(text)), None)
        if operator is not None:
            self._found(operator)
        self._look_at_expansion(rest)
        if char == "~" and (self._word is None or self._unquoted.endswith("=")):
            self.as_written.append("~")
        if char == "$" and rest[1:2] in ("'", '"'):
            self.as_written.append(rest[:2])
        if char == "=" and not self.words and self._word == self._unquoted and _VARIABLE.fullmatch(self._unquoted):
            self._found(f"the assignment {self._unquoted}=")
        self._unquoted += char
        self._add(char)
        self.at += 1

    def _read_double_quotes(self) -> None:
        self.at += 1
        self._add("")
        while True:
            rest = self.text[self.at :]
            if not rest:
                raise Unreadable("No closing quotation")
            if rest[0] == '"':
                self.at += 1
                return
            if rest[0] == "\\" and rest[1:2] in set('$`"\\\n'):
                self._add(rest[1].replace("\n", ""))
                self.at += 2
                continue
            self._look_at_expansion(rest)
            self._add(rest[0])
            self.at += 1

    def _read_escape(self) -> None:
        if self.at + 1 >= len(self.text):
            raise Unreadable("No escaped character")
        escaped = self.text[self.at + 1]
        if escaped != "\n":  # a backslash before a line break joins the lines
            self._add(escaped)
        self.at += 2

    def _until_quote(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise Unreadable("No closing quotation")
        quoted, self.at = self.text[self.at + 1 : end], end + 1
        return quoted

    def _look_at_expansion(self, rest: str) -> None:
        """Note what a shell would expand here, also within double quotes."""
        if rest[0] == "`":
            self._found(SUBSTITUTIONS[1])
        elif rest.startswith("$("):
            self._found(SUBSTITUTIONS[0])
        elif (name := _NAME.match(rest)) is not None:
            self.as_written.append(name[0])

    def _add(self, text: str) -> None:
        self._word = (self._word or "") + text

    def _found(self, operator: str) -> None:
        self.operator = self.operator or operator

    def _end_word(self) -> None:
        if self._word is not None:
            if not self.words and self._word == self._unquoted and self._word in SHELL_WORDS:
                self._found(f"the word {self._word}")
            self.words.append(self._word)
            if "://" not in self._word:  # a ? in a URL is meant literally
                self.as_written += [char for char in "*?" if char in self._unquoted]
                self.as_written += ["["] * bool(_BRACKETS.search(self._unquoted))
            self.as_written += _BRACES.findall(self._unquoted)
        self._word, self._unquoted = None, ""
