"""`mirror-stage hosts forget` takes the hosts that fit out of a running EGO, and no other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.builders import make_sample
from tests.servers import ROOT, EgoServer


@pytest.fixture
def ego(start_ego: Callable[..., EgoServer]) -> EgoServer:
    server = start_ego()
    simulated = [make_sample(f"web-{n}", agent_version="1+simulated", rack="R1") for n in range(3)]
    assert server.post_samples(*simulated, make_sample("titan-01", rack="R1")).status_code == 202
    return server


def forget(ego: EgoServer, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mirror_stage.runtime.cli", "hosts", "forget", "--ego", ego.url, *words]
    environment = os.environ | {"http_proxy": "http://127.0.0.1:9"}  # a proxy is not asked
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def names(ego: EgoServer) -> set[str]:
    return {host["hostname"] for host in ego.get("/api/twin/state").json()["hosts"]}


def test_all_conditions_must_fit(ego: EgoServer) -> None:
    ended = forget(ego, "--where", "agentVersion=*+simulated", "--where", "hostname=web-[12]", "--yes")
    assert (ended.returncode, ended.stdout.split()[-4:]) == (0, ["2", "hosts", "are", "forgotten"])
    assert {"web-0", "titan-01"} <= names(ego)
    assert not {"web-1", "web-2"} & names(ego)


def test_without_a_yes_nothing_is_changed(ego: EgoServer) -> None:
    ended = forget(ego, "--where", "rack=R1")
    assert ended.returncode == 1
    assert "titan-01" in ended.stdout
    assert ended.stderr == "mirror-stage: nothing was changed; --yes does not ask\n"
    assert {"web-0", "web-1", "web-2", "titan-01"} <= names(ego)


def test_where_no_host_fits_it_says_so(ego: EgoServer) -> None:
    assert forget(ego, "--where", "rack=R9", "--yes").stderr == "mirror-stage: no host fits\n"


def test_what_ego_keeps_is_named(ego: EgoServer) -> None:
    ended = forget(ego, "--where", "hostname=core-switch", "--where", "status=*", "--yes")
    assert ended.returncode == 1
    assert ended.stderr.startswith("mirror-stage: core-switch: ")
