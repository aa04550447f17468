"""REST: `/api/alerting`: rules, channels, routes, silences, maintenance and mute times as one document."""

from __future__ import annotations

from typing import Any

from flask import Response

from mirror_stage.access.gate import actor
from mirror_stage.alerting.schemas import (
    ApplyFields,
    ExportSchema,
    PlanFields,
    PlanSchema,
    document_of,
    export_on_wire,
    plan_on_wire,
)
from mirror_stage.alerting.service import Alerting
from mirror_stage.core.clock import Clock
from mirror_stage.web.http import Blueprint, json_response
from mirror_stage.web.services import service

blp = Blueprint(
    "alerting", __name__, url_prefix="/api/alerting", description="Who is told of which alerts, as one document"
)


@blp.get("")
@blp.response(200, ExportSchema)
def export_document() -> Response:
    """Everything as a document, as `mirror-stage alerts export` writes it. Secrets are not in it."""
    return _private(export_on_wire(service(Alerting).export()))


@blp.post("/plan")
@blp.arguments(PlanFields())
@blp.response(200, PlanSchema)
def plan(said: dict[str, Any]) -> Response:
    """What `apply` would change. Nothing is changed."""
    document = document_of(said["document"], service(Clock).now())
    return _private(plan_on_wire(service(Alerting).plan(document, prune=said["prune"]), is_done=False))


@blp.post("/apply")
@blp.arguments(ApplyFields())
@blp.response(200, PlanSchema)
def apply(said: dict[str, Any]) -> Response:
    """Make EGO as the document says, all or nothing."""
    document = document_of(said["document"], service(Clock).now())
    done = service(Alerting).apply(document, said["planId"], actor(), prune=said["prune"])
    return _private(plan_on_wire(done, is_done=True))


def _private(body: dict[str, Any]) -> Response:
    answer = json_response(body)
    answer.headers["Cache-Control"] = "no-store"
    return answer
