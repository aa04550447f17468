"""`/enroll.sh` is the script that enrols a host, `/enroll/<name>` are the files that it downloads. Both are open to everybody."""

from __future__ import annotations

from flask import Blueprint, Response, request, send_file

from mirror_stage.core.problems import Invalid, NotFound
from mirror_stage.installer.script import script
from mirror_stage.installer.wheels import WHEELS
from mirror_stage.tls.service import ServerCertificate
from mirror_stage.web.services import service
from mirror_stage.web.walls import is_passed_on

blp = Blueprint("installer", __name__)


@blp.get("/enroll.sh")
def enroll_script() -> Response:
    """The script, with EGO's address as the client asked for it, the pin of EGO's key, and the checksum of each file."""
    shown = None if is_passed_on(request.environ) else service(ServerCertificate).shown
    pin = None if shown is None else shown.certificate.pin
    try:
        text = script(request.root_url.rstrip("/"), pin, WHEELS.ready())
    except ValueError as error:
        raise Invalid(f"EGO's address cannot be written into the script: {error}") from error
    return Response(text, mimetype="text/plain", headers={"Cache-Control": "no-store"})


@blp.get("/enroll/<name>")
def enroll_file(name: str) -> Response:
    """A wheel of the agent."""
    path = WHEELS.file(name)
    if path is None:
        raise NotFound("there is no such file of the agent; download the script /enroll.sh again, which names them")
    return send_file(path, mimetype="application/octet-stream", max_age=0)
