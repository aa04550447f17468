"""The HTTP answers for errors: each one is `application/problem+json`."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from mirror_stage.core.problems import Problem
from mirror_stage.web import refusals
from mirror_stage.web.problem_json import problem_json

log = logging.getLogger(__name__)


def problem_response(problem: Problem, environ: dict[str, Any]) -> Response:
    """The answer for a refusal. Its reason is also left for the outermost wall, which counts refusals."""
    refusals.explain(environ, problem.detail, problem.errors)
    response = Response(
        problem_json(problem.status, problem.detail, problem.errors),
        problem.status,
        mimetype="application/problem+json",
    )
    if problem.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="MIRROR STAGE EGO"'  # no browser asks for a password then
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response


def failure_response(method: str, path: str) -> Response:
    """The answer to a request that failed because of a bug. Call it while the error is handled: it goes to the log."""
    log.exception("unexpected error in %s %s", method, path)
    return Response(
        problem_json(500, "EGO failed because of a bug; its log has the details"),
        500,
        mimetype="application/problem+json",
    )


_IN_OUR_WORDS = {
    404: "there is no such route; /api/openapi.json lists all routes",
    405: "this route does not take this method; the Allow header lists the methods that it takes",
}


def _http_exception_response(error: HTTPException) -> Response:
    """Werkzeug's own refusals (404, 405, ...) in the same form; its headers (Allow) stay."""
    code = error.code or 500
    detail = (
        f"{request.method} {request.path}: {_IN_OUR_WORDS.get(code) or error.description or HTTPStatus(code).phrase}"
    )
    response = Response(problem_json(code, detail), code, mimetype="application/problem+json")
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def init_app(app: Flask) -> None:
    """Answer every error of this application with problem+json."""
    app.register_error_handler(Problem, lambda problem: problem_response(problem, request.environ))
    app.register_error_handler(HTTPException, _http_exception_response)
    app.register_error_handler(Exception, lambda _error: failure_response(request.method, request.path))
