"""The search of `hosts forget --where`: terms, all of which must hold. Pure.

It removes what it finds, so it is stricter than the HUD's search: a value is compared whole, and a term that means nothing
is an error, not a word to look for.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from mirror_stage.core.bad_setting import BadSetting

Entry = Mapping[str, Any]  # a host as `GET /api/hosts` shows it
Matches = Callable[[Entry], bool]

FIELDS = {
    "name": "hostname",
    "ip": "ip",
    "rack": "rack",
    "room": "room",
    "tier": "tier",
    "platform": "platform",
    "agent": "agentVersion",
    "uplink": "uplink",
}
STATES: Mapping[str, Matches] = {
    "online": lambda entry: entry["status"] == "online",
    "stale": lambda entry: entry["status"] == "stale",
    "offline": lambda entry: entry["status"] == "offline",
    "simulated": lambda entry: entry["agentVersion"].endswith("+simulated"),
}
HELP = f"""a term of --where is one of:
  web-07, 'web-*'      the hostname; * and ? stand for any characters, here and below
  rack:R1              the whole value of {", ".join(FIELDS)}
  is:simulated         {", ".join(STATES)}
  -TERM                not what TERM finds
All terms must hold: --where 'is:simulated is:offline -rack:R1'"""


def parse(text: str) -> Matches:
    """Whether a host is meant by a search. Raises BadSetting for a term that means nothing, and if no term says who."""
    try:
        terms = shlex.split(text)
    except ValueError as error:
        raise BadSetting(f"--where: {text!r}: {error}") from error
    if all(term.startswith("-") for term in terms):
        raise BadSetting("--where: no term says which hosts are meant; '*' means all of them")
    wanted = [_term(term) for term in terms if not term.startswith("-")]
    spared = [_term(term[1:]) for term in terms if term.startswith("-")]
    return lambda entry: all(term(entry) for term in wanted) and not any(term(entry) for term in spared)


def _term(text: str) -> Matches:
    word, separator, value = text.partition(":")
    if not separator:
        word, value = "name", text
    if word == "is" and value in STATES:
        return STATES[value]
    if word not in FIELDS or not value or (not separator and re.search(r"[<>=]", value)):
        fields = ", ".join(f"{field}:" for field in FIELDS)
        states = ", ".join(f"is:{state}" for state in STATES)
        raise BadSetting(f"--where: {text!r} means nothing here: use a hostname, {fields} or {states}")
    key, form = FIELDS[word], re.compile(re.escape(value).replace(r"\*", ".*").replace(r"\?", "."))
    return lambda entry: form.fullmatch(entry[key] or "") is not None
