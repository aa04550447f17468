"""Answers the usual batch of samples before Flask sees it, because Flask would take a fifth of the CPU of such a request.

The route in `routes.py` decides what is right. This module takes only a small, plain body without options, and calls the
same service; everything else goes on to the route. `tests/metrics/test_direct.py` holds both to the same answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from mirror_stage.access.gate import Gate, refuse_unless
from mirror_stage.access.permissions import PERMISSION_BY_ROUTE
from mirror_stage.core.names import normalise_hostname
from mirror_stage.core.problems import Problem
from mirror_stage.core.readiness import Readiness
from mirror_stage.metrics.service import Ingest, receipt_on_wire
from mirror_stage.web.answers import failure_response, problem_response
from mirror_stage.web.http import JSON_TYPE, SMALL_BODY, received
from mirror_stage.web.services import Services

Environ = dict[str, Any]
Wsgi = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

PATH = "/api/metrics/batch"
_NAMED = re.compile(rb'"hostname"\s*:\s*"([^"\\]{1,480})"')
_NEEDS = PERMISSION_BY_ROUTE["metrics.post_batch"]


class DirectIngest:
    """WSGI middleware: stores a usual batch, and passes every other request on."""

    def __init__(self, wsgi: Wsgi, services: Services):
        self._wsgi = wsgi
        self._gate, self._readiness, self._ingest = services[Gate], services[Readiness], services[Ingest]

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH or not is_usual(environ) or not self._readiness.is_restored:
            return self._wsgi(environ, start_response)
        try:
            body = orjson.dumps(self._take(environ))
        except Problem as problem:
            return problem_response(problem, environ)(environ, start_response)
        except Exception:
            return failure_response("POST", PATH)(environ, start_response)
        start_response("202 ACCEPTED", [("Content-Type", JSON_TYPE), ("Content-Length", str(len(body)))])
        return [body]

    def _take(self, environ: Environ) -> dict[str, Any]:
        actor = self._gate.actor_of(environ)
        if not actor.is_unverified:
            refuse_unless(actor, _NEEDS)
        body = received(environ, int(environ["CONTENT_LENGTH"]), SMALL_BODY)
        if actor.is_unverified:
            refuse_unless(actor, _NEEDS, named_in(body))  # the refusal names the host, so that somebody can admit it
        return receipt_on_wire(self._ingest.take(body, actor, lenient=False))


def named_in(body: bytes) -> str | None:
    """The first hostname in a batch that was not decoded; None if none is found, or if it is not valid."""
    match = _NAMED.search(body)
    try:
        return normalise_hostname(match[1].decode()) if match else None
    except ValueError:
        return None


def is_usual(environ: Environ) -> bool:
    """Whether a request is a POST of a small plain JSON body of known length, without a `Prefer` header."""
    length = environ.get("CONTENT_LENGTH") or ""
    return (
        environ["REQUEST_METHOD"] == "POST"
        and environ.get("CONTENT_TYPE") == "application/json"
        and length.isdecimal()
        and int(length) <= SMALL_BODY
        and environ.keys().isdisjoint({"HTTP_CONTENT_ENCODING", "HTTP_TRANSFER_ENCODING", "HTTP_PREFER"})
    )
