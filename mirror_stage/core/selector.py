"""Selectors: which hosts a rule, a silence or a route is for, such as `tier:edge host:web-* -tag:env=lab`. Pure.

The grammar is that of the HUD's search, but exact, and only with what a host *is*: a silence must not end because a number
has changed. The HUD reads the same grammar; `tests/fixtures/selectors.json` holds both to it.

- All terms must hold. A term is `key:value`; `-key:value` holds where `key:value` does not. `*` alone is every host.
- The keys are those of KEYS. A value is compared whole, in any case; `*` stands for any characters, `?` for one.
- A comma is an or: `rack:R1,R2`. Quotes keep spaces and commas: `room:"Hall 2, left"`.
- `tag:env=lab` is a tag with its value, `tag:env` a tag with any value.
- What a host does not have equals nothing: `-rack:*` is each host without a rack.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache

from mirror_stage.core.names import is_printable

LENGTH_MAX = 1_000
TERMS_MAX = 50
STARS_MAX = 30  # each costs a fifth of a millisecond to compile
EVERY_HOST = "*"
KEYS = ("host", "ip", "rack", "room", "role", "tier", "platform", "tag")
_TERM = re.compile(r'(?:[^ "]|"[^"]*")+')
_OR = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')  # a comma outside of quotes


class BadSelector(ValueError):
    """A text that is no selector. The message says why, and what to write."""


@dataclass(frozen=True)
class Labels:
    """What a selector sees of a host. None: the host does not have it."""

    host: str
    ip: str | None = None
    rack: str | None = None
    room: str | None = None
    role: str | None = None
    tier: str | None = None
    platform: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def of(self, key: str) -> Sequence[str]:
        """The values of one of KEYS; of `tag`, each as `name=value`."""
        if key == "tag":
            return [f"{name}={value}" for name, value in self.tags.items()]
        value: str | None = getattr(self, key)
        return (value,) if value else ()


@dataclass(frozen=True)
class _Term:
    key: str
    pattern: re.Pattern[str]
    is_negated: bool

    def holds(self, labels: Labels) -> bool:
        return any(self.pattern.match(_normal(value)) for value in labels.of(self.key)) is not self.is_negated


@dataclass(frozen=True)
class Selector:
    """Which hosts are meant. `text` is what was written."""

    text: str
    terms: tuple[_Term, ...] = field(compare=False)

    def matches(self, labels: Labels) -> bool:
        """Whether a host is meant."""
        return all(term.holds(labels) for term in self.terms)


@lru_cache(maxsize=4_096)  # the rules are read again whenever one of them changes
def parse(text: str) -> Selector:
    """The selector that a text says. Raises BadSelector."""
    if len(text) > LENGTH_MAX:
        raise BadSelector(f"has {len(text)} characters; {LENGTH_MAX} are allowed")
    if not is_printable(text):
        raise BadSelector("has a character that cannot be seen")
    if text.count('"') % 2:
        raise BadSelector('has a " without its second one')
    terms = _TERM.findall(unicodedata.normalize("NFC", text))
    if not terms:
        raise BadSelector(f"says no host; {EVERY_HOST} is every host")
    if len(terms) > TERMS_MAX:
        raise BadSelector(f"has {len(terms)} terms; {TERMS_MAX} are allowed")
    stars = text.count("*")
    if stars > STARS_MAX:
        raise BadSelector(f"has {stars} *; {STARS_MAX} are allowed")
    return Selector(text.strip(), tuple(_term(term) for term in terms if term != EVERY_HOST))


def _term(text: str) -> _Term:
    is_negated = text.startswith("-")
    key, colon, rest = text.removeprefix("-").partition(":")
    key = key.lower()
    if not colon:
        raise BadSelector(f"{text}: write {'-' * is_negated}host:{key} for a hostname, or another key: {_KEYS}")
    if key not in KEYS:
        raise BadSelector(f"{text}: there is no key {key}; the keys are {_KEYS}")
    values = [value.replace('"', "") for value in _OR.split(rest)]
    if not all(values):
        raise BadSelector(f"{text}: a value is missing after {key}: or beside a comma")
    if key == "tag":
        values = list(_tags(text, values))
    return _Term(key, re.compile("|".join(map(_whole, values)), re.IGNORECASE), is_negated)


def _tags(text: str, values: list[str]) -> Iterable[str]:
    if any("=" in value for value in values) and not all("=" in value for value in values):
        bare = next(value for value in values if "=" not in value)
        raise BadSelector(f"{text}: write the tag's name before each value, like env=lab,env=test, not {bare}")
    return (value if "=" in value else f"{value}=*" for value in values)


def _whole(pattern: str) -> str:
    """The regular expression of a pattern. `translate` makes one that takes no long time, however many `*` there are."""
    return translate(re.sub(r"\*+", "*", pattern).replace("[", "[[]"))


def _normal(value: str) -> str:
    return value if value.isascii() else unicodedata.normalize("NFC", value)


_KEYS = ", ".join(f"{key}:" for key in KEYS)
