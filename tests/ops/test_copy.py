"""`mirror-stage db copy`: between real databases of both kinds, killed in the middle, and refused where it must be."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mirror_stage.core.instants import from_text, to_text
from tests.builders import make_sample
from tests.command_line import forked
from tests.ops.test_backup import run
from tests.servers import EgoServer, PostgresqlServer, running_ego, wait_until

BOTH_WAYS = [("sqlite", "postgresql"), ("postgresql", "sqlite")]
KINDS = ["sqlite", "postgresql"]
SAMPLES = 30_000
_BULK = (
    "INSERT INTO host_metric_samples (at_second, host_id, at_ms, reported_after_ms, received_after_ms, cpu_load,"
    " memory_used_percent, load_average, uptime_seconds) SELECT 1762000000 + n, 1, 0, 0, 0, n * 0.1, 40, 0.5, n FROM "
)
BULK = {
    "sqlite": f"WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {SAMPLES}) {_BULK} t",
    "postgresql": f"{_BULK} generate_series(1, {SAMPLES}) AS t(n)",
}

NewEgo = Callable[[str], EgoServer]


@pytest.fixture
def new_ego(postgresql: PostgresqlServer, tmp_path: Path) -> NewEgo:
    """Make an EGO that does not run, with no database yet of this kind."""

    def new(kind: str) -> EgoServer:
        folder = tmp_path / f"ego-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return EgoServer(folder, {"MIRROR_STAGE_DB_URL": postgresql.new_database()} if kind == "postgresql" else {})

    return new


def kind_of(ego: EgoServer) -> str:
    return "postgresql" if ego.settings else "sqlite"


def url_of(ego: EgoServer) -> str:
    """Its database, as `--to` wants it."""
    return ego.settings.get("MIRROR_STAGE_DB_URL") or f"sqlite:///{ego.folder}/ego.db"


def tables_of(ego: EgoServer) -> set[str]:
    if ego.settings:
        return {name for (name,) in ego.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    return {name for (name,) in ego.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}


def shown(ego: EgoServer, until: str) -> dict[str, Any]:
    """What an EGO shows of hosts, history, alerts and commands; no ages, which go on."""
    hosts = ego.get("/api/twin/state").json()["hosts"]
    ids = [command["id"] for command in ego.get("/api/commands").json()["items"]]
    since = to_text(from_text(until) - 3_600_000)
    history = f"/api/hosts/host-1/history?metrics=cpuLoad,rxGbps&from={since}&to={until}&stepSeconds=60"
    return {
        "twin": ego.get("/api/info").json()["twinId"],
        "hosts": [
            {key: host.get(key) for key in ("hostname", "metrics", "rack", "position", "tags")} for host in hosts
        ],
        "alerts": ego.get("/api/alerts").json(),
        "commands": [
            ego.get(f"/api/commands/{each}").json() | {"leaseUntil": None} for each in ids
        ],  # a start renews it
        "events": [ego.get(f"/api/commands/{each}/events").json() for each in ids],
        "history": ego.get(history).json(),
    }


def live(ego: EgoServer) -> None:
    """Give an EGO hosts, a past, an alert and commands."""
    now = int(time.time() * 1000)
    for minute in range(30, -1, -1):
        samples = (
            make_sample(f"host-{n}", at=now - minute * 60_000, rack="R1", tags={"room": "지하"}) for n in range(3)
        )
        assert ego.post_samples(*samples).status_code == 202
    assert ego.post_samples(make_sample("host-0", cpu_percent=97.3)).status_code == 202
    for command in ("uptime", "echo 안녕", "sleep 5"):
        asked = ego.post("/api/commands", json={"hostname": "host-1", "command": command, "timeoutSeconds": 30})
        assert asked.status_code == 201
    (first, *_) = ego.get("/api/commands/pending/host-1").json()
    result = {"status": "succeeded", "exitCode": 0, "stdout": "up 3 days\n한글 🚀\n"}
    assert ego.post(f"/api/commands/{first['id']}/result", json=result).status_code == 201


@pytest.mark.parametrize(("source", "target"), BOTH_WAYS)
def test_an_ego_on_the_copy_shows_the_same_and_goes_on(source: str, target: str, new_ego: NewEgo) -> None:
    before, after = new_ego(source), new_ego(target)
    with running_ego(before.folder, before.settings) as ego:
        live(ego)
        until = to_text(int(time.time()) * 1000 - 60_000)
        wait_until(lambda: ego.rows("SELECT count(*) FROM host_metrics_1m")[0][0] > 60, 30, what="rollups")
        refused = run(ego, "copy", "--to", url_of(after))
        assert (refused.returncode, "an EGO uses this database" in refused.stderr) == (1, True)
        expected = shown(ego, until)
    assert len(expected["alerts"]) > 0
    assert len(expected["commands"]) == 3

    copied = run(before, "copy", "--to", url_of(after), "--json")
    assert copied.returncode == 0, copied.stderr
    found = json.loads(copied.stdout)
    rows = {table["table"]: table["rows"] for table in found["tables"]}
    assert found["resumed"] is False
    assert rows["host_metric_samples"] == 94
    assert rows["host_metrics_1m"] > 60
    assert "ego_copying" not in tables_of(after)
    assert tables_of(after) - {"sqlite_sequence"} == tables_of(before) - {"sqlite_sequence"}

    newest = max(before.rows("SELECT seq FROM commands"))[0]
    with running_ego(after.folder, after.settings) as ego:
        assert shown(ego, until) == expected
        more = ego.post("/api/commands", json={"hostname": "host-1", "command": "id", "timeoutSeconds": 30})
        assert more.status_code == 201
        assert max(ego.rows("SELECT seq FROM commands"))[0] == newest + 1
        assert ego.post_samples(make_sample("new-here")).status_code == 202
        refused = run(before, "copy", "--to", url_of(after))
        assert (refused.returncode, "an EGO uses the target" in refused.stderr) == (1, True)
    refused = run(before, "copy", "--to", url_of(after))
    assert (refused.returncode, "the target has data already" in refused.stderr) == (1, True)
    assert after.rows("SELECT count(*) FROM host_metrics WHERE hostname = 'new-here'") == [(1,)]


@pytest.fixture
def killed(request: pytest.FixtureRequest, new_ego: NewEgo) -> tuple[EgoServer, EgoServer]:
    """The source and the target of a copy that was killed while it copied the samples."""
    source, target = map(new_ego, request.param)
    assert run(source, "upgrade").returncode == 0
    source.rows("INSERT INTO host_metrics (id, hostname, first_seen_at) VALUES (1, 'host-1', 0)")
    source.rows("INSERT INTO ego_state VALUES ('lived_until', '1')")
    source.rows(BULK[request.param[0]])
    command = [sys.executable, "-m", "mirror_stage.runtime.cli", "db", "copy", "--to", url_of(target)]
    process = subprocess.Popen(
        command, cwd=source.folder, env=source.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        wait_until(lambda: mark_of(target), 30, every=0.005, what="samples are copied")
    finally:
        process.kill()
        process.wait()
    assert mark_of(target) != "done"
    assert 0 < count(target) < SAMPLES
    return source, target


def mark_of(target: EgoServer) -> str | None:
    """How far the samples of an unfinished copy are."""
    if not target.settings and not (target.folder / "ego.db").exists():
        return None
    if "ego_copying" not in tables_of(target):
        return None
    return next(iter(target.rows("SELECT value FROM ego_copying WHERE name = 'host_metric_samples'")), (None,))[0]


def count(ego: EgoServer) -> int:
    return int(ego.rows("SELECT count(*) FROM host_metric_samples")[0][0])


@pytest.mark.parametrize("killed", BOTH_WAYS, ids="-to-".join, indirect=True)
def test_a_copy_that_was_killed_is_used_by_no_ego_and_goes_on(killed: tuple[EgoServer, EgoServer]) -> None:
    source, target = killed
    half = count(target)
    served = forked(["serve"], cwd=target.folder, env=target.environment)
    assert served.returncode == 2
    assert "holds a copy that is not finished: run mirror-stage db copy again" in served.stderr
    assert count(target) == half

    copied = run(source, "copy", "--to", url_of(target), "--json")
    assert copied.returncode == 0, copied.stderr
    found = json.loads(copied.stdout)
    assert found["resumed"] is True
    assert {table["table"]: table["rows"] for table in found["tables"]}["host_metric_samples"] == SAMPLES
    question = "SELECT count(*), count(DISTINCT at_second), sum(cpu_load) FROM host_metric_samples"
    assert target.rows(question) == source.rows(question)
    again = run(target, "copy", "--to", url_of(target))
    assert (again.returncode, "an EGO uses the target" in again.stderr) == (1, True)  # the same database


@pytest.mark.parametrize("killed", BOTH_WAYS[:1], ids="-to-".join, indirect=True)
def test_where_ego_used_the_source_after_the_kill_the_copy_begins_anew(killed: tuple[EgoServer, EgoServer]) -> None:
    source, target = killed
    source.rows("UPDATE ego_state SET value = '2' WHERE name = 'lived_until'")
    source.rows("UPDATE host_metrics SET first_seen_at = 5")  # it was copied already
    copied = run(source, "copy", "--to", url_of(target), "--json")
    assert copied.returncode == 0, copied.stderr
    assert json.loads(copied.stdout)["resumed"] is False
    assert target.rows("SELECT first_seen_at FROM host_metrics") == [(5,)]


@pytest.mark.parametrize("killed", BOTH_WAYS[1:], ids="-to-".join, indirect=True)
def test_one_changed_row_of_the_copy_is_found(killed: tuple[EgoServer, EgoServer]) -> None:
    source, target = killed
    target.rows("UPDATE host_metric_samples SET cpu_load = cpu_load + 1e-12 WHERE at_second = 1762000001")
    refused = run(source, "copy", "--to", url_of(target))
    assert (refused.returncode, "the copy of host_metric_samples differs" in refused.stderr) == (1, True)
    assert "ego_copying" in tables_of(target)


def test_every_value_comes_back_from_the_other_kind_of_database_unchanged(new_ego: NewEgo) -> None:
    first, middle, last = new_ego("sqlite"), new_ego("postgresql"), new_ego("sqlite")
    assert run(first, "upgrade").returncode == 0
    numbers = (0.1 + 0.2, 5e-324, 1.7976931348623157e308, 123456789.12345679, 1 / 3, 2.0**-1074)
    for at, number in enumerate(numbers):
        first.rows(
            "INSERT INTO host_metric_samples (at_second, host_id, at_ms, reported_after_ms, received_after_ms, cpu_load,"
            " memory_used_percent, load_average, uptime_seconds, net_bytes_tx) VALUES (?, 1, 0, ?, 0, ?, 1, 1, 1, ?)",
            at, -(2**62), number, 2**63 - 1,
        )  # fmt: skip
    first.rows("INSERT INTO rollup_dirty VALUES ('1m', 60, 1, 1), ('1m', 120, 1, 0)")
    first.rows("INSERT INTO ego_state VALUES ('name', ?)", "tab\tquote\"' \\N \\. 한글 🚀\r\nend ")
    first.rows("INSERT INTO sqlite_sequence VALUES ('commands', 41)")  # numbers of commands that were pruned
    assert run(first, "copy", "--to", url_of(middle)).returncode == 0
    with psycopg.connect(url_of(middle)) as connection:
        assert connection.execute("SELECT nextval('commands_seq_seq')").fetchone() == (42,)
        connection.rollback()
    middle.rows("UPDATE host_metric_samples SET load_average = '-0' WHERE at_second = 0")  # for SQLite it is 0
    first.rows("UPDATE host_metric_samples SET load_average = 0 WHERE at_second = 0")
    assert run(middle, "copy", "--to", url_of(last)).returncode == 0
    for table in tables_of(first) - {"sqlite_sequence"}:
        assert sorted(first.rows(f"SELECT * FROM {table}")) == sorted(last.rows(f"SELECT * FROM {table}"))
    assert last.rows("SELECT seq FROM sqlite_sequence WHERE name = 'commands'")[0][0] >= 41


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_of_another_system_is_refused_and_not_touched(kind: str, new_ego: NewEgo) -> None:
    source, target = new_ego("sqlite"), new_ego(kind)
    assert run(source, "upgrade").returncode == 0
    target.rows("CREATE TABLE alerts (id INTEGER)")
    refused = run(source, "copy", "--to", url_of(target))
    assert (refused.returncode, "holds tables of another system (alerts)" in refused.stderr) == (2, True)
    assert tables_of(target) == {"alerts"}


def test_a_bad_target_is_refused_in_one_line(new_ego: NewEgo) -> None:
    source = new_ego("sqlite")
    nothing = run(source, "copy", "--to", f"sqlite:///{source.folder}/new.db")
    assert (nothing.returncode, "there is nothing to copy" in nothing.stderr) == (2, True)
    assert run(source, "upgrade").returncode == 0
    for url, status, why in (
        ("mysql://ego", 2, "must begin with postgresql://"),
        ("sqlite:///", 2, "must begin with postgresql://"),
        (f"sqlite:///{source.folder}/no/where.db", 2, "there is no folder"),
        ("postgresql://u:pa[ss@h/db", 2, "percent-encoded"),
        ("postgresql://127.0.0.1:9/none", 1, "--to"),
        (f"sqlite:///{source.folder}/ego.db", 1, "an EGO uses the target"),
    ):
        refused = run(source, "copy", "--to", url)
        assert (refused.returncode, why in refused.stderr) == (status, True), refused.stderr
        assert refused.stderr.count("\n") == 1
