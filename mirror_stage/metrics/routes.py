"""REST: agents post their samples."""

from __future__ import annotations

from flask import Response, request

from mirror_stage.ego import current_ego
from mirror_stage.http import Blueprint, json_response, read_body
from mirror_stage.instants import to_text
from mirror_stage.metrics.schemas import BatchSchema, ReceiptSchema
from mirror_stage.metrics.service import ingest

BODY_MAX = 4 * 2**20

blp = Blueprint("metrics", __name__, url_prefix="/api/metrics", description="Samples of hosts")


@blp.post("/batch")
@blp.documented_body(BatchSchema)
@blp.response(202, ReceiptSchema)
def post_batch() -> Response:
    """Store 1 to 1,000 samples. 202 means that all that are counted in `accepted` are durable."""
    current = current_ego()
    receipt = ingest(
        read_body(BODY_MAX),
        request.remote_addr,
        lenient="handling=lenient" in request.headers.get("Prefer", ""),
        clock=current.clock,
        writer=current.writer,
        kept=current.config.oldest_tier,
    )
    return json_response(receipt | {"receivedAt": to_text(receipt["receivedAt"])}, 202)
