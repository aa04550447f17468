"""WSGI middleware: how long each route takes to answer, and with which statuses."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import Any

from mirror_stage.figures.instruments import Histogram
from mirror_stage.web.realtime import SOCKETS_PATH

Environ = dict[str, Any]

ROUTE = "mirror_stage.route"  # in the environ of a request: the name of its route, such as `twin.state`
NO_ROUTE = (
    "none"  # of a request that a wall refuses, or for which there is no route: names that clients invent count as one
)


class Latency:
    """Counts the answers of each route, and how long it took until each began.

    Socket.IO is left out: its requests wait on purpose. `direct` names the route of a path that Flask does not see.
    """

    def __init__(self, wsgi: Callable[..., Iterable[bytes]], direct: Mapping[str, str]):
        self._wsgi, self._direct = wsgi, direct
        self._seconds: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)  # by route and status line

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(SOCKETS_PATH):
            return self._wsgi(environ, start_response)
        began = perf_counter()

        def answer(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            route = environ.get(ROUTE) or self._direct.get(path, NO_ROUTE)
            self._seconds[route, status].observe(perf_counter() - began)
            return start_response(status, headers, *rest)

        return self._wsgi(environ, answer)

    def by_route(self) -> Mapping[str, Histogram]:
        """How long the answers of each route took."""
        found: defaultdict[str, Histogram] = defaultdict(Histogram)
        for (route, _), seconds in self._seconds.items():
            found[route].add(seconds)
        return found

    def answers(self) -> Mapping[tuple[str, str], int]:
        """How many answers there were, by route and status: `("twin.state", "200")`."""
        found: Counter[tuple[str, str]] = Counter()
        for (route, status), seconds in self._seconds.items():
            found[route, status[:3]] += seconds.count
        return found
