"""How the built HUD is served: caching, compression, and the plain page if there is no build."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.hud import routes
from mirror_stage.hud.build import Build

FILES = {
    "index.html": b"<!doctype html><script src='./assets/index-1a2b.js'></script>",
    "assets/index-1a2b.js": b"plain",
    "assets/index-1a2b.js.br": b"packed by brotli",
    "assets/index-1a2b.js.gz": b"packed by gzip",
    "assets/small-3c4d.css": b"a{}",
    "icon.svg": b"<svg/>",
    "THIRD_PARTY_LICENSES.txt": b"MIT",
}


@pytest.fixture
def client() -> FlaskClient:
    return create_app(Config(testing=True)).test_client()


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built HUD, with a secret file beside its folder."""
    folder = tmp_path / "static"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (tmp_path / "secret.txt").write_text("secret")
    monkeypatch.setattr(routes, "BUILD", Build(folder))
    return folder


def test_the_page_is_revalidated_and_its_assets_are_cached_for_a_year(client: FlaskClient, built: Path) -> None:
    page, part = client.get("/"), client.get("/assets/index-1a2b.js")
    assert page.headers["Cache-Control"] == "no-cache"
    assert part.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert client.get("/", headers={"If-None-Match": page.headers["ETag"]}).status_code == 304
    assert client.get("/icon.svg").headers["Cache-Control"] == "no-cache"


def test_the_page_may_load_from_its_own_origin_and_be_framed_by_nobody(client: FlaskClient, built: Path) -> None:
    policy = dict(rule.split(" ", 1) for rule in client.get("/").headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["img-src"] == "'self' data:"
    assert policy["object-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in str(policy)


@pytest.mark.parametrize(
    ("accepted", "encoding", "body"),
    [
        ("gzip, deflate, br, zstd", "br", b"packed by brotli"),
        ("gzip", "gzip", b"packed by gzip"),
        ("br;q=0, gzip", "gzip", b"packed by gzip"),
        ("identity", None, b"plain"),
        ("", None, b"plain"),
    ],
)
def test_an_asset_is_sent_in_an_encoding_that_the_browser_accepts(
    client: FlaskClient, built: Path, accepted: str, encoding: str | None, body: bytes
) -> None:
    answer = client.get("/assets/index-1a2b.js", headers={"Accept-Encoding": accepted})
    assert (answer.headers.get("Content-Encoding"), answer.data) == (encoding, body)
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.mimetype in {"text/javascript", "application/javascript"}
    assert "Content-Disposition" not in answer.headers


def test_an_asset_without_a_compressed_copy_is_sent_uncompressed(client: FlaskClient, built: Path) -> None:
    answer = client.get("/assets/small-3c4d.css", headers={"Accept-Encoding": "br"})
    assert (answer.data, answer.headers.get("Content-Encoding"), answer.mimetype) == (b"a{}", None, "text/css")


@pytest.mark.parametrize(
    "path",
    ["/assets/gone-1.js", "/assets/index-1a2b.js.br", "/assets/..%2f..%2fsecret.txt", "/assets/%2e%2e/index.html",
     "/assets/", "/plain/page.html", "/plain/..%2froutes.py"],
)  # fmt: skip
def test_nothing_else_is_served(client: FlaskClient, built: Path, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == (400 if "%2" in path else 404)  # a path that is not in normal form is refused
    assert answer.mimetype == "application/problem+json"


def test_a_newer_build_is_served_at_once_and_has_a_new_build_id(client: FlaskClient, built: Path) -> None:
    before = routes.BUILD.id
    (built / "index.html").write_bytes(b"<!doctype html>newer")
    assert client.get("/").data == b"<!doctype html>newer"
    assert routes.BUILD.id not in {before, ""}


def test_without_a_build_ego_redirects_to_the_plain_page(
    client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "BUILD", Build(tmp_path))
    answer = client.get("/")
    assert (answer.status_code, answer.headers["Location"]) == (303, "plain")  # relative: also works under a prefix
    assert b"not built here" in client.get("/plain").data
    assert client.get("/plain/page.js").status_code == 200
