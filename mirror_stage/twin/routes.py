"""REST: the snapshot of the twin, live or at a moment, and the hosts."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from mirror_stage.access.gate import actor
from mirror_stage.core.instants import Instant
from mirror_stage.twin.schemas import HostDetailSchema, HostList, HostQuery, MomentQuery, SnapshotSchema
from mirror_stage.twin.service import TwinService
from mirror_stage.web.http import Blueprint, hostname_in_path, json_response
from mirror_stage.web.services import service

blp = Blueprint("twin", __name__, url_prefix="/api/twin", description="The live digital twin")
hosts_blp = Blueprint("hosts", __name__, url_prefix="/api/hosts", description="The hosts of the twin")

SETTLED_SECONDS = 3_600  # how long a browser may keep a moment whose answer can no longer change


@blp.get("/state")
@blp.arguments(MomentQuery, location="query")
@blp.response(200, SnapshotSchema)
@blp.alt_response(304, description="The client has this answer already, by its ETag")
def state(query: dict[str, int]) -> Response:
    """The whole twin: the newest frame, or as it was at a moment."""
    return _past(query["at"]) if "at" in query else _live(query.get("after"))


def _past(at: Instant) -> Response:
    twin = service(TwinService)
    response = Response(twin.body_at(at), mimetype="application/json")
    response.headers["Cache-Control"] = f"private, max-age={SETTLED_SECONDS if twin.is_settled(at) else 0}"
    response.add_etag()
    response.make_conditional(request)
    return response


def _live(after: Instant | None) -> Response:
    frames = service(TwinService).shown(after)
    response = Response(mimetype="application/json")
    response.set_etag(frames.etag)
    response.headers["Cache-Control"] = "private, no-cache"
    if request.if_none_match.contains(frames.etag):
        response.status_code = 304
    else:
        response.set_data(frames.body())
    return response


@hosts_blp.get("")
@hosts_blp.arguments(HostQuery, location="query")
@hosts_blp.response(200, HostList)
def list_hosts(query: dict[str, Any]) -> Response:
    """The hosts that match every filter."""
    items = service(TwinService).find_hosts(query)
    return json_response({"items": items, "total": len(items)})


@hosts_blp.get("/<hostname>")
@hosts_blp.response(200, HostDetailSchema)
def get_host(hostname: str) -> Response:
    """One host with its hardware and diagnostics."""
    return json_response(service(TwinService).host_named(hostname_in_path(hostname)))


@hosts_blp.delete("/<hostname>")
@hosts_blp.response(204)
def delete_host(hostname: str) -> Any:
    """Remove a host from the twin. Its history stays for its retention."""
    service(TwinService).forget(hostname_in_path(hostname), actor())
    return Response(status=204)
