"""REST: when the disks of a host will be full."""

from __future__ import annotations

from flask import Response

from mirror_stage.disks.schemas import DiskForecastList
from mirror_stage.disks.service import DiskLevels
from mirror_stage.web.http import Blueprint, hostname_in_path, json_response
from mirror_stage.web.services import service

blp = Blueprint("disks", __name__, url_prefix="/api/hosts", description="When the disks of a host will be full")


@blp.get("/<hostname>/disks")
@blp.response(200, DiskForecastList)
def of_host(hostname: str) -> Response:
    """When each disk of a host will be full, by how full it was in the last seven days."""
    name = hostname_in_path(hostname)
    items = service(DiskLevels).of_host(name)
    return json_response({"hostname": name, "items": items, "total": len(items)})
