"""REST: the certificate that clients of EGO's own authority trust."""

from __future__ import annotations

from flask import Response

from mirror_stage.core.problems import NotFound
from mirror_stage.tls.service import ServerCertificate
from mirror_stage.web.http import Blueprint
from mirror_stage.web.services import service

blp = Blueprint("tls", __name__, url_prefix="/api/tls", description="How EGO shows that it is itself")


@blp.get("/root.pem")
@blp.response(200, {"type": "string"}, content_type="application/x-pem-file", description="PEM")
def root() -> Response:
    """The root of EGO's own authority. No secret: who trusts it has to compare its fingerprint."""
    shown = service(ServerCertificate).shown
    if shown is None or shown.root_pem is None:
        raise NotFound(
            "this EGO has no authority of its own: it speaks plain HTTP, or shows a certificate of its operator"
        )
    return Response(shown.root_pem, mimetype="application/x-pem-file")
