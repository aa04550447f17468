"""EGO behind real proxies, by the lines of docs/operating.md and by what people write without reading it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import socketio
from playwright.sync_api import Browser, expect

from tests.hud.browser import needs_browser, needs_hud, opened
from tests.proxies import certificate, running_caddy, running_nginx, running_traefik
from tests.servers import ROOT, EgoServer, free_port, running_ego, wait_until

OPEN = {"MIRROR_STAGE_SECURITY": "open"}
COMMAND = {"hostname": "titan-01", "command": "uptime"}
POST_A_COMMAND = """
async (command) => {
  const answer = await fetch("api/commands", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(command)});
  return [answer.status, (await answer.json()).detail];
}
"""
pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")


def documented(language: str, own: int, ego: int) -> str:
    """The lines of docs/operating.md in this language, for a proxy on localhost:`own` before an EGO on port `ego`."""
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / "docs/operating.md").read_text(), re.DOTALL)
    assert found, f"docs/operating.md has no lines in {language}"
    name = f"https://localhost:{own}" if language == "caddyfile" else "localhost"
    return found[1].replace("127.0.0.1:3000", f"127.0.0.1:{ego}").replace("ego.example.org", name)


@contextmanager
def nginx(own: int, server: str, folder: Path) -> Iterator[None]:
    chain, key = certificate(folder)
    server = re.sub(r"ssl_certificate +\S+;", f"ssl_certificate {chain};", server)
    server = re.sub(r"ssl_certificate_key +\S+;", f"ssl_certificate_key {key};", server)
    with running_nginx(own, server.replace("listen 443", f"listen 127.0.0.1:{own}")):
        yield


def caddy_documented(own: int, ego: int, _: Path) -> AbstractContextManager[None]:
    return running_caddy(own, documented("caddyfile", own, ego))


def caddy_without_tls(own: int, ego: int, _: Path) -> AbstractContextManager[None]:
    return running_caddy(own, f"http://localhost:{own} {{\nreverse_proxy 127.0.0.1:{ego}\n}}\n")


def nginx_documented(own: int, ego: int, folder: Path) -> AbstractContextManager[None]:
    return nginx(own, documented("nginx", own, ego), folder)


def nginx_bare(own: int, ego: int, folder: Path) -> AbstractContextManager[None]:
    return nginx(own, f"server {{ listen 443; location / {{ proxy_pass http://127.0.0.1:{ego}; }} }}", folder)


def nginx_bare_with_tls(own: int, ego: int, folder: Path) -> AbstractContextManager[None]:
    tls = "ssl_certificate x; ssl_certificate_key x;"
    return nginx(own, f"server {{ listen 443 ssl; {tls} location / {{ proxy_pass http://127.0.0.1:{ego}; }} }}", folder)


def traefik_documented(own: int, ego: int, _: Path) -> AbstractContextManager[None]:
    return running_traefik(own, documented("yaml", own, ego))


Proxy = Callable[[int, int, Path], AbstractContextManager[None]]
# Those that say under which name and scheme the browser asked
TELLING: list[Proxy] = [caddy_documented, caddy_without_tls, nginx_documented, traefik_documented]
TRUST_IT = "set MIRROR_STAGE_TRUSTED_PROXIES=127.0.0.1"
TELL_IT = "let the proxy send Host and X-Forwarded-Proto"
ALLOWED_PORT = free_port()  # pages of this port of localhost may ask the EGO that trusts proxies


@pytest.fixture(scope="module")
def open_ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO that believes no proxy."""
    with running_ego(tmp_path_factory.mktemp("open"), OPEN) as ego:
        yield ego


@pytest.fixture(scope="module")
def trusting_ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO that believes the proxies of this machine."""
    allowed = ",".join(f"{scheme}://localhost:{ALLOWED_PORT}" for scheme in ("http", "https"))
    settings = OPEN | {"MIRROR_STAGE_TRUSTED_PROXIES": "127.0.0.1", "MIRROR_STAGE_ALLOWED_ORIGINS": allowed}
    with running_ego(tmp_path_factory.mktemp("trusting"), settings) as ego:
        yield ego


@contextmanager
def before(ego: EgoServer, proxy: Proxy, folder: Path, own: int | None = None) -> Iterator[str]:
    """The address of a proxy before this EGO."""
    own = own or free_port()
    with proxy(own, ego.port, folder):
        url = f"{'http' if proxy in {caddy_without_tls, nginx_bare} else 'https'}://localhost:{own}"
        wait_until(lambda: is_alive(url), what="EGO answers through the proxy")
        yield url


def is_alive(url: str) -> bool:
    """Whether EGO answers here. Caddy listens before it has its certificate, Traefik before it knows its routes."""
    try:
        return requests.get(f"{url}/api/health", verify=False, timeout=5).text == "ok"
    except requests.RequestException:
        return False


@contextmanager
def session_like_a_browser(url: str) -> Iterator[requests.Session]:
    """Requests with the Origin of a page at `url`, which take any certificate."""
    with requests.Session() as session:
        session.trust_env, session.verify = False, False
        session.headers["Origin"] = url
        yield session


def queued(ego: EgoServer) -> int:
    return int(ego.get("/api/commands").json()["total"])


def heard(url: str, transport: str) -> list[str]:
    """The statuses of a command that a Socket.IO client like a browser's hears of. It creates and cancels the command."""
    with session_like_a_browser(url) as session:
        return _heard(url, transport, session)


