"""REST: `/api/views`, the saved views of the HUD."""

from __future__ import annotations

from typing import Any

from flask import Response
from marshmallow import ValidationError

from mirror_stage.access.gate import actor
from mirror_stage.core.problems import Invalid
from mirror_stage.views.schemas import ViewFields, ViewList, ViewName, ViewSchema
from mirror_stage.views.service import Views
from mirror_stage.web.http import Blueprint, json_response
from mirror_stage.web.services import service

blp = Blueprint("views", __name__, url_prefix="/api/views", description="Names for addresses of the HUD")


@blp.get("")
@blp.response(200, ViewList)
def list_views() -> Response:
    """All saved views, by name."""
    items = service(Views).all()
    return json_response({"items": items, "total": len(items)})


@blp.put("/<name>")
@blp.arguments(ViewFields())
@blp.response(200, ViewSchema)
@blp.alt_response(201, schema=ViewSchema)
def put_view(said: dict[str, Any], name: str) -> Response:
    """Save an address under a name, replace the address that has it, or rename it."""
    view, is_new = service(Views).save(_named(name), said["address"], said.get("name"), actor())
    return json_response(view, 201 if is_new else 200)


@blp.delete("/<name>")
@blp.response(204)
def delete_view(name: str) -> Response:
    """Delete a saved view."""
    service(Views).remove(_named(name), actor())
    return Response(status=204)


def _named(text: str) -> str:
    try:
        return str(ViewName().deserialize(text))
    except ValidationError as error:
        why = "; ".join(str(one) for one in error.messages)
        raise Invalid(f"the name of a view {why}", errors=[{"field": "name", "message": why}]) from error
