"""The JSON body of a refusal: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson

ERRORS_MAX = 100  # in one answer: a request of a few kB must not get an answer of MB


def problem_json(status: int, detail: str, errors: list[dict[str, Any]] | None = None) -> bytes:
    """One refusal as JSON; `statusCode`, `message` and `error` are for clients older than RFC 9457."""
    title = HTTPStatus(status).phrase
    members: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    members |= {"statusCode": status, "message": detail, "error": title}
    if errors is not None:
        members["errors"] = errors[:ERRORS_MAX]
        if len(errors) > ERRORS_MAX:
            members["moreErrors"] = len(errors) - ERRORS_MAX
    return orjson.dumps(members)
