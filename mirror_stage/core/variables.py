"""The names of environment variables that begin like ours. A misspelt one stops the start instead of being ignored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

# Names of ours that no setting of EGO or the agent has.
OTHERS = frozenset(
    {
        "EGO_URL",  # `make hud`: the EGO behind Vite
        "MIRROR_STAGE_COMMAND_ID",  # the agent gives it to every command that it runs
        "MIRROR_STAGE_HUD",  # hatch_build.py
        "MIRROR_STAGE_TEST_PG_BIN",  # the tests
        "MIRROR_STAGE_TEST_TIMESCALE_URL",
    }
)
# Kubernetes and `docker --link` set variables such as MIRROR_STAGE_SERVICE_HOST for a service called mirror-stage; they are
# no settings.
_OF_A_SERVICE = re.compile(r"_SERVICE_(HOST|PORT)(_|\Z)|_PORT_[0-9]+_(TCP|UDP)(_|\Z)")
_ADDRESS = re.compile(r"(tcp|udp)://")


def unknown_variable(
    environment: Mapping[str, str], known: Iterable[str], *, prefix: str, family: str = ""
) -> str | None:
    """The first variable that begins with `prefix` and that nobody knows, in one line with the nearest name; or None.

    A variable that begins with `family` may be another program's. It counts only if it is nearly one of ours.
    """
    names = [*known]
    for name in sorted(set(environment) - {*names} - OTHERS):
        upper = name.upper()
        if _OF_A_SERVICE.search(upper) or _ADDRESS.match(environment[name]):
            continue
        is_nearly_ours = family and upper.startswith(family) and get_close_matches(upper, names, n=1, cutoff=0.85)
        if upper.startswith(prefix) or is_nearly_ours:
            short = upper.removeprefix(prefix)
            return f"{name}: there is no such setting" + (nearest(short, names, 1.0) or nearest(upper, names))
    return None


def nearest(word: str, words: Iterable[str], likeness: float = 0.6) -> str:
    """`; did you mean fire_at?`, empty where no word is near."""
    near = get_close_matches(word, [*words], n=1, cutoff=likeness)
    return f"; did you mean {near[0]}?" if near else ""