def _heard(url: str, transport: str, session: requests.Session) -> list[str]:
    client = socketio.Client(http_session=session, ssl_verify=False, reconnection=False)
    updates: list[dict[str, Any]] = []
    is_over = threading.Event()

    @client.on("command-update", namespace="/commands")
    def updated(command: dict[str, Any]) -> None:
        updates.append(command)
        if command["status"] == "failed":
            is_over.set()

    client.connect(url, transports=[transport], namespaces=["/commands"], wait_timeout=10)
    try:
        assert client.transport() == transport
        created = session.post(f"{url}/api/commands", json=COMMAND, timeout=10)
        assert created.status_code == 201, created.text
        session.post(f"{url}/api/commands/{created.json()['id']}/cancel", timeout=10)
        assert is_over.wait(10)
    finally:
        client.disconnect()
    return [update["status"] for update in updates if update["id"] == created.json()["id"]]


@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.parametrize("proxy", TELLING)
def test_both_ways_of_socket_io_pass(trusting_ego: EgoServer, proxy: Proxy, transport: str, tmp_path: Path) -> None:
    with before(trusting_ego, proxy, tmp_path) as url:
        assert heard(url, transport) == ["pending", "failed"]


@pytest.mark.parametrize("proxy", [nginx_bare, nginx_bare_with_tls])
def test_an_allowed_origin_lets_the_page_in_behind_a_proxy_that_says_nothing(
    trusting_ego: EgoServer, proxy: Proxy, tmp_path: Path
) -> None:
    own = ALLOWED_PORT
    with before(trusting_ego, proxy, tmp_path, own) as url:
        assert heard(url, "polling") == ["pending", "failed"]


@pytest.mark.parametrize(
    ("proxy", "remedy"),
    [
        (caddy_documented, TRUST_IT),
        (nginx_documented, TRUST_IT),
        (traefik_documented, TRUST_IT),
        (nginx_bare, TELL_IT),
        (nginx_bare_with_tls, TELL_IT),
    ],
)
def test_behind_any_proxy_the_parts_load_and_a_refusal_says_what_to_set(
    open_ego: EgoServer, proxy: Proxy, remedy: str, tmp_path: Path
) -> None:
    with before(open_ego, proxy, tmp_path) as url, session_like_a_browser(url) as session:
        part = re.search(r'src="\./(assets/[^"]+)"', session.get(url, headers={"Origin": None}, timeout=10).text)
        assert part is not None
        assert session.get(f"{url}/{part[1]}", timeout=10).status_code == 200
        refused = session.post(f"{url}/api/commands", json=COMMAND, timeout=10)
        assert refused.status_code == 403
        assert remedy in refused.json()["detail"]
    assert queued(open_ego) == 0


def test_a_proxy_that_ego_trusts_and_that_says_nothing_is_told_what_to_send(
    trusting_ego: EgoServer, tmp_path: Path
) -> None:
    with before(trusting_ego, nginx_bare_with_tls, tmp_path) as url, session_like_a_browser(url) as session:
        detail = session.post(f"{url}/api/commands", json=COMMAND, timeout=10).json()["detail"]
        assert TELL_IT in detail
        assert "TRUSTED_PROXIES" not in detail


@needs_browser
@needs_hud
@pytest.mark.parametrize("proxy", [caddy_documented, nginx_documented, traefik_documented])
def test_the_hud_works_behind_a_proxy_that_ego_trusts(
    trusting_ego: EgoServer, browser: Browser, proxy: Proxy, tmp_path: Path
) -> None:
    with (
        before(trusting_ego, proxy, tmp_path) as url,
        opened(browser, f"{url}/#/table", ignore_https_errors=True) as page,
    ):
        expect(page.locator("[data-banner=lost]")).to_have_count(0)
        assert page.evaluate(POST_A_COMMAND, COMMAND) == [201, None]


@needs_browser
@needs_hud
@pytest.mark.parametrize(
    ("proxy", "settings", "remedy"),
    [
        (caddy_documented, OPEN, TRUST_IT),
        (nginx_bare_with_tls, OPEN, TELL_IT),
        (caddy_documented, {"MIRROR_STAGE_TRUSTED_PROXIES": "127.0.0.1"}, "MIRROR_STAGE_SECURITY=open"),
    ],
)
def test_a_page_that_is_refused_loads_and_says_why_and_so_does_the_log_once(
    tmp_path: Path, browser: Browser, proxy: Proxy, settings: dict[str, str], remedy: str
) -> None:
    with (
        running_ego(tmp_path, settings) as ego,
        before(ego, proxy, tmp_path) as url,
        browser.new_context(ignore_https_errors=True, locale="en-US") as context,
    ):
        page = context.new_page()
        page.goto(f"{url}/#/table")
        is_wall = settings == OPEN  # else EGO does not know who asks, and the page asks for a sign-in
        where, seen = ("[data-banner=lost]", remedy) if is_wall else ("dialog", "mirror-stage admin link")
        expect(page.locator(where)).to_contain_text(seen)
        status, detail = page.evaluate(POST_A_COMMAND, COMMAND)
        refused_with = 403 if is_wall else 401
        assert status == refused_with
        assert remedy in detail
        assert len([line for line in ego.log.splitlines() if f"is refused ({refused_with})" in line]) == 1
        assert remedy in ego.log
        assert queued(ego) == 0
