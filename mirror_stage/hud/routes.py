"""`/` is the HUD that Vite built. `/plain` is a table of hosts, for browsers without JavaScript or an EGO without a build."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, render_template, request, send_file, send_from_directory
from werkzeug.wrappers import Response as AnyResponse

from mirror_stage.core.instants import to_text
from mirror_stage.core.problems import NotFound
from mirror_stage.hud.build import BUILD, ENCODINGS, File
from mirror_stage.hud.words import WORDS
from mirror_stage.twin.domain import Status
from mirror_stage.twin.encode import host_entry
from mirror_stage.twin.service import TwinService
from mirror_stage.web.services import service

_WALLS = "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HUD_POLICY = f"default-src 'self'; img-src 'self' data:; {_WALLS}"
PLAIN_POLICY = f"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; {_WALLS}"
ONE_YEAR_SECONDS = 31_536_000

# The columns of the plain page: word, and whether it has numbers.
_COLUMNS = (
    ("host", False), ("address", False), ("status", False), ("alert", False), ("cpu", True), ("memory", True),
    ("load", True), ("disk", True), ("hottest", True), ("network", True), ("rack", False), ("seen", False),
)  # fmt: skip

blp = Blueprint("hud", __name__, template_folder="plain")


@blp.get("/")
def index() -> AnyResponse:
    """The HUD, or a redirect to the plain page if the HUD is not built."""
    page = BUILD.file("index.html", _accepted())
    if page is None:
        return redirect("plain", 303)
    response = _sent(page)
    response.headers["Content-Security-Policy"] = HUD_POLICY
    return response


@blp.get("/assets/<name>")
def asset(name: str) -> Response:
    """A file of the HUD whose name contains the hash of its content, so that browsers may keep it for a year."""
    response = _sent(_found(f"assets/{name}"))
    response.headers["Cache-Control"] = f"public, max-age={ONE_YEAR_SECONDS}, immutable"
    return response


@blp.get("/icon.svg", endpoint="icon")
@blp.get("/THIRD_PARTY_LICENSES.txt", endpoint="licences")
def document() -> Response:
    """A file of the HUD with a fixed name: the icon or the licences."""
    return _sent(_found(request.path.removeprefix("/")))


@blp.get("/plain")
def plain() -> Response:
    """The table of hosts as they are now. A script keeps it up to date."""
    frames = service(TwinService).shown()
    hosts = [host_entry(host) for host in frames.hosts()]
    language = _language()
    words = WORDS[language]
    online = sum(host["status"] == Status.ONLINE for host in hosts)
    summary = words["count"].format(total=len(hosts), online=online, at=to_text(frames.generated_at))
    page = render_template(
        "page.html", language=language, words=words, columns=_COLUMNS, summary=summary, hosts=hosts,
        twin_id=frames.twin_id, has_hud=BUILD.is_there,
    )  # fmt: skip
    response = Response(page)
    response.vary.add("Accept-Language")
    response.headers["Content-Security-Policy"] = PLAIN_POLICY
    response.headers["Cache-Control"] = "no-store"
    return response


@blp.get("/plain/<name>")
def plain_part(name: str) -> Response:
    """The style, script or icon of the plain page."""
    if name == "page.html":
        raise NotFound("/plain/page.html is a template; its page is /plain")
    return send_from_directory(blp.root_path + "/plain", name, max_age=0)


def _accepted() -> set[str]:
    return {encoding for encoding in ENCODINGS if request.accept_encodings[encoding] > 0}


def _language() -> str:
    """The language of the plain page: that of `?lang=`, else the one that the browser prefers, else English."""
    asked = request.args.get("lang", "")
    return asked if asked in WORDS else request.accept_languages.best_match(WORDS, "en") or "en"


def _found(name: str) -> File:
    file = BUILD.file(name, _accepted())
    if file is None:
        raise NotFound(f"there is no {name} in this build of the HUD; reload the page")
    return file


def _sent(file: File) -> Response:
    """A file of the build. Browsers have to ask for it again each time, unless the caller sets another header."""
    response = send_file(file.path, mimetype=file.mimetype, conditional=True, etag=True, max_age=0)
    response.headers["Cache-Control"] = "no-cache"
    response.headers.remove("Content-Disposition")  # it would give the name of the compressed file
    response.vary.add("Accept-Encoding")
    if file.encoding:
        response.headers["Content-Encoding"] = file.encoding
    return response
