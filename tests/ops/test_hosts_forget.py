"""`mirror-stage hosts forget --where`: whom a search finds, and what is removed from a real EGO."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.runtime.host_search import ALIASES, FIELDS, NOT_HERE, NUMBERS, STATES, hosts_of, parse
from tests.builders import make_sample
from tests.servers import ROOT, EgoServer, free_port, running_ego

METRICS = ("cpuLoad", "memoryUsedPercent", "loadAverage", "cpuTemperature", "gpuTemperature", "diskReadBytesPerSecond")
AT = "2026-11-01T06:30:00.000Z"


def host(name: str, seen: str, status: str = "online", severity: str | None = None, **other: Any) -> dict[str, Any]:
    """A host as a snapshot shows it."""
    metrics = {metric: other.pop(metric, None) for metric in METRICS}
    shown = {"role": "host", "isSynthetic": False, "agentVersion": "1", "rack": None, "uplink": "core-switch"} | other
    return shown | {"hostname": name, "lastSeen": seen, "status": status, "severity": severity, "metrics": metrics}


def link(target: str, *, measured: bool = True, capacity: float | None = 10) -> dict[str, Any]:
    rates = {"throughputGbps": 5.0, "rxGbps": 3.0, "txGbps": 2.0, "utilization": 0.3 if capacity else 0}
    return {"target": target, "measured": measured, "capacityGbps": capacity, **rates}


STATE = {
    "generatedAt": AT,
    "hosts": [
        host("core-switch", AT, role="hub", isSynthetic=True),
        host("ego-01", AT, role="ego"),
        host("web-01", AT, rack="R1", agentVersion="1+simulated", cpuLoad=85.5, diskReadBytesPerSecond=2_000_000),
        host(
            "web-10",
            "2026-10-31T06:30:00.000Z",
            "offline",
            "critical",
            rack="R1",
            agentVersion="1+simulated",
            cpuLoad=3,
        ),
        host("db-01", "2026-11-01T06:29:00.000Z", "offline", rack="R10", uplink="web-01"),
        host("Row 1", AT, "online", "warning", memoryUsedPercent=50),
    ],
    "links": [link("web-01"), link("db-01", measured=False), link("Row 1", capacity=None)],
}
HOSTS = {host["hostname"] for host in STATE["hosts"] if host["role"] == "host"}


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("web-01", {"web-01"}),
        ("web-*", {"web-01", "web-10"}),
        ("web-0?", {"web-01"}),
        ("web", set()),  # a name is compared whole
        ("Web-01", set()),
        ("*", HOSTS),
        ("rack:R1", {"web-01", "web-10"}),  # and so is a rack: not R10
        ("rack:R1*", {"web-01", "web-10", "db-01"}),
        ("is:simulated", {"web-01", "web-10"}),
        ("is:simulated is:offline", {"web-10"}),
        ("* -is:simulated", {"db-01", "Row 1"}),
        ("is:online", {"web-01", "Row 1"}),
        ("is:ok", {"web-01"}),
        ("IS:Warning", {"Row 1"}),
        ("is:critical", set()),  # offline comes first, as in the HUD
        ("is:problem", {"web-10", "db-01", "Row 1"}),
        ("uplink:web-01", {"db-01"}),
        ("cpu>80", {"web-01"}),
        ("cpu>=85.5% read=2", {"web-01"}),
        ("* -cpu>=0", {"db-01", "Row 1"}),  # an unknown number matches no comparison
        ("memory<=50", {"Row 1"}),
        ("net=5 rx>2 tx<3 util=30", {"web-01"}),
        ("rx=3", {"web-01", "Row 1"}),
        ("util=0", set()),
        ("age>60s", {"web-10"}),
        ("age>=60 rack:R1", {"web-10"}),
        ("host:web-01", {"web-01"}),
        ("'Row 1'", {"Row 1"}),
        ('name:"Row 1"', {"Row 1"}),
        ("agent:*+simulated -web-10", {"web-01"}),
        ("w.b-01", set()),
    ],
)
def test_a_search_finds_whom_all_terms_mean(search: str, found: set[str]) -> None:
    matches = parse(search)
    assert {entry["hostname"] for entry in hosts_of(STATE) if matches(entry)} == found


@pytest.mark.parametrize(
    "search",
    [
        "",
        " ",
        "rak:R1",
        "is:ofline",
        "is:",
        "rack:",
        "cpu>",
        "cpu>high",
        "cpu:80",
        "cpuu>80",
        "rack>1",
        "is:virtual",
        "role:host",
        "-web-01",
        "web-* -is:virtul",
        "rack:'R1",
        "is:simulated rak:R1",
    ],
)
def test_a_search_with_a_typo_is_an_error_and_finds_nobody(search: str) -> None:
    with pytest.raises(BadSetting, match="--where"):
        parse(search)


@pytest.mark.parametrize("search", ["role:host", "web-* -is:virtual"])
def test_a_word_of_the_hud_that_could_find_nobody_is_refused_with_the_reason(search: str) -> None:
    with pytest.raises(BadSetting, match=r"makes no sense here: .*stay"):
        parse(search)


def test_the_command_and_the_hud_know_the_same_words_and_one_table_lists_them() -> None:
    texts = words_in_hud(r"const TEXTS: .*?= \{(.*?)^\};", r"^ +(\w+): \(entry\)")
    states = words_in_hud(r"const IS: .*?= \{(.*?)^\};", r"^ +(\w+): \(") | words_in_hud(
        r"const STATES = \[(.*?)\]", r"'(\w+)'", "status.ts"
    )
    numbers = words_in_hud(r"(.*)", r"search: '(\w+)'", "../metrics.ts") | {"age"}
    aliases = words_in_hud(r"const ALIASES: .*?= \{(.*?)\};", r"(\w+):")
    assert {*FIELDS, "role"} == texts
    assert {*STATES, "virtual"} == states
    assert set(NUMBERS) == numbers
    assert set(ALIASES) == aliases
    assert {"role", "is:virtual"} == set(NOT_HERE)

    (table,) = re.findall(r"^\| word \|.*?\n\n", (ROOT / "docs/hud.md").read_text(), re.MULTILINE | re.DOTALL)
    listed = set(re.findall(r"[a-z]+", " ".join(re.findall(r"`([^`]+)`", table))))
    assert texts | states | numbers | aliases <= listed


def words_in_hud(part: str, word: str, file: str = "search.ts") -> set[str]:
    """The words that a part of a source file of the HUD's store defines."""
    text = (ROOT / "mirror_stage/hud/web/src/store" / file).read_text()
    found = re.search(part, text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return set(re.findall(word, found[1], re.MULTILINE))


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
        (["--where", "age>600", "--yes"], "", 1, "no host matches 'age>600'"),
        (["--where", "core-switch", "--yes"], "", 1, "no host matches"),  # the hub is nobody's host
        (["--where", "is:simulated"], "n\n", 1, "Remove these 3 of 4 hosts? [y/N]"),
        (["--where", "is:simulated"], "", 1, "nothing is removed"),  # nobody there to be asked
    ):
        ended = forget(ego.url, *words, typed=typed)
        assert (ended.returncode, ended.stdout) == (status, "")
        assert says in ended.stderr
        assert known(ego) == everybody

    agreed = forget(ego.url, "--where", "is:simulated age<600 -sim-3", typed="y\n")
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
