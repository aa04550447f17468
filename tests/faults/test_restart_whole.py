"""T12: after a restart, the first answer and the first frame show all hosts, ages, rates, alerts and commands."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
import websocket

from mirror_stage.core.instants import to_text
from tests.builders import make_sample
from tests.faults import on_postgresql_in_full, print_figures, short_and_full
from tests.faults.agents import claim, create, lose, report
from tests.faults.browsers import event_of, next_event, open_browser
from tests.servers import EgoServer, slowness, wait_until

WHOLE_SECONDS = 3.0
BEYOND_IMPORTING_SECONDS = 1.6  # a start's limit beside the imports: 3 s in all on a machine that imports in 1.4 s
OF_IMPORTING = 1.8  # a start's CPU seconds, as a multiple of those of importing EGO; the imports are most of a start
BYTES_A_SECOND = 50_000_000  # of each counter: 0.4 Gbps each way
ALARMING = {
    "host-0001": {"cpu_percent": 95},
    "host-0002": {"memory_used_percent": 97},
    "host-0003": {"cpu_temperature": 91},
}


class GrowingCounters:
    """Hosts whose counters grow steadily."""

    def __init__(self, hosts: int):
        self.hostnames = [f"host-{number:04d}" for number in range(hosts)]
        self._started = int(time.time() * 1000) - 10_000
        self._round = 0

    def report(self, ego: EgoServer) -> None:
        """One sample of every host, a second after its last."""
        self._round += 1
        counter = 10**9 + self._round * BYTES_A_SECOND
        at = to_text(self._started + self._round * 1_000)
        samples = [
            make_sample(
                name, at=at, load_average=self._round, net_bytes_tx=counter, net_bytes_rx=counter, primary_interface_speed_mbps=1000, rack=f"R{number % 9}",
                **ALARMING.get(name, {}),
            )
            for number, name in enumerate(self.hostnames)
        ]  # fmt: skip
        for start in range(0, len(samples), 500):
            assert ego.post_samples(*samples[start : start + 500]).status_code == 202

    def is_shown(self, ego: EgoServer) -> bool:
        """Whether the snapshot has the newest sample of every host, and a link to each."""
        state = ego.get("/api/twin/state").json()
        rounds = [host["metrics"]["loadAverage"] for host in state["hosts"] if host["hostname"] in self.hostnames]
        return rounds == [self._round] * len(self.hostnames) and len(state["links"]) == len(self.hostnames)


class FirstLook:
    """Asks REST and Socket.IO from the beginning of a start on, and keeps the first answer of each."""

    def __init__(self, ego: EgoServer):
        self._ego, self._started = ego, time.monotonic()
        self.body: dict[str, Any] = {}
        self.frame: dict[str, Any] = {}
        self.body_seconds = self.frame_seconds = 0.0
        self._threads = [
            threading.Thread(target=self._ask, daemon=True),
            threading.Thread(target=self._connect, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> FirstLook:
        for thread in self._threads:
            thread.join()
        return self

    def _ask(self) -> None:
        def answered() -> bool:
            try:
                answer = requests.get(f"{self._ego.url}/api/twin/state", timeout=5)
            except requests.RequestException:
                return False
            if answer.status_code != 200:
                return False
            self.body = answer.json()
            return True

        wait_until(answered, 30, what="an answer")
        self.body_seconds = time.monotonic() - self._started

    def _connect(self) -> None:
        def connected() -> bool:
            try:
                client = open_browser(self._ego.port)
            except (OSError, websocket.WebSocketException, AssertionError):
                return False
            text = wait_until(lambda: next_event(client), 10, what="a frame")
            name, self.frame = event_of(text)
            assert name == "twin-state"
            client.close()
            return True

        wait_until(connected, 30, what="a socket")
        self.frame_seconds = time.monotonic() - self._started


def mixed_commands(ego: EgoServer) -> None:
    """Twenty commands, in all standings that stay as they are."""
    for number in range(4):
        hostname = f"host-{number:04d}"
        ids = [create(ego, hostname, command=f"echo {n}") for n in range(5)]
        ran, failed, cancelled, lost, _running = ids
        ego.post(f"/api/commands/{cancelled}/cancel")
        handed = claim(ego, hostname)
        assert handed == [ran, failed, lost, _running]
        report(ego, ran)
        report(ego, failed, status="failed")
        lose(ego, lost)


def everything(ego: EgoServer) -> dict[str, Any]:
    """Everything that must be the same after a restart."""
    state = ego.get("/api/twin/state").json()
    alerts = {alert["id"]: alert["status"] for alert in ego.get("/api/alerts?pageSize=100").json()["items"]}
    commands = ego.get("/api/commands?pageSize=100").json()["items"]
    return {"state": state, "alerts": alerts, "commands": [_without_lease(command) for command in commands]}


def _without_lease(command: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in command.items() if name not in {"leaseUntil", "updatedAt"}}


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The differences between two snapshots that a restart must not cause."""
    found = [] if before["twinId"] == after["twinId"] else ["twinId"]
    old, new = ({host["hostname"]: host for host in state["hosts"]} for state in (before, after))
    found += [f"missing: {name}" for name in old.keys() - new.keys()]
    for name in old.keys() & new.keys():
        for member in ("lastSeen", "position", "rack", "uplink", "severity", "status", "ip", "agentVersion"):
            if old[name][member] != new[name][member]:
                found.append(f"{member} of {name}: {old[name][member]} became {new[name][member]}")
    old, new = ({link["id"]: link for link in state["links"]} for state in (before, after))
    found += [f"missing: {id}" for id in old.keys() - new.keys()]
    for id in old.keys() & new.keys():
        rate, now = old[id]["throughputGbps"], new[id]["throughputGbps"]
        if not new[id]["measured"] or abs(now - rate) > rate / 10:
            found.append(f"rate of {id}: {rate} became {now}")
    return found


