"""REST: the history of one host, of several, and of groups of hosts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any
from urllib.parse import quote

import gevent
from flask import Response, stream_with_context

from mirror_stage.core.problems import Invalid
from mirror_stage.history import encode
from mirror_stage.history.schemas import HistoriesQuery, HistoriesSchema, HistoryQuery, HistorySchema
from mirror_stage.history.service import HistoryService, Question
from mirror_stage.web.http import Blueprint, hostname_in_path
from mirror_stage.web.services import service

hosts_blp = Blueprint("host-history", __name__, url_prefix="/api/hosts", description="The past of a host")
blp = Blueprint("history", __name__, url_prefix="/api/history", description="The past of many hosts")

UNKNOWN_NAMED = 10  # a header must stay short

AS_CSV = {"responses": {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}}


@hosts_blp.get("/<hostname>/history")
@hosts_blp.arguments(HistoryQuery, location="query")
@hosts_blp.response(200, HistorySchema)
@hosts_blp.doc(**AS_CSV)
def of_host(query: dict[str, Any], hostname: str) -> Response:
    """The history of one host, in columns."""
    name = hostname_in_path(hostname)
    asked = service(HistoryService).question(query, [name])
    if query["format"] == "csv":
        return _csv(asked, name, query["bom"])
    return _json(encode.json_of_host(name, asked, service(HistoryService).whole(asked)))


@blp.get("")
@blp.arguments(HistoriesQuery, location="query")
@blp.response(200, HistoriesSchema)
@blp.doc(**AS_CSV)
def of_many(query: dict[str, Any]) -> Response:
    """The history of several hosts, or summed up for each rack, room or tier, or for all hosts."""
    hostnames = list(dict.fromkeys(query["hostname"]))
    if not hostnames and "groupBy" not in query:
        detail = "name a host, or ask for groups of all hosts with groupBy"
        raise Invalid(detail, errors=[{"field": "hostname", "message": detail}])
    asked = service(HistoryService).question(query, hostnames)
    if query["format"] == "csv":
        return _csv(asked, query.get("groupBy", "hosts"), query["bom"])
    return _json(encode.json_of_many(asked, service(HistoryService).whole(asked)))


def _json(pieces: Iterator[bytes]) -> Response:
    return _streamed(pieces, "application/json")


def _csv(asked: Question, name: str, with_bom: bool) -> Response:
    """The answer in CSV, sent page by page while it is read. A header names the unknown hosts."""
    pages = service(HistoryService).pages(asked)
    response = _streamed(encode.csv_of(asked, pages, with_bom=with_bom), "text/csv")
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name)
    if asked.unknown:
        response.headers["X-Unknown-Hosts"] = ", ".join(quote(name) for name in asked.unknown[:UNKNOWN_NAMED])
    response.headers["Content-Disposition"] = f'attachment; filename="history-{plain}.csv"'
    return response


def _streamed(pieces: Iterator[bytes], mimetype: str) -> Response:
    """An answer that is sent while it is made. Its first pieces are made before the headers go out, so that an early error
    becomes a proper error answer and not a cut one."""
    beginning = [next(pieces, b""), next(pieces, b"")]
    return Response(stream_with_context(_yielding(chain(beginning, pieces))), mimetype=mimetype)


def _yielding(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces; other requests run after each. A socket that takes all at once would not let them."""
    for piece in pieces:
        yield piece
        gevent.sleep(0)
