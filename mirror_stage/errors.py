"""What can go wrong with a request, and its one table to `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import random
from http import HTTPStatus
from typing import Any

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException


class Problem(Exception):
    """A refusal with a reason. `detail` speaks to the person who has to act: what, where, what to do."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, detail: str, *, errors: list[dict[str, Any]] | None = None, retry_after: int | None = None):
        super().__init__(detail)
        self.detail, self.errors, self.retry_after = detail, errors, retry_after


class Invalid(Problem):
    """The request is not of the contract's form."""

    status = HTTPStatus.BAD_REQUEST


class Forbidden(Problem):
    """The caller may not do this, or the page that asks is of another origin."""

    status = HTTPStatus.FORBIDDEN


class NotFound(Problem):
    status = HTTPStatus.NOT_FOUND


class IncompleteBody(Problem):
    """The body did not arrive whole, or not in time. Whole it may be good."""

    status = HTTPStatus.REQUEST_TIMEOUT


class Conflict(Problem):
    status = HTTPStatus.CONFLICT


class TooLarge(Problem):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class NotJson(Problem):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class KeyReused(Problem):
    """An Idempotency-Key came back with another body."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class Refused(Problem):
    """More than is allowed; later it may be."""

    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, detail: str, *, retry_after: int = 5):
        super().__init__(detail, retry_after=retry_after)


class Unavailable(Problem):
    """Nothing was stored; send it again later."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, detail: str):
        super().__init__(
            detail, retry_after=random.randint(1, 5)
        )  # jittered, so that refused senders do not return together


class OutcomeUnknown(Problem):
    """The connection to the database broke during COMMIT: it may or may not be stored. Sending again is harmless."""

    status = HTTPStatus.GATEWAY_TIMEOUT


class BadRow(Exception):
    """The database refuses a value, not the whole work: a row of this transaction is at fault."""


def problem_body(status: int, detail: str, errors: list[dict[str, Any]] | None = None) -> bytes:
    """One refusal as JSON; `statusCode`, `message` and `error` are for clients older than RFC 9457."""
    title = HTTPStatus(status).phrase
    members: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    members |= {"statusCode": status, "message": detail, "error": title}
    if errors is not None:
        members["errors"] = errors
    return orjson.dumps(members)


def problem_response(problem: Problem) -> Response:
    """The answer for a refusal."""
    response = Response(
        problem_body(problem.status, problem.detail, problem.errors),
        problem.status,
        mimetype="application/problem+json",
    )
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response


_IN_OUR_WORDS = {
    404: "there is no such route; /api/openapi.json lists all that there are",
    405: "this route does not take this method; Allow names those that it takes",
}


def _http_exception_response(error: HTTPException) -> Response:
    """Werkzeug's own refusals (404, 405, ...) in the same form; its headers (Allow) stay."""
    code = error.code or 500
    detail = (
        f"{request.method} {request.path}: {_IN_OUR_WORDS.get(code) or error.description or HTTPStatus(code).phrase}"
    )
    response = Response(problem_body(code, detail), code, mimetype="application/problem+json")
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def init_app(app: Flask) -> None:
    """Give every error of this application its one form."""
    app.register_error_handler(Problem, problem_response)
    app.register_error_handler(HTTPException, _http_exception_response)

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        app.logger.exception("unexpected error in %s %s", request.method, request.path)
        return Response(
            problem_body(500, "an error of EGO's own; its log has the details"),
            500,
            mimetype="application/problem+json",
        )
