"""`mirror-stage hosts forget --where`: whom a search finds, and what is removed from a real EGO."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.runtime.host_search import parse
from tests.builders import make_sample
from tests.servers import ROOT, EgoServer, free_port, running_ego

HOSTS = {
    "web-01": {"rack": "R1", "status": "online", "agentVersion": "1+simulated"},
    "web-10": {"rack": "R1", "status": "offline", "agentVersion": "1+simulated"},
    "db-01": {"rack": "R10", "status": "offline", "agentVersion": "1"},
    "Row 1": {"rack": None, "status": "online", "agentVersion": "1"},
}


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("web-01", {"web-01"}),
        ("web-*", {"web-01", "web-10"}),
        ("web-0?", {"web-01"}),
        ("web", set()),  # a name is compared whole
        ("Web-01", set()),
        ("*", set(HOSTS)),
        ("rack:R1", {"web-01", "web-10"}),  # and so is a rack: not R10
        ("rack:R1*", {"web-01", "web-10", "db-01"}),
        ("is:simulated", {"web-01", "web-10"}),
        ("is:simulated is:offline", {"web-10"}),
        ("* -is:simulated", {"db-01", "Row 1"}),
        ("'Row 1'", {"Row 1"}),
        ('name:"Row 1"', {"Row 1"}),
        ("agent:*+simulated -web-10", {"web-01"}),
        ("w.b-01", set()),
    ],
)
def test_a_search_finds_whom_all_terms_mean(search: str, found: set[str]) -> None:
    matches = parse(search)
    assert {name for name, fields in HOSTS.items() if matches({"hostname": name, **fields})} == found


@pytest.mark.parametrize(
    "search",
    [
        "",
        " ",
        "rak:R1",
        "is:ofline",
        "is:",
        "rack:",
        "cpu>80",
        "-web-01",
        "web-* -is:virtul",
        "rack:'R1",
        "is:simulated rak:R1",
    ],
)
def test_a_search_with_a_typo_is_an_error_and_finds_nobody(search: str) -> None:
    with pytest.raises(BadSetting, match="--where"):
        parse(search)


@pytest.fixture
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """Three simulated hosts, and a real one."""
    with running_ego(tmp_path_factory.mktemp("ego")) as server:
        simulated = [make_sample(f"sim-{number}", agent_version="0.1.0+simulated") for number in (1, 2, 3)]
        assert server.post_samples(*simulated, make_sample("titan-01")).status_code == 202
        yield server


def forget(ego: str, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mirror_stage.runtime.cli", "hosts", "forget", "--ego", ego, *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, input=typed, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def known(ego: EgoServer) -> set[str]:
    return {host["hostname"] for host in ego.get("/api/hosts").json()["items"] if host["role"] == "host"}


def test_the_hosts_of_a_simulation_are_removed_and_nobody_else(ego: EgoServer) -> None:
    everybody = {"sim-1", "sim-2", "sim-3", "titan-01"}
    assert known(ego) == everybody

    for words, typed, status, says in (
        (["--where", "is:simulatd", "--yes"], "", 2, "is:simulated"),
        (["--where", "sim", "--yes"], "", 1, "no host matches 'sim'"),
        (["--where", "core-switch", "--yes"], "", 1, "no host matches"),  # the hub is nobody's host
        (["--where", "is:simulated"], "n\n", 1, "Remove these 3 of 4 hosts? [y/N]"),
        (["--where", "is:simulated"], "", 1, "nothing is removed"),  # nobody there to be asked
    ):
        ended = forget(ego.url, *words, typed=typed)
        assert (ended.returncode, ended.stdout) == (status, "")
        assert says in ended.stderr
        assert known(ego) == everybody

    agreed = forget(ego.url, "--where", "is:simulated -sim-3", typed="y\n")
    assert agreed.returncode == 0, agreed.stderr
    assert agreed.stderr.startswith("  sim-1\n  sim-2\nRemove these 2 of 4 hosts? [y/N] ")
    assert agreed.stdout == "2 of 2 hosts are removed\n"

    told = forget(ego.url, "--where", "sim-*", "--yes", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == {"where": "sim-*", "matched": ["sim-3"], "removed": ["sim-3"], "notRemoved": {}}
    assert known(ego) == {"titan-01"}


def test_an_ego_that_does_not_answer_is_named() -> None:
    ended = forget(f"http://127.0.0.1:{free_port()}", "--where", "*", "--yes")
    assert ended.returncode == 1
    assert "does not answer" in ended.stderr
    assert forget("ftp://ego", "--where", "*", "--yes").returncode == 2
