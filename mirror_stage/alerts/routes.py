"""REST: `/api/alerts`."""

from __future__ import annotations

from typing import Any

from flask import Response

from mirror_stage.access.gate import actor
from mirror_stage.alerts.schemas import AlertPage, AlertQuery, AlertSchema, NewAckSchema
from mirror_stage.alerts.service import AlertService
from mirror_stage.web.http import Blueprint, bounded_page
from mirror_stage.web.services import service

blp = Blueprint("alerts", __name__, url_prefix="/api/alerts", description="What is wrong with which host")


@blp.get("/active")
@blp.response(200, AlertSchema(many=True))
def active() -> Any:
    """The active alerts, newest first."""
    return service(AlertService).active()


@blp.get("")
@blp.arguments(AlertQuery, location="query")
@blp.response(200, AlertPage)
def list_alerts(query: dict[str, Any]) -> Any:
    """Alerts of the past and the present, newest first."""
    page, page_size = bounded_page(query)
    ended_by = query.pop("endedBy", None)
    items, total = service(AlertService).page(query, page, page_size, ended_by)
    return {"items": items, "total": total, "page": page, "pageSize": page_size}


@blp.post("/<id>/ack")
@blp.arguments(NewAckSchema(), required=False)
@blp.response(200, AlertSchema)
def put_ack(wanted: dict[str, Any], id: str) -> Any:
    """Acknowledge an active alert: somebody looks after it. It ends with the alert, a worse severity, or its time."""
    return service(AlertService).acknowledge(id, wanted["note"], wanted["until"], actor())


@blp.delete("/<id>/ack")
@blp.response(204)
def delete_ack(id: str) -> Response:
    """Acknowledge an alert no longer."""
    service(AlertService).withdraw(id, actor())
    return Response(status=204)
