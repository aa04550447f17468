"""`/`: a small page of our own, and its two static files. It works without the HUD that will stand here."""

from __future__ import annotations

from flask import Blueprint, Response, render_template

from mirror_stage.ego import ego
from mirror_stage.twin.encode import host_entry

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

blp = Blueprint("hud", __name__, template_folder="templates", static_folder="static", static_url_path="/static")


@blp.get("/")
def index() -> Response:
    """The table of hosts, as they are now; a script keeps it so."""
    frames = ego.pipeline.shown()
    hosts = [host_entry(host) for host in frames.hosts()]
    response = Response(render_template("index.html", hosts=hosts, twin_id=frames.twin_id))
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["Cache-Control"] = "no-store"
    return response