def importing_seconds() -> float:
    """The CPU seconds of a process that only imports EGO, here and now."""
    before = os.times()
    subprocess.run([sys.executable, "-c", "import mirror_stage.app"], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@on_postgresql_in_full
@pytest.mark.parametrize("size", short_and_full((150, 2), (1_000, 10)))  # hosts, restarts
def test_a_restart_shows_everything_at_once(
    start_ego: Callable[..., EgoServer], database_settings: dict[str, str], size: tuple[int, int], slack: float
) -> None:
    hosts, restarts = size
    ego = start_ego(
        database_settings | {"MIRROR_STAGE_STALE_AFTER_SECONDS": "600", "MIRROR_STAGE_OFFLINE_AFTER_SECONDS": "900"}
    )
    fleet = GrowingCounters(hosts)
    fleet.report(ego)
    fleet.report(ego)
    mixed_commands(ego)
    slowest, computed, fold, wrong = 0.0, 0.0, 1.0, []
    for number in range(restarts):
        fleet.report(ego)
        saved = lambda: ego.rows("SELECT count(*) FROM alerts")[0][0] >= len(ALARMING)  # noqa: E731
        wait_until(saved, what="the alerts are saved")
        wait_until(lambda: fleet.is_shown(ego), what="the tick that shows the newest round")
        before = everything(ego)
        if number % 2:
            ego.kill()
        else:
            assert ego.stop() < WHOLE_SECONDS
        ego.start(wait=False)
        fold = max(fold, slowness())
        look = FirstLook(ego).wait()
        fold = max(fold, slowness())
        slowest = max(slowest, look.body_seconds, look.frame_seconds)
        computed = max(computed, ego.cpu_seconds())
        wrong += differences(before["state"], look.body) + differences(before["state"], look.frame)
        ego.wait_ready()
        after = everything(ego)
        assert after["alerts"] == before["alerts"]
        assert after["commands"] == before["commands"]
        assert after["state"]["epoch"] != before["state"]["epoch"]
    fleet.report(ego)
    wait_until(lambda: fleet.is_shown(ego), what="the tick that shows the newest round")
    wrong += differences(look.body, ego.get("/api/twin/state").json() | {"hosts": look.body["hosts"]})
    print_figures(
        "T12",
        restarts=restarts,
        hosts=len(look.body["hosts"]),
        alerts=len(after["alerts"]),
        commands=len(after["commands"]),
        wrong=len(wrong),
        slowest_s=slowest,
        of_it_computing_s=computed,
    )
    assert not wrong, "\n".join(wrong[:20])
    assert len(look.frame["hosts"]) == len(look.body["hosts"]) == hosts + 1
    assert len(after["alerts"]) == len(ALARMING)
    importing = importing_seconds()
    assert slowest <= (importing + BEYOND_IMPORTING_SECONDS) * slack * fold
    assert computed <= OF_IMPORTING * importing
