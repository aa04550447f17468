"""What Prometheus asks: the figures of EGO and of the fleet, and the targets that there are."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from flask import Response, request

from mirror_stage.core.turns import in_turns
from mirror_stage.exporter import fleet, targets
from mirror_stage.exporter.ego import EgoFigures
from mirror_stage.exporter.schemas import TargetsQuery, TargetsSchema
from mirror_stage.figures.text import CONTENT_TYPE, chosen_format
from mirror_stage.twin.service import TwinService
from mirror_stage.web.http import Blueprint, json_response
from mirror_stage.web.services import service

_GZIP = 31  # zlib's window bits for a gzip header

blp = Blueprint("figures", __name__, description="Figures for Prometheus")
targets_blp = Blueprint(
    "prometheus", __name__, url_prefix="/api/prometheus", description="Service discovery for Prometheus"
)
_TEXT = {"content_type": "text/plain", "description": "Prometheus text, or OpenMetrics if `Accept` prefers that"}


@blp.get("/metrics")
@blp.response(200, {"type": "string"}, **_TEXT)
def ego() -> Response:
    """EGO's own figures: those of the process that answers, and of all that it owns."""
    form = _form()
    return _answer(form, [service(EgoFigures).written(form)])


@blp.get("/metrics/fleet")
@blp.response(200, {"type": "string"}, **_TEXT)
def of_fleet() -> Response:
    """The figures of every host that is not offline, under node_exporter's names where there is one."""
    form = _form()
    written = fleet.pieces(service(TwinService).shown().hosts(), form)
    return _answer(form, (piece.encode() for piece in written))


@targets_blp.get("/targets")
@targets_blp.arguments(TargetsQuery, location="query")
@targets_blp.response(200, TargetsSchema(many=True))
def list_targets(query: dict[str, int]) -> Response:
    """EGO itself; with `port` a program on each host instead. For `http_sd_configs`."""
    if "port" in query:
        return json_response(targets.of_hosts(service(TwinService).shown().hosts(), query["port"]))
    return json_response(targets.of_ego(request.scheme, request.host))


def _form() -> str:
    return chosen_format(request.accept_mimetypes)


def _answer(form: str, pieces: Iterable[bytes]) -> Response:
    """The pieces as one answer, compressed if the client takes that. Others get a turn in between."""
    is_packed = request.accept_encodings["gzip"] > 0
    body = b"".join(in_turns(packed(pieces) if is_packed else pieces))
    response = Response(body, content_type=CONTENT_TYPE[form])
    response.headers["Cache-Control"] = "no-store"
    response.vary.update(["Accept", "Accept-Encoding"])
    if is_packed:
        response.headers["Content-Encoding"] = "gzip"
    return response


def packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(level=1, wbits=_GZIP)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()
