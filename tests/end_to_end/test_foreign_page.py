"""T20 in a real browser: a page from another port of this machine can read, change and claim nothing.

Also not where somebody has signed in to EGO with this browser: the browser then sends EGO's cookie to the other port, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.security.credentials import run
from tests.servers import EgoServer, running_ego

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")

# Everything that a page can try. Each attempt returns what it got, or "refused".
ATTEMPTS = """
async (ego) => {
  const attempt = (promise) => promise.catch(() => "refused");
  const all = {credentials: "include"};
  const get = (path, options) => attempt(fetch(ego + path, {...all, ...options}).then((answer) => answer.text()));
  const blindly = (path, options) => attempt(fetch(ego + path, {...all, mode: "no-cors", ...options}).then(() => "sent"));
  const post = (type) => ({method: "POST", body: create, headers: {"Content-Type": type}});
  const create = JSON.stringify({hostname: "titan-01", command: "id"});
  const load = (tag, path) => new Promise((done) => {
    const element = document.createElement(tag);
    element.onload = () => done("loaded");
    element.onerror = () => done("refused");
    element.src = ego + path;
    document.body.append(element);
    setTimeout(() => done("refused"), 3000);
  });
  const socket = () => new Promise((done) => {
    const wire = new WebSocket(ego.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket");
    wire.onmessage = (event) => done(event.data);
    wire.onerror = () => done("refused");
  });
  return {
    "read": await get("/api/twin/state"),
    "with a half": await get("/api/twin/state", {headers: {"X-Mirror-Stage-Page": "guessed"}}),
    "JSON post": await get("/api/commands", post("application/json")),
    "text post": await get("/api/commands", post("text/plain")),
    "blind post": await blindly("/api/commands", post("text/plain")),
    "sign out": await get("/api/session", {method: "DELETE"}),
    "claim": await get("/api/commands/pending/titan-01"),
    "blind claim": await blindly("/api/commands/pending/titan-01"),
    "image": await load("img", "/api/commands/pending/titan-01"),
    "script": await load("script", "/api/commands/pending/titan-01"),
    "polling": await get("/socket.io/?EIO=4&transport=polling"),
    "websocket": await socket(),
  };
}
"""


SIGN_IN = """
(link) => fetch("/api/session", {
  method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({link}),
}).then((answer) => answer.json()).then((answer) => answer.page)
"""


@pytest.fixture(scope="module")
def own_ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    with running_ego(tmp_path_factory.mktemp("ego")) as server:
        yield server


@pytest.fixture
def cookies_received() -> list[str]:
    """The Cookie header of each request to the foreign site."""
    return []


@pytest.fixture
def foreign_site(tmp_path: Path, cookies_received: list[str]) -> Iterator[str]:
    """The address of another server on this machine, with one page."""
    (tmp_path / "index.html").write_text("<!doctype html><title>foreign</title><body></body>")

    class Listening(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            cookies_received.append(self.headers.get("Cookie", ""))
            super().do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Listening, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def page() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def test_a_foreign_page_gets_and_changes_nothing(own_ego: EgoServer, foreign_site: str, page: Any) -> None:
    command = own_ego.post("/api/commands", json={"hostname": "titan-01", "command": "true"}).json()
    page.goto(foreign_site)
    got = page.evaluate(ATTEMPTS, own_ego.url)
    # the browser sends a blind request and hides the answer; the asserts below look at its effect
    assert {name: answer for name, answer in got.items() if answer not in {"refused", "sent"}} == {}
    listed = own_ego.get("/api/commands").json()
    assert [(row["id"], row["status"]) for row in listed["items"]] == [(command["id"], "pending")]


def test_a_foreign_page_gets_nothing_from_the_session_of_who_has_signed_in(
    start_ego: Callable[..., EgoServer], foreign_site: str, cookies_received: list[str], page: Any
) -> None:
    ego = start_ego({"MIRROR_STAGE_SECURITY": "strict"})
    page.goto(f"{ego.url}/icon.svg")
    half = page.evaluate(SIGN_IN, run(ego, "admin link").strip().partition("#k=")[2])
    own = {"X-Mirror-Stage-Page": half}
    create = {"hostname": "titan-01", "command": "true"}
    run(ego, "tokens create --agent titan-01")  # EGO takes no command for a stranger
    assert page.request.post(f"{ego.url}/api/commands", headers=own, data=create).status == 201

    page.goto(foreign_site)
    got = page.evaluate(ATTEMPTS, ego.url)
    assert {name: answer for name, answer in got.items() if answer not in {"refused", "sent"}} == {}
    page.evaluate("(ego) => { document.body.innerHTML = `<form method=post action=${ego}/api/session>` }", ego.url)
    with page.expect_navigation() as sent:
        page.evaluate("document.forms[0].submit()")
    assert sent.value.status in {403, 415}
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0

    (cookie,) = {text for text in cookies_received if text}
    assert cookie.startswith("mirror-stage-session="), "the other service of this machine has received the cookie"
    for headers in ({"Cookie": cookie}, {"Cookie": cookie, "X-Mirror-Stage-Page": cookie.partition("=")[2]}):
        assert ego.get("/api/twin/state", headers=headers).status_code == 401
        assert ego.post("/api/commands", json=create, headers=headers).status_code == 401

    listed = page.request.get(f"{ego.url}/api/commands", headers=own)
    assert listed.status == 200, "the session is as before"
    assert [(row["command"], row["status"]) for row in listed.json()["items"]] == [("true", "pending")]


def test_a_foreign_page_that_sets_the_cookie_of_a_session_signs_nobody_in(
    start_ego: Callable[..., EgoServer], foreign_site: str, page: Any
) -> None:
    """Session fixation: the attacker's own cookie is put into the browser, with a narrower path so that it is sent first."""
    ego = start_ego({"MIRROR_STAGE_SECURITY": "strict"})
    answer = ego.post("/api/session", json={"link": run(ego, "admin link --name mallory").strip().partition("#k=")[2]})
    planted = answer.cookies["mirror-stage-session"]
    page.goto(foreign_site)
    page.evaluate("(value) => { document.cookie = `mirror-stage-session=${value}; path=/api` }", planted)
    page.goto(f"{ego.url}/icon.svg")
    me = "() => fetch('/api/me', {headers: {'X-Mirror-Stage-Page': half}}).then((answer) => answer.json())"
    page.evaluate("window.half = ''")
    assert page.evaluate(me)["role"] == "nobody"
    half = page.evaluate(SIGN_IN, run(ego, "admin link --name ada").strip().partition("#k=")[2])
    page.evaluate("(half) => { window.half = half }", half)
    assert page.evaluate(me)["name"] == "ada"


def test_egos_own_page_may_read_the_twin_and_open_a_socket_io_session(own_ego: EgoServer, page: Any) -> None:
    page.goto(own_ego.url)
    got = page.evaluate(ATTEMPTS, own_ego.url)
    assert '"twin-state"' in got["read"]
    assert "sid" in got["polling"]


def test_a_link_leads_to_the_page_and_a_frame_does_not(own_ego: EgoServer, foreign_site: str, page: Any) -> None:
    page.goto(foreign_site)
    page.evaluate("(ego) => { document.body.innerHTML = `<a href='${ego}/'>EGO</a>` }", own_ego.url)
    with page.expect_navigation() as navigation:
        page.click("a")
    assert navigation.value.status == 200
    page.goto(foreign_site)
    with page.expect_response(f"{own_ego.url}/") as framed:
        page.evaluate("(ego) => { document.body.innerHTML = `<iframe src='${ego}/'></iframe>` }", own_ego.url)
    assert framed.value.status == 403
