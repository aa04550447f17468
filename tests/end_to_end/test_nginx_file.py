"""The shipped config/nginx.conf in a real nginx: it asks people for a password, and agents work without one."""

from __future__ import annotations

import http.client
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from mirror_stage.access.permissions import PERMISSION_BY_ROUTE
from mirror_stage.app import create_app
from tests.proxies import certificate, running_nginx
from tests.reflector.processes import running_agent
from tests.servers import ROOT, EgoServer, free_port, running_ego, wait_until

PEOPLE = ("operator", "correct horse")
FOR_ALL = {"health.live", "health.info"}  # without a password, too: a monitor, and `reflector check`


@dataclass
class Behind:
    """An EGO behind nginx, which has a certificate of its own."""

    ego: EgoServer
    url: str
    chain: Path

    def ask(self, path: str, method: str = "GET", auth: tuple[str, str] | None = None) -> requests.Response:
        with requests.Session() as session:
            session.trust_env, session.verify = False, str(self.chain)
            content = {"hostname": "titan-01", "command": "true"} if method == "POST" else None
            return session.request(method, self.url + path, json=content, auth=auth, timeout=10, allow_redirects=False)


def written(own: int, ego: int, folder: Path) -> str:
    """The shipped file with the ports, files and network of this test in the place of the example's."""
    chain, key = certificate(folder)
    hashed = subprocess.run(
        ["openssl", "passwd", "-apr1", PEOPLE[1]], check=True, capture_output=True, text=True
    ).stdout.strip()
    passwords = folder / "htpasswd"
    passwords.write_text(f"{PEOPLE[0]}:{hashed}\n")
    text = (ROOT / "config/nginx.conf").read_text()
    for example, here in {
        "listen 443 ssl;": f"listen 127.0.0.1:{own} ssl;",
        "server 127.0.0.1:3000;": f"server 127.0.0.1:{ego};",
        "/etc/ssl/ego.example.org.pem;": f"{chain};",
        "/etc/ssl/private/ego.example.org.key;": f"{key};",
        "/etc/nginx/mirror-stage.htpasswd;": f"{passwords};",
        "allow 10.0.0.0/24;": "allow 127.0.0.1;",
    }.items():
        assert example in text, example
        text = text.replace(example, here)
    return text


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    folder, own = tmp_path_factory.mktemp("nginx"), free_port()
    settings = {"MIRROR_STAGE_SECURITY": "open", "MIRROR_STAGE_TRUSTED_PROXIES": "127.0.0.1"}
    with (
        running_ego(tmp_path_factory.mktemp("ego"), settings) as ego,
        running_nginx(own, written(own, ego.port, folder)),
    ):
        yield Behind(ego, f"https://localhost:{own}", folder / "ego.pem")


def test_an_agent_without_a_password_reports_and_fetches_and_people_need_one(behind: Behind, tmp_path: Path) -> None:
    flags = ("--ca-file", str(behind.chain), "--allow-commands", "--interval-seconds", "1")
    with running_agent(tmp_path, behind.url, *flags) as agent:
        path = f"/api/hosts/{agent.hostname}"
        wait_until(lambda: behind.ask(path, auth=PEOPLE).status_code == 200, 20, what=f"the host:\n{agent.log}")
        for unseen in ("/", path, "/api/twin/state", "/socket.io/?EIO=4&transport=polling"):
            assert behind.ask(unseen).status_code == 401
            assert behind.ask(unseen, auth=("operator", "wrong")).status_code == 401
            assert behind.ask(unseen, auth=PEOPLE).status_code == 200
        created = behind.ego.post("/api/commands", json={"hostname": agent.hostname, "command": "echo done"}).json()
        command = f"/api/commands/{created['id']}"
        assert behind.ask(f"{command}/cancel", "POST").status_code == 401
        wait_until(lambda: behind.ask(command, auth=PEOPLE).json()["status"] == "succeeded", 20, what="its result")
        assert behind.ask(command, auth=PEOPLE).json()["stdout"] == "done\n"
    check = [sys.executable, "-m", "mirror_stage.runtime.cli", "reflector", "check", "--ego", behind.url]
    check += ["--ca-file", str(behind.chain), "--state-dir", str(agent.state)]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_exactly_the_routes_of_agents_need_no_password(behind: Behind) -> None:
    open_ones = {
        endpoint for endpoint, needed in PERMISSION_BY_ROUTE.items() if needed in {"agent", "report"}
    } | FOR_ALL
    rules = [rule for rule in create_app(with_storage=False).url_map.iter_rules() if rule.methods is not None]
    assert {rule.endpoint for rule in rules} >= open_ones
    for rule in rules:
        path = rule.rule.replace("<hostname>", "titan-01").replace("<id>", "x").replace("<name>", "x")
        for method in (rule.methods or set()) & {"GET", "POST", "DELETE"}:
            status = behind.ask(path, method).status_code
            assert (status != 401) == (rule.endpoint in open_ones), f"{method} {path}: {status}"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/commands/x%2Fresult", 400),  # nginx reads it as an agent's path; EGO refuses it
        ("/api/commands/pending/../../hosts", 401),
        ("/api/commands/pending/%2e%2e/%2e%2e/hosts", 401),
        ("/api//metrics/batch", 400),
        ("/api/twin/state?/api/metrics/batch", 401),
        ("/api/twin/state%3F/api/metrics/batch", 401),
        ("/api/hosts/x;/api/metrics/batch", 401),
        ("/API/metrics/batch", 401),
    ],
)
def test_no_way_of_writing_a_path_gets_past_the_password(behind: Behind, path: str, status: int) -> None:
    """EGO takes a path in one form only, so that nginx and EGO never read it differently."""
    context = ssl.create_default_context(cafile=behind.chain)
    connection = http.client.HTTPSConnection("localhost", urlsplit(behind.url).port, context=context, timeout=10)
    connection.request("GET", path)  # as it stands: requests would write it anew
    assert connection.getresponse().status == status
    connection.close()
