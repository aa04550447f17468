"""REST: health and what this EGO is."""

from __future__ import annotations

from typing import Any

from flask import Response

from mirror_stage.access.domain import VIEW, decide
from mirror_stage.access.gate import actor
from mirror_stage.core.version import VERSION
from mirror_stage.health.schemas import InfoSchema, ReadySchema
from mirror_stage.health.service import NEEDED, HealthService
from mirror_stage.hud.build import BUILD
from mirror_stage.web.http import Blueprint, json_response
from mirror_stage.web.services import service

blp = Blueprint("health", __name__, url_prefix="/api", description="Whether EGO lives and what it is")

FEATURES = ("delta-stream", "commands", "alerts", "long-poll", "history", "replay", "field-reflectors")


@blp.get("/health", strict_slashes=False)
@blp.response(200, {"type": "string"}, content_type="text/plain", description="Exactly `ok`")
def live() -> Response:
    """Liveness: touches nothing."""
    return Response("ok", mimetype="text/plain")


@blp.get("/health/ready", strict_slashes=False)
@blp.response(200, ReadySchema)
@blp.alt_response(503, schema=ReadySchema, description="Something that is needed does not work")
def ready() -> Response:
    """Readiness: every part that an answer needs. `checks` is empty for those who may not read data of hosts."""
    found = service(HealthService).checks()
    is_ready = all(found[name]["ok"] for name in NEEDED)
    shown = found if decide(actor(), VIEW) is None else {}
    return json_response({"ready": is_ready, "checks": shown}, 200 if is_ready else 503)


@blp.get("/info")
@blp.response(200, InfoSchema)
def info() -> dict[str, Any]:
    """What this EGO is and by which rules it judges."""
    return service(HealthService).info() | {
        "version": VERSION,
        "build": f"{VERSION}+{BUILD.id}" if BUILD.id else VERSION,
        "features": FEATURES,
    }
