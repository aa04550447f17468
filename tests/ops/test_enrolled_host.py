"""A bare Debian machine without any internet: one pasted line, and its agent reports as a service. Minutes long.

EGO runs in a network namespace of its own, with this machine's files; a cable leads to the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.ops import debian
from tests.ops.debian import Machine
from tests.servers import ROOT, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

URL = "https://10.0.0.100:3000"
PASTE_SECONDS = 30.0  # the promise: from the paste to the first sample
STATE = "var/lib/private/mirror-stage-reflector"
PROGRAM = "/opt/mirror-stage/bin/mirror-stage"


@dataclass
class Namespace:
    """A network namespace with an EGO in it, at the end of a cable."""

    folder: Path
    address: str = "10.0.0.100"
    environment: dict[str, str] = field(default_factory=dict)
    _token: str = ""
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        return f"enrol-{os.getpid()}-ego"

    def start(self) -> None:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("MIRROR_STAGE_", "REFLECTOR_"))
        }
        self.environment = kept | {"PYTHONPATH": str(ROOT), "MIRROR_STAGE_BIND": "0.0.0.0", "PORT": "3000"}
        self._in_namespace("ip", "link", "set", "lo", "up")
        command = [*self._words(), sys.executable, "-m", "mirror_stage.runtime.cli", "serve"]
        with (self.folder / "ego.log").open("wb") as log:
            self._children.append(
                subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
            )
        health = [*self._words(), "curl", "-fsSk", "https://127.0.0.1:3000/api/health/ready"]
        wait_until(lambda: subprocess.run(health, capture_output=True, check=False).returncode == 0, 60, 0.3, "ready")
        self._token = json.loads(self.run("tokens", "create", "--role", "admin", "--json"))["token"]

    def stop(self) -> None:
        for process in self._children:
            process.terminate()
            process.wait(30)
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False)

    def run(self, *words: str) -> str:
        """What a command of EGO prints."""
        command = [*self._words(), sys.executable, "-m", "mirror_stage.runtime.cli", *words]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def asked(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What EGO answers to an admin; None if it does not answer, or refuses."""
        words = ["curl", "-fsSk", "-H", f"Authorization: Bearer {self._token}", f"https://127.0.0.1:3000{path}"]
        words += [] if body is None else ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        done = subprocess.run([*self._words(), *words], capture_output=True, text=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def _words(self) -> list[str]:
        return ["ip", "netns", "exec", self.namespace]

    def _in_namespace(self, *command: str) -> None:
        subprocess.run([*self._words(), *command], check=True)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Namespace, Machine]]:
    """An EGO, and a bare machine at the other end of its cable, with Python and nothing else of what an agent needs."""
    trouble = debian.why_not()
    if trouble:
        pytest.skip(trouble)
    folder = tmp_path_factory.mktemp("enrolled")
    trouble = debian.install(folder / "db-01", ["python3"])
    if trouble:
        pytest.skip(trouble)
    ego = Namespace(folder)
    host = Machine("db-01", folder / "db-01", "10.0.0.7", may_sudo=True, has_internet=False)
    host.prepare()
    try:
        host.start()
        subprocess.run(["ip", "netns", "add", ego.namespace], check=True)
        debian.connect(ego, host)  # type: ignore[arg-type]
        ego.start()
        yield ego, host
    finally:
        host.stop()
        ego.stop()
        shutil.rmtree(folder / "db-01", ignore_errors=True)


