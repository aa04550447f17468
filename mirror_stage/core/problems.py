"""Why a request is refused: one exception for each kind, with the HTTP status it is answered with."""

from __future__ import annotations

import random
from http import HTTPStatus
from typing import Any


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
