"""Three network namespaces: EGO, a host, and a man on the way between them. He gets nothing: no code, no token, nothing run.

Each test goes on where the one before it ended, from the paste of the line to a signed command. Minutes long.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from mirror_stage.installer.wheels import WHEELS
from tests.installer.test_real_ego import pasted
from tests.man import MODES, Man
from tests.ops import debian
from tests.ops.test_enrolled_host import URL, Namespace
from tests.servers import wait_until

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("ip") is None,
        reason="only root can make network namespaces: apt install iproute2",
    ),
]
HOST = "titan-01"


@dataclass
class Host(Namespace):
    """The namespace of the host."""

    address: str = "10.0.0.7"

    @property
    def namespace(self) -> str:
        return f"enrol-{os.getpid()}-host"


@dataclass
class Stage:
    ego: Namespace
    host: Host
    man: Man
    agent: subprocess.Popen[bytes] | None = None

    @cached_property
    def line(self) -> str:
        """A line for one host."""
        return str(json.loads(self.ego.run("enroll", "code", "--json", "--url", URL))["line"])

    @property
    def log(self) -> str:
        return (self.host.folder / "agent.log").read_text()

    def paste(self) -> subprocess.CompletedProcess[str]:
        return pasted(self.line, self.host.folder, ("ip", "netns", "exec", self.host.namespace))

    def start_agent(self) -> None:
        folder = self.host.folder
        own = ["--config", f"{folder}/etc/reflector.toml", "--state-dir", f"{folder}/state", "--command-policy", "all"]
        program = [f"{folder}/opt/mirror-stage/bin/mirror-stage", "reflector", "run", *own, "--interval-seconds", "1"]
        with (folder / "agent.log").open("wb") as log:
            self.agent = subprocess.Popen(
                ["ip", "netns", "exec", self.host.namespace, *program], stdout=log, stderr=log
            )

    def queue(self, command: str) -> str:
        made = self.ego.asked("/api/commands", {"hostname": HOST, "command": command, "expiresInSeconds": 3600})
        return str(made["id"])

    def command(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ego.asked(f"/api/commands/{id}")
        return found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    WHEELS.ready()  # there is no way to a package index from the namespaces
    folder = tmp_path_factory.mktemp("middle")
    for name in ("ego", "host"):
        (folder / name).mkdir()
    ego, host = Namespace(folder / "ego"), Host(folder / "host")
    man = Man(folder / "man", host.namespace, ego.namespace)
    stage = Stage(ego, host, man)
    try:
        for one in (ego, host):
            subprocess.run(["ip", "netns", "add", one.namespace], check=True)
        debian.connect(ego, host)  # type: ignore[arg-type]
        man.start()
        ego.start()
        yield stage
    finally:
        if stage.agent is not None:
            stage.agent.kill()
            stage.agent.wait(10)
        man.stop()
        ego.stop()
        host.stop()


@pytest.mark.parametrize("mode", MODES)
def test_the_line_installs_nothing_that_went_through_his_hands(stage: Stage, mode: str) -> None:
    stage.man.turn(mode)
    stage.man.stand_between()
    try:
        done = stage.paste()
    finally:
        stage.man.step_aside()
    assert stage.man.count(mode) >= 1, "he has had the connection"
    assert "curl: (" in done.stderr
    assert done.stdout == ""
    assert list(stage.host.folder.iterdir()) in ([], [stage.host.folder / "opt"])
    assert not Path("/tmp/of-the-man").exists()
    assert json.loads(stage.ego.run("agents", "list", "--json")) == []
    assert b"ms_enroll" not in stage.man.heard(mode)
    assert b"GET " not in stage.man.heard("own")


def test_where_he_passes_everything_on_the_host_enrols_and_he_reads_nothing(stage: Stage) -> None:
    stage.man.turn("pass")
    stage.man.stand_between()
    done = stage.paste()
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    stage.start_agent()
    id = stage.queue("echo whole")
    wait_until(lambda: stage.command(id)["status"] == "succeeded", 60, 0.3, "the command has run through him")
    token = json.loads((stage.host.folder / "state/enrolment").read_text())["token"]
    heard = stage.man.heard("pass")
    assert len(heard) > 5_000, "all that the host has sent"
    for secret in (token.encode(), b"ms_enroll", b"ms_agent", b"echo whole", b"Authorization"):
        assert secret not in heard


def test_what_he_sends_to_ego_once_more_is_nothing(stage: Stage) -> None:
    assert stage.man.count("pass") >= 5
    before = len(json.loads(stage.ego.run("audit", "list", "--rows", "200", "--json")))
    assert stage.man.replay() == 0
    assert len(json.loads(stage.ego.run("audit", "list", "--rows", "200", "--json"))) == before + 1  # this reading


@pytest.mark.parametrize("mode", MODES)
def test_the_agent_tells_him_nothing_and_runs_nothing_of_his(stage: Stage, mode: str) -> None:
    """What he only repeats may run before TLS notices, and runs once."""
    stage.man.turn(mode)
    restart(stage)  # it keeps the connections that it has
    ran = stage.host.folder / f"ran-{mode}"
    ran.touch()
    id = stage.queue(f"sh -c 'echo ran >>{ran}'")
    wait_until(lambda: stage.man.count(mode) >= 4, 60, 0.3, "he has had its connections")
    if mode != "repeat":
        wait_until(lambda: "samples wait on disk" in stage.log, 20, 0.3, "no sample has arrived")
    assert len(ran.read_text().split()) <= (mode == "repeat")
    heard = stage.man.heard(mode)
    assert b"ms_agent" not in heard
    assert b"GET " not in heard
    assert b"POST " not in heard
    assert not Path("/tmp/of-the-man").exists()
    stage.ego.asked(f"/api/commands/{id}/cancel", {})


def test_once_he_is_gone_commands_run_and_no_sample_is_lost(stage: Stage) -> None:
    stage.man.step_aside()
    restart(stage)
    id = stage.queue("echo whole")
    wait_until(lambda: stage.command(id)["status"] == "succeeded", 90, 0.3, "the command has run")
    assert json.loads(stage.ego.run("agents", "list", "--json"))[0]["state"] == "enrolled"


def restart(stage: Stage) -> None:
    assert stage.agent is not None
    stage.agent.terminate()
    stage.agent.wait(20)
    stage.start_agent()
