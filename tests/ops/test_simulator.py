"""`mirror-stage simulate` as a process, against a real EGO."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from mirror_stage.runtime.cli import main
from mirror_stage.simulator.scenarios import SCENARIOS
from tests.contract.clients import listening
from tests.faults.agents import command, create
from tests.fleet import simulated_fleet, start_fleet
from tests.servers import EgoServer, free_port, running_ego, wait_until
from tests.simulator.fleets import fleet_of


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    with running_ego(tmp_path_factory.mktemp("ego")) as server:
        yield server


def test_a_fleet_shows_in_the_twin_and_answers_commands(ego: EgoServer) -> None:
    fleet = fleet_of(60, 7)
    uplinks = {machine.hostname: machine.uplink for machine in fleet.machines}
    before = stored(ego)
    with simulated_fleet(ego, hosts=60, seed=7, interval=0.5) as running:
        wait_until(lambda: uplinks.items() <= measured_uplinks(ego).items(), 20, what="every link has a throughput")
        hostname = fleet.machines[-1].hostname
        wait_until(lambda: ego.get(f"/api/hosts/{hostname}").json()["lastPollAt"], what="the host fetches commands")

        streamed = create(ego, hostname, command="sleep 1 && uptime; false")
        late = create(ego, hostname, command="journalctl -f", timeoutSeconds=1)
        cancelled = create(ego, hostname, command="sleep 500", timeoutSeconds=600)
        wait_until(lambda: command(ego, cancelled)["status"] == "running", what="it runs")
        ego.post(f"/api/commands/{cancelled}/cancel")
        ids = {streamed: ("failed", None), late: ("timeout", "exec_timeout"), cancelled: ("failed", "cancelled")}
        wait_until(lambda: {id: outcome(ego, id) for id in ids} == ids, 10, what=f"all commands have ended: {ids}")
        assert command(ego, streamed)["exitCode"] == 1
        assert "load average" in command(ego, streamed)["stdout"]

        with listening(ego, "/commands") as listener:
            paced = create(ego, hostname, command="ping -c 3 10.0.0.1")
            listener.emit("watch-command", {"id": paced, "afterSeq": 0})
            heard = [listener.wait_for("command-output", lambda said, n=n: said["seq"] == n) for n in (1, 2, 3)]
            wait_until(lambda: outcome(ego, paced) == ("succeeded", None), what="the command has ended")
            assert "".join(said["data"] for said in heard) == command(ego, paced)["stdout"]

        abandoned = create(ego, hostname, command="sleep 500", timeoutSeconds=600)
        wait_until(lambda: command(ego, abandoned)["status"] == "running", what="it runs")
        running.end()
    assert outcome(ego, abandoned) == ("failed", "agent_restarted")
    assert running.process.returncode == 0
    assert running.stderr == ""
    assert running.result["accepted"] == stored(ego) - before
    assert (running.result["refused"], running.result["unanswered"]) == (0, 0)
    assert running.result["commands"] == {"succeeded": 1, "failed": 3, "timeout": 1}


def test_ctrl_c_ends_a_running_fleet_with_its_result(ego: EgoServer) -> None:
    before = stored(ego)
    with simulated_fleet(ego, hosts=5, interval=0.1) as running:
        wait_until(lambda: stored(ego) > before, what="it sends samples")
        running.process.send_signal(signal.SIGINT)
        running.wait(20)
    assert (running.process.returncode, running.stderr) == (0, "")
    assert running.result["accepted"] == stored(ego) - before


def test_it_sends_as_fast_as_answers_come(ego: EgoServer) -> None:
    with simulated_fleet(ego, hosts=10, batch=1, rate="max", seconds=1, commands=False) as running:
        running.wait(20)
    assert running.result["samplesPerSecond"] > 20  # ten hosts at the usual interval of 5 s send 2
    assert running.result["statuses"] == {"202": running.result["accepted"]}
    assert running.result["latencyMs"]["p50"] <= running.result["latencyMs"]["p99"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--hosts", "0"], "0 is not within 1 to 100,000"),
        (["--hosts", "many"], "'many' is not a whole number"),
        (["--interval", "nan"], "nan is not within"),
        (["--rate", "-1"], "-1 is not within"),
        (["--scenario", "doomsday"], "rack-overheats"),
    ],
)
def test_a_bad_argument_is_reported_with_status_2(
    options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *options])
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


def test_an_invalid_address_is_reported_in_one_line_with_status_2() -> None:
    ended = start_fleet("ftp://ego").wait(20)
    assert ended.process.returncode == 2
    assert ended.stderr == (
        "mirror-stage: --ego must begin with http:// or https://; it must be like http://10.0.0.100:3000\n"
    )


def test_an_ego_that_cannot_be_reached_is_reported_with_status_1(ego: EgoServer) -> None:
    nobody = start_fleet(f"http://127.0.0.1:{free_port()}", "--seconds", "0.1").wait(20)
    elsewhere = start_fleet(f"{ego.url}/elsewhere", "--seconds", "0.1").wait(20)
    assert (nobody.process.returncode, elsewhere.process.returncode) == (1, 1)
    assert "Connection refused" in nobody.stderr
    assert "404" in elsewhere.stderr


def test_help_lists_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["simulate", "--help"])
    helped = capsys.readouterr().out
    for scenario in SCENARIOS.values():
        assert f"  {scenario.name}" in helped
        assert scenario.summary in helped


def measured_uplinks(ego: EgoServer) -> dict[str, str]:
    """The uplink of each host whose throughput is known."""
    links = ego.get("/api/twin/state").json()["links"]
    return {link["target"]: link["source"] for link in links if link["measured"]}


def stored(ego: EgoServer) -> int:
    return int(ego.rows("SELECT count(*) FROM host_metric_samples")[0][0])


def outcome(ego: EgoServer, id: str) -> tuple[str, str | None]:
    ended = command(ego, id)
    return ended["status"], ended["reason"]
