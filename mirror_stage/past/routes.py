"""REST: `/api/twin/diff`, `/api/timeline` and the availability of a host. The twin at a moment is `/api/twin/state?at=`, in twin/routes.py."""

from __future__ import annotations

from typing import Any

from flask import Response

from mirror_stage.past.schemas import AvailabilitySchema, DiffQuery, DiffSchema, TimelineQuery, TimelineSchema
from mirror_stage.past.service import Past
from mirror_stage.web.http import Blueprint, hostname_in_path, json_response
from mirror_stage.web.services import service

blp = Blueprint("past", __name__, url_prefix="/api", description="The past of the twin")
hosts_blp = Blueprint("host-past", __name__, url_prefix="/api/hosts", description="The past of a host")


@blp.get("/twin/diff")
@blp.arguments(DiffQuery, location="query")
@blp.response(200, DiffSchema)
def diff(query: dict[str, Any]) -> Response:
    """The difference of the twin between two moments."""
    return json_response(service(Past).diff(query["start"], query.get("end"), query["threshold"]))


@blp.get("/timeline")
@blp.arguments(TimelineQuery, location="query")
@blp.response(200, TimelineSchema)
def timeline(query: dict[str, Any]) -> Response:
    """Alerts, commands and hosts online over time, in equal buckets."""
    return json_response(service(Past).timeline(query.get("start"), query.get("end"), query["buckets"]))


@hosts_blp.get("/<hostname>/availability")
@hosts_blp.response(200, AvailabilitySchema)
def of_host(hostname: str) -> Response:
    """How long a host was online in the last 24 hours, 7 days and 30 days, and how long that is not known."""
    return json_response(service(Past).availability(hostname_in_path(hostname)))
