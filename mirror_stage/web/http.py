"""What all REST routes share: bodies read under limits, strict JSON, blueprints whose refusals are problem+json."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import flask_smorest
import gevent
import marshmallow
import orjson
from flask import Flask, Request, Response, g, request
from webargs.flaskparser import FlaskParser

from mirror_stage.core import strict_json
from mirror_stage.core.names import BadField, normalise_hostname
from mirror_stage.core.problems import IncompleteBody, Invalid, NotJson, Problem, TooLarge, Unavailable
from mirror_stage.web.latency import ROUTE
from mirror_stage.web.schemas import PAGES_MAX, rows_of

View = TypeVar("View", bound=Callable[..., Any])

BODY_MAX = 64 * 1024  # unless a schema sets Meta.body_max
BODY_SECONDS = 10.0
UNPACKED_MAX = 16 * 2**20
UNPACKED_RATIO_MAX = 20
BODIES_MAX = 32 * 2**20  # bytes of all requests together: bodies as they arrived, and unpacked
BODIES_OF_PEER_MAX = 20 * 2**20  # the largest batch, packed and unpacked; the rest has room for any other body
GZIP_MEMBERS_MAX = 64  # a client that packs piece by piece sends a few
DRAINED_MAX, DRAIN_SECONDS = 64 * 2**20, 0.5
SMALL_BODY = 64 * 1024  # bytes; a larger one counts against the limits of all bodies
_CHUNK = 64 * 1024
_ERRORS_IN_DETAIL_MAX = 10


class StrictParser(FlaskParser):
    """webargs, but bodies are read with `read_body`, and bad input is answered with 400 and EGO's own text."""

    DEFAULT_VALIDATION_STATUS = 400

    def load_json(self, req: Request, schema: marshmallow.Schema) -> Any:
        if (
            getattr(schema.Meta, "may_be_empty", False)
            and not req.content_length
            and "Transfer-Encoding" not in req.headers
        ):
            return {}
        return parse_json(read_body(getattr(schema.Meta, "body_max", BODY_MAX)))

    def handle_error(self, error: marshmallow.ValidationError, *_args: Any, **_kwargs: Any) -> Any:
        messages = error.normalized_messages()
        if set(messages) <= {"json", "query", "headers", "path"}:  # webargs names the place first
            messages = {key: text for inner in messages.values() for key, text in _as_dict(inner).items()}
        errors = list(rows_of(messages))
        shown = errors[:_ERRORS_IN_DETAIL_MAX]
        texts = [f"{row['field']}: {row['message']}" if row["field"] else row["message"] for row in shown]
        if len(errors) > len(shown):
            texts.append(f"and {len(errors) - len(shown)} more")
        raise Invalid("; ".join(texts), errors=errors)


def _as_dict(messages: Any) -> dict[str, Any]:
    return messages if isinstance(messages, dict) else {"_schema": messages}


class Blueprint(flask_smorest.Blueprint):
    """A domain's REST routes. The permission of each endpoint stands in `access/permissions.py`."""

    ARGUMENTS_PARSER = StrictParser()

    @staticmethod
    def documented_body(schema: type[marshmallow.Schema]) -> Callable[[View], View]:
        """Document a JSON body that the view reads itself."""

        def decorate(view: View) -> View:
            documented: Any = view
            documented._apidoc = getattr(view, "_apidoc", {}) | {
                "arguments": {"parameters": [{"in": "json", "required": True, "schema": schema}]}
            }
            return view

        return decorate


def read_body(most: int) -> bytes:
    """The body of this JSON request, at most `most` bytes, unpacked if it was gzip.

    Raises NotJson, TooLarge, Invalid, and IncompleteBody if it ends early or takes longer than 10 s.
    """
    if request.environ.get("CONTENT_TYPE") != "application/json" and request.mimetype != "application/json":
        raise NotJson(f"send application/json, not {request.mimetype or 'a body without a type'}")
    packing = request.headers.get("Content-Encoding", "identity").strip().lower()
    if packing not in {"identity", "gzip", "x-gzip", ""}:
        raise NotJson(f"a body may be plain or gzip, not {packing[:40]}")
    body = received(request.environ, request.content_length, most)
    return _unpacked(body) if packing.endswith("gzip") else body


def init_app(app: Flask) -> None:
    """Note the route of each request, set the Content-Type of its answer, and at its end release the memory granted to its body."""

    @app.before_request
    def routed() -> None:
        request.environ[ROUTE] = request.endpoint

    @app.after_request
    def typed(response: Response) -> Response:
        if response.status_code == 204 or request.method == "OPTIONS":
            response.headers.pop("Content-Type", None)
        elif response.headers.get("Content-Type") == "application/json":
            response.headers["Content-Type"] = JSON_TYPE
        return response

    @app.teardown_request
    def release(_error: BaseException | None) -> None:
        size = g.pop("granted_bytes", 0)
        if size:
            _granted.subtract({_ALL: size, request.remote_addr or "": size})
            if _granted[request.remote_addr or ""] <= 0:
                del _granted[request.remote_addr or ""]


JSON_TYPE = "application/json; charset=utf-8"  # without a charset some clients read Latin-1

