"""REST: agents post their samples."""

from __future__ import annotations

from flask import Response, request

from mirror_stage.access.gate import actor
from mirror_stage.metrics.schemas import BatchSchema, ReceiptSchema
from mirror_stage.metrics.service import Ingest, receipt_on_wire
from mirror_stage.web.http import Blueprint, json_response, read_body
from mirror_stage.web.services import service

BODY_MAX = 4 * 2**20

blp = Blueprint("metrics", __name__, url_prefix="/api/metrics", description="Samples of hosts")


@blp.post("/batch")
@blp.documented_body(BatchSchema)
@blp.response(202, ReceiptSchema)
def post_batch() -> Response:
    """Store 1 to 1,000 samples. 202 means that the samples counted in `accepted` are durable."""
    lenient = "handling=lenient" in request.headers.get("Prefer", "")
    receipt = service(Ingest).take(read_body(BODY_MAX), actor(), lenient=lenient)
    return json_response(receipt_on_wire(receipt), 202)
