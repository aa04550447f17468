"""OpenAPI 3.1 at `/api/openapi.json`, generated from the schemas and routes. All refusals have one documented form."""

from __future__ import annotations

import threading
from collections import deque
from http import HTTPStatus
from typing import Any

from apispec import APISpec
from flask import Flask
from flask_smorest import Api, Blueprint
from marshmallow import fields

from mirror_stage.core.version import VERSION
from mirror_stage.web.schemas import InstantQuery, InstantText, WireSchema


class FieldErrorSchema(WireSchema):
    """One field that is wrong; `index` says in which sample of a batch."""

    index = fields.Integer()
    field = fields.String(required=True)
    message = fields.String(required=True)


class ProblemSchema(WireSchema):
    """A refusal (RFC 9457); `statusCode`, `message` and `error` are for older clients."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    statusCode = fields.Integer(required=True)
    message = fields.String(required=True)
    error = fields.String(required=True)
    errors = fields.List(fields.Nested(FieldErrorSchema))
    moreErrors = fields.Integer()


class ProblemApi(Api):
    """flask-smorest, but it documents problem+json, leaves errors to `answers.py`, and makes the document when it is first read.

    The document takes about a fifth of a second, a tenth of a start, and most EGOs are never asked for it.
    """

    ERROR_SCHEMA = ProblemSchema

    def __init__(self, app: Flask):
        self._waiting: deque[Blueprint] = deque()  # registered, and not in the document yet
        self._making = threading.RLock()
        super().__init__(app)

    def register_blueprint(self, blp: Blueprint, **_options: Any) -> None:
        """Register the routes now, and their documentation when somebody reads it."""
        self._app.register_blueprint(blp)
        self._waiting.append(blp)

    @property
    def spec(self) -> APISpec:
        """The whole document."""
        with self._making:
            while self._waiting:
                blp = self._waiting.popleft()
                blp.register_views_in_doc(self, self._app, self._spec, name=blp.name, parameters=None)
                self._spec.tag({"name": blp.name, "description": blp.description})
        return self._spec

    @spec.setter
    def spec(self, spec: APISpec) -> None:
        self._spec = spec

    def _register_error_handlers(self) -> None:
        """Do nothing: `answers.init_app` has registered them."""

    def _register_responses(self) -> None:
        """Document the form of all refusals, under the name of each status and as the default."""
        content = {"application/problem+json": {"schema": self.ERROR_SCHEMA}}
        for status in HTTPStatus:
            refusal = {"description": status.phrase} | (
                {"content": content} if status >= HTTPStatus.BAD_REQUEST else {}
            )
            self.spec.components.response(status.name, refusal, lazy=True)
        default = {"description": "Refused, and why", "content": content}
        self.spec.components.response(self.DEFAULT_ERROR_RESPONSE_NAME, default, lazy=True)


def init_api(app: Flask) -> Api:
    """The API object that blueprints are registered on."""
    app.config |= {
        "API_TITLE": "MIRROR STAGE EGO",
        "API_VERSION": VERSION,
        "OPENAPI_VERSION": "3.1.0",
        "OPENAPI_URL_PREFIX": "/api",
        "OPENAPI_JSON_PATH": "openapi.json",
    }
    api = ProblemApi(app)
    api.register_field(InstantText, "string", "date-time")
    api.register_field(InstantQuery, "string", "date-time")
    return api