def pasted(ego: Namespace, host: Machine) -> str:
    line = json.loads(ego.run("enroll", "code", "--json", "--url", URL))["line"]
    done = host.run(line, seconds=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def generation(host: Machine) -> int:
    return int(json.loads((host.root / STATE / "enrolment").read_text())["generation"])


def test_from_the_paste_to_the_first_sample(pair: tuple[Namespace, Machine]) -> None:
    ego, host = pair
    assert host.run("curl -sS --max-time 3 https://deb.debian.org").returncode != 0, "there is a way to the internet"
    line = json.loads(ego.run("enroll", "code", "--json", "--url", URL))["line"]
    began = time.monotonic()
    done = host.run(line, seconds=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    wait_until(lambda: (ego.asked("/api/hosts/db-01") or {}).get("lastSeen"), 120, 0.1, "the first sample")
    seconds = time.monotonic() - began
    print(f"\nfrom the paste to the first sample: {seconds:.1f} s\n{done.stdout}")
    assert seconds < PASTE_SECONDS
    assert "enrolled as db-01" in done.stdout
    assert host.run("systemctl is-active mirror-stage-reflector").stdout == "active\n"


def test_the_credential_is_for_the_agents_account_only(pair: tuple[Namespace, Machine]) -> None:
    _, host = pair
    found = (host.root / STATE / "enrolment").stat()
    owner = host.run("ps -o uid= -C mirror-stage || pgrep -u mirror-stage-reflector -n | xargs ps -o uid= -p").stdout
    assert found.st_mode & 0o777 == 0o600
    assert (host.root / STATE).stat().st_mode & 0o777 == 0o700
    assert int(owner.split()[0]) == found.st_uid
    assert host.run(f"cat /{STATE}/enrolment").returncode != 0
    assert host.run(f"sudo {PROGRAM} reflector check").returncode == 0


def test_a_command_runs_where_the_owner_allows_it(pair: tuple[Namespace, Machine]) -> None:
    ego, host = pair
    settings = host.root / "etc/mirror-stage/reflector.toml"
    settings.write_text(settings.read_text() + 'command_policy = "all"\n')
    assert host.run("sudo systemctl restart mirror-stage-reflector").returncode == 0
    made = ego.asked("/api/commands", {"hostname": "db-01", "command": "env", "timeoutSeconds": 30})
    wait_until(lambda: ego.asked(f"/api/commands/{made['id']}")["status"] == "succeeded", 60, 0.3, "it has run")
    printed = ego.asked(f"/api/commands/{made['id']}")["stdout"]
    assert "ms_agent" not in printed
    assert "STATE_DIRECTORY" not in printed


def test_with_an_account_of_its_own_a_command_reads_nothing_of_the_agents(pair: tuple[Namespace, Machine]) -> None:
    ego, host = pair

    def printed(command: str) -> str:
        made = ego.asked("/api/commands", {"hostname": "db-01", "command": command, "timeoutSeconds": 30})
        wait_until(lambda: ego.asked(f"/api/commands/{made['id']}")["completedAt"], 90, 0.3, command)
        ended = ego.asked(f"/api/commands/{made['id']}")
        return str(ended["stdout"]) + str(ended["stderr"])

    reads = f"cat /{STATE}/enrolment /{STATE}/journal"
    assert "ms_agent" in printed(reads), "with the agent's account it can"
    settings = host.root / "etc/mirror-stage/reflector.toml"
    settings.write_text(settings.read_text() + 'command_user = "mirror-stage-command"\n')
    installed = host.run(f"sudo {PROGRAM} reflector install", seconds=120)
    assert installed.returncode == 0, installed.stderr
    assert "commands run as mirror-stage-command" in installed.stdout
    assert printed("id -un") == "mirror-stage-command\n"
    said = printed(reads)
    assert said.count("Permission denied") == 2, said
    assert "CapEff:\t0000000000000000" in printed("cat /proc/self/status")
    checked = host.run(f"sudo {PROGRAM} reflector check")
    assert checked.returncode == 0, checked.stdout
    assert "as mirror-stage-command, which cannot read the agent's files" in checked.stdout


def test_the_line_once_more_upgrades_and_keeps_everything(pair: tuple[Namespace, Machine]) -> None:
    ego, host = pair
    before = (host.root / "etc/mirror-stage/reflector.toml").read_text(), generation(host)
    (host.root / "opt/mirror-stage/lib/of-an-older-version").touch()
    assert "enrolled already as db-01" in pasted(ego, host)
    assert ((host.root / "etc/mirror-stage/reflector.toml").read_text(), generation(host)) == before
    assert not (host.root / "opt/mirror-stage/lib/of-an-older-version").exists()
    assert [path.name for path in (host.root / "opt").glob("mirror-stage*")] == ["mirror-stage"]


def test_the_service_rotates_its_token_as_its_own_account(pair: tuple[Namespace, Machine]) -> None:
    ego, host = pair
    kept = host.root / STATE / "enrolment"
    content = json.loads(kept.read_text())
    host.run("sudo systemctl stop mirror-stage-reflector")
    kept.write_text(json.dumps(content | {"since": 0}))
    host.run("sudo systemctl start mirror-stage-reflector")
    wait_until(lambda: generation(host) == content["generation"] + 1, 60, 0.3, "the token is rotated")
    wait_until(lambda: "former" not in json.loads(kept.read_text()), 60, 0.3, "the new token is used")
    assert json.loads(ego.run("agents", "list", "--json"))[0]["state"] == "enrolled"


def test_a_revoked_host_comes_back_with_a_new_code(pair: tuple[Namespace, Machine]) -> None:
    ego, host = pair
    ego.run("agents", "revoke", "db-01")
    log = "sudo journalctl -u mirror-stage-reflector --since=-2min | grep 'samples wait on disk'"
    wait_until(lambda: "401" in host.run(log).stdout, 60, 1, "the agent says that it is refused")
    assert "enrolled as db-01" in pasted(ego, host)
    last = ego.asked("/api/hosts/db-01")["lastSeen"]
    wait_until(lambda: ego.asked("/api/hosts/db-01")["lastSeen"] > last, 60, 0.5, "samples come again")