_ALL = "all peers"
_granted: Counter[str] = Counter()  # bytes of the bodies in memory, by peer and of all peers


def _grant(size: int) -> None:
    """Count bytes of a body that have arrived, until their request ends. Raises Unavailable if there are too many.

    Bytes that are only declared do not count. Each peer also has a limit of its own.
    """
    peer = request.remote_addr or ""
    if _granted[_ALL] + size > BODIES_MAX or _granted[peer] + size > BODIES_OF_PEER_MAX:
        raise Unavailable("too many large bodies arrive at once; send this one again later")
    _granted.update({_ALL: size, peer: size})
    g.granted_bytes = g.get("granted_bytes", 0) + size


def received(environ: dict[str, Any], declared: int | None, most: int) -> bytes:
    """The body of a request as it arrives; `declared` is its Content-Length. More than SMALL_BODY needs Flask's `g`.

    Raises TooLarge, Invalid, Unavailable, and IncompleteBody if it ends early or takes longer than 10 s.
    """
    source = environ["wsgi.input"]
    if declared is not None and declared > most:
        _drain(source, declared)
        raise TooLarge(f"the body has {declared} bytes; at most {most} are allowed here")
    parts, size = [], 0
    left = None if environ.get("wsgi.input_terminated") else declared or 0
    with gevent.Timeout(BODY_SECONDS, IncompleteBody(f"the body did not arrive within {BODY_SECONDS:g} s")):
        while left is None or left > 0:
            part = _read(source, _CHUNK if left is None else min(_CHUNK, left))
            if not part:
                break
            size += len(part)
            if size > most:
                raise TooLarge(f"the body is longer than {most} bytes")
            if left is not None:
                left -= len(part)
            parts.append(part)
            if size > SMALL_BODY:  # small bodies always have room
                _grant(len(part))
    if size < (declared or 0):
        raise IncompleteBody(f"the body ended after {size} of {declared} bytes; send it again")
    return b"".join(parts)


def _drain(source: Any, declared: int) -> None:
    """Read and drop the body for half a second: a client that is cut off while it sends never sees the refusal."""
    left = min(declared, DRAINED_MAX)
    with gevent.Timeout(DRAIN_SECONDS, False):
        while left > 0:
            part = _read(source, min(_CHUNK, left))
            if not part:
                return
            left -= len(part)


def _read(source: Any, most: int) -> bytes:
    """The next part of a body. Raises IncompleteBody if the connection ended, Invalid if the body is framed badly."""
    try:
        part: bytes = source.read(most)
    except Problem:
        raise  # the deadline
    except OSError as error:
        raise IncompleteBody("the connection ended in the middle of the body; send it again") from error
    except Exception as error:  # gunicorn raises a dozen different ones
        raise Invalid(f"the body cannot be read: {error}") from error
    return part


def _unpacked(packed: bytes) -> bytes:
    """The contents of a gzip body; it may have several members, the last of them empty."""
    most = min(UNPACKED_MAX, max(len(packed) * UNPACKED_RATIO_MAX, _CHUNK))  # a small body may have a higher ratio
    parts: list[bytes] = []
    size, rest = 0, packed
    for _ in range(GZIP_MEMBERS_MAX):
        machine = zlib.decompressobj(wbits=31)
        try:
            part = machine.decompress(rest, most - size + 1)
        except zlib.error as error:
            what = "there are other bytes after the end of the gzip body" if parts else "the body is not gzip"
            raise Invalid(f"{what}: {error}") from error
        size += len(part)
        if size > most:
            raise TooLarge(f"the body unpacks to more than {most} bytes (16 MiB and {UNPACKED_RATIO_MAX}:1 at most)")
        if not machine.eof:
            raise Invalid("the gzip body ends too early")
        parts.append(part)
        rest = machine.unused_data.lstrip(b"\0")  # some clients pad with zeros
        if not rest:
            if size > SMALL_BODY:
                _grant(size)
            return b"".join(parts)
    raise Invalid(f"the gzip body has more than {GZIP_MEMBERS_MAX} members; pack it in one piece")


def parse_json(body: bytes) -> Any:
    """The value of a body. Raises Invalid."""
    try:
        return strict_json.load(body)
    except ValueError as why:
        raise Invalid(f"the body {why}") from why


def json_response(value: Any, status: int = 200) -> Response:
    """An answer, encoded by orjson: NaN and Infinity cannot be sent."""
    return Response(orjson.dumps(value), status, content_type=JSON_TYPE)


def hostname_in_path(text: str) -> str:
    """The normal form of a hostname in a URL. Raises Invalid."""
    try:
        return normalise_hostname(text)
    except BadField as error:
        raise Invalid(str(error), errors=[{"field": error.field, "message": error.message}]) from error


def bounded_page(query: dict[str, Any]) -> tuple[int, int]:
    """(page, page size), taken out of a validated query. Raises Invalid beyond the 10,000th row."""
    page, page_size = query.pop("page"), query.pop("pageSize")
    if page * page_size > PAGES_MAX:
        detail = f"page x pageSize is at most {PAGES_MAX}; use a narrower query instead"
        raise Invalid(detail, errors=[{"field": "page", "message": detail}])
    return page, page_size
