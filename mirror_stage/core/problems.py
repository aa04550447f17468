"""Why a request is refused: one exception for each reason, each with its HTTP status."""

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
    """The request does not have the form that docs/contract.md requires."""

    status = HTTPStatus.BAD_REQUEST


class Unauthorized(Problem):
    """EGO does not know who asks: a credential is missing, or it is not valid (any more)."""

    status = HTTPStatus.UNAUTHORIZED


class Forbidden(Problem):
    """The caller may not do this, or the request comes from a page of another origin."""

    status = HTTPStatus.FORBIDDEN


class NotFound(Problem):
    status = HTTPStatus.NOT_FOUND


class IncompleteBody(Problem):
    """The body did not arrive completely, or not in time. Sending the same request again may succeed."""

    status = HTTPStatus.REQUEST_TIMEOUT


class Conflict(Problem):
    status = HTTPStatus.CONFLICT


class PreconditionFailed(Problem):
    """What is to be changed is not what If-Match says any more."""

    status = HTTPStatus.PRECONDITION_FAILED


class TooLarge(Problem):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class NotJson(Problem):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class KeyReused(Problem):
    """The same Idempotency-Key was sent before, with another body."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class Refused(Problem):
    """A limit is reached; the same request may succeed later."""

    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, detail: str, *, retry_after: int = 5):
        super().__init__(detail, retry_after=retry_after)


class Unavailable(Problem):
    """EGO stored nothing; the sender should try again later."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, detail: str):
        super().__init__(
            detail, retry_after=random.randint(1, 5)
        )  # jitter: refused senders should not all return at the same second


class OutcomeUnknown(Problem):
    """The connection to the database broke during COMMIT: the data may or may not be stored. Sending it again is harmless."""

    status = HTTPStatus.GATEWAY_TIMEOUT


class BadRow(Exception):
    """The database works, but refuses a value: at least one row of this transaction is bad."""
