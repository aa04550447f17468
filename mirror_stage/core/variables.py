"""Misspelt names of environment variables: what must be one of ours stops the start, and what may be one is told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

# Names of ours that no setting of EGO or the agent has.
OTHERS = frozenset(
    {
        "EGO_URL",  # `make hud`: the EGO behind Vite
        "MIRROR_STAGE_COMMAND_ID",  # the agent gives it to every command that it runs
        "MIRROR_STAGE_HUD",  # hatch_build.py
        "MIRROR_STAGE_TEST_PG_BIN",  # the tests
        "MIRROR_STAGE_TEST_README",
        "MIRROR_STAGE_TEST_TIMESCALE_URL",
    }
)
# Kubernetes and `docker --link` set variables such as MIRROR_STAGE_SERVICE_HOST for a service called mirror-stage; they are
# no settings.
_OF_A_SERVICE = re.compile(r"_SERVICE_(HOST|PORT)(_|\Z)|_PORT_[0-9]+_(TCP|UDP)(_|\Z)")
_ADDRESS = re.compile(r"(tcp|udp)://")
_QUOTED = re.compile(r"""["'\u2018-\u201f].*["'\u2018-\u201f]""", re.DOTALL)
LONG = 8  # letters; a shorter name, such as PORT, is near to many names of other programs


def quotes_trouble(value: str) -> str | None:
    """What is wrong with a value in quotes. `docker run --env-file` keeps them, and a web page has others than a keyboard."""
    is_quoted = _QUOTED.fullmatch(value.strip())
    return "stands in quotes, and they would belong to the value: leave them out" if is_quoted else None


def unknown_variable(environment: Mapping[str, str], known: Iterable[str], *prefixes: str) -> str | None:
    """The first variable that must be a misspelt one of ours, in one line with the nearest name; or None.

    It begins with one of our prefixes, or differs from one of our names by a slip of the keyboard.
    """
    names = [*known]
    for name, upper in _strange(environment, names):
        slip = next(iter(get_close_matches(upper, _of_this_beginning(upper, names), n=1, cutoff=0.9)), "")
        if upper.startswith(prefixes) or len(slip) >= LONG:
            short = upper.removeprefix(prefixes[0])
            return f"{name}: there is no such setting" + (nearest(short, names, 1.0) or nearest(upper, names))
    return None


def doubtful_variables(
    environment: Mapping[str, str], known: Iterable[str], *, prefix: str, family: str
) -> Iterator[str]:
    """The variables that may be misspelt ones of ours and may be another program's, each in one line with the name of ours.

    They are near to one of ours, or one of the family with a word left out, or one of ours with `family` in the place of `prefix`.
    """
    names = [*known]
    for name, upper in _strange(environment, names):
        is_family, short = upper.startswith(family), upper.removeprefix(family)
        meant = [ours for ours in names if is_family and ours.removeprefix(prefix) == short]
        meant += [ours for ours in names if is_family and ours.startswith(family) and ours.endswith(f"_{short}")]
        meant += [ours for ours in names if sorted(ours) == sorted(upper)]
        longer = [ours for ours in _of_this_beginning(upper, names) if len(ours) >= LONG]
        meant += get_close_matches(upper, longer, n=1, cutoff=0.6 if is_family else 0.75)
        if meant:
            yield f"{name}: is no setting of EGO, so it changes nothing; did you mean {meant[0]}?"


def _strange(environment: Mapping[str, str], names: list[str]) -> Iterator[tuple[str, str]]:
    """The variables that are none of ours, and that no service or container set, each as it is written and in capitals."""
    for name in sorted(set(environment) - {*names} - OTHERS):
        upper = name.upper().replace("-", "_")
        if not _OF_A_SERVICE.search(upper) and not _ADDRESS.match(environment[name]):
            yield name, upper


def _of_this_beginning(word: str, words: list[str]) -> list[str]:
    """The words with the same first letter: HOSTNAME is near to EGO_HOSTNAME, and is another thing."""
    return [other for other in words if other[:1] == word[:1]]


def nearest(word: str, words: Iterable[str], likeness: float = 0.6) -> str:
    """`; did you mean fire_at?`, empty where no word is near."""
    near = get_close_matches(word, [*words], n=1, cutoff=likeness)
    return f"; did you mean {near[0]}?" if near else ""
