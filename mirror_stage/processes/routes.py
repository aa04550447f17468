"""REST: which processes used most of a host at a moment, and since when."""

from __future__ import annotations

from typing import Any

from flask import Response

from mirror_stage.processes.schemas import ProcessesQuery, ProcessHistorySchema
from mirror_stage.processes.service import Processes
from mirror_stage.web.http import Blueprint, json_response
from mirror_stage.web.services import service

blp = Blueprint("processes", __name__, url_prefix="/api/history", description="The processes of a host in the past")


@blp.get("/processes")
@blp.arguments(ProcessesQuery, location="query")
@blp.response(200, ProcessHistorySchema)
def of_moment(query: dict[str, Any]) -> Response:
    """The busiest processes of a host at a moment, with their minutes before it, and since when each uses so much."""
    found = service(Processes).at(query["hostname"], query.get("at"), query.get("since"), query.get("name"))
    return json_response(found)
