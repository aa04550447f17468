"""A real EGO tells real receivers, hostile ones too, and nothing secret ever shows. Killed in between: faults/test_told_after_a_kill.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.builders import make_sample
from tests.contract.clients import Listener
from tests.notifications.sinks import Sink, hang, raw, reset, sink, trickle
from tests.servers import EgoServer, running_ego, wait_until

SECRET = "planted-s3cret"
WITHIN = 40.0


def channel(ego: EgoServer, name: str, **said: Any) -> None:
    answer = ego.post("/api/channels", json={"name": name, **said})
    assert answer.status_code == 201, answer.text


def routes(ego: EgoServer, *said: dict[str, Any]) -> None:
    answer = requests.put(f"{ego.url}/api/routes", json={"routes": said}, timeout=30)
    assert answer.status_code == 200, answer.text


def deliveries(ego: EgoServer) -> dict[str, dict[str, Any]]:
    """The newest message of each channel."""
    return {one["channel"]: one for one in reversed(ego.get("/api/deliveries?pageSize=100").json()["items"])}


def port_of(url: str) -> int:
    """The port of an address."""
    return int(url.rpartition(":")[2])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EgoServer, Sink, Sink, Listener]]:
    """An EGO that logs everything, with one good receiver and eight hostile ones, and one alert that they are all told of."""
    with ExitStack() as stack:
        ego = stack.enter_context(running_ego(tmp_path_factory.mktemp("hostile"), {"MIRROR_STAGE_LOG_LEVEL": "debug"}))
        good = stack.enter_context(sink())
        late = stack.enter_context(sink(lambda number: (429, {"Retry-After": "6"}) if number == 0 else (200, {})))
        answers = {"s500": (500, {}), "s404": (404, {}), "s302": (302, {"Location": f"{good.url}/redirected"})}
        urls = {name: stack.enter_context(sink(lambda _, said=said: said)).url for name, said in answers.items()}
        urls |= {
            name: stack.enter_context(raw(one))
            for name, one in (("hang", hang), ("trickle", trickle), ("reset", reset))
        }
        urls |= {"good": good.url, "late": late.url}
        for name, url in urls.items():
            channel(ego, name, kind="webhook", url=f"{url}/{SECRET}", secret=SECRET)
        channel(ego, "chat", kind="apprise", url=f"json://user:{SECRET}@127.0.0.1:{good.port}/{SECRET}")
        mute = port_of(stack.enter_context(raw(hang)))
        mail = {"server": "127.0.0.1", "port": mute, "security": "none", "sender": "ego@lan", "recipients": ["ops@lan"]}
        channel(ego, "mute", kind="email", username="ego", secret=SECRET, fallback="good", **mail)
        routes(ego, {"name": "all", "channels": [*urls, "chat", "mute"]})
        listener = Listener(ego, "/alerts")
        ego.post_samples(make_sample("web-01", cpu_percent=95))
        wait_until(lambda: good.got, 20, what="the good receiver is told")
        yield ego, good, late, listener


def test_each_receiver_has_its_outcome(hostile: tuple[EgoServer, Sink, Sink, Listener]) -> None:
    ego, good, late, _ = hostile
    wait_until(lambda: len(late.got) == 2, 15, what="the one that asked for six seconds is told again")
    found = deliveries(ego)
    outcomes = {name: (one["state"], one["status"]) for name, one in found.items()}
    assert outcomes["good"] == ("accepted", 200)
    assert outcomes["late"] == ("accepted", 200)
    assert outcomes["chat"] == ("accepted", None)
    assert outcomes["s404"] == ("dead", 404)
    assert outcomes["s302"] == ("dead", 302)
    assert outcomes["s500"] in {("retry", 500), ("leased", 500)}
    assert outcomes["reset"][0] in {"retry", "leased"}
    assert not [one for one in good.got if one.path == "/redirected"]
    assert len(set(late.keys)) == 1
    checks = ego.get("/api/health/ready").json()["checks"]["notifications"]
    if not checks["ok"]:
        assert "never arrived" in checks["detail"]


def test_those_that_hang_delay_nobody(hostile: tuple[EgoServer, Sink, Sink, Listener]) -> None:
    ego, _, _, _ = hostile
    found = deliveries(ego)
    due, got = (found["good"][name] for name in ("createdAt", "endedAt"))
    seconds = float(got[17:23]) - float(due[17:23])
    assert seconds % 60 < 15  # it waits for two seconds, and one that hangs would have delayed it by twenty

    def cut_off() -> bool:
        now = deliveries(ego)
        cut = all(now[name]["detail"] == "there was no whole answer within 20 s" for name in ("hang", "trickle"))
        return cut and now["mute"]["attempts"] >= 1 and now["mute"]["detail"] is not None

    wait_until(cut_off, 30, what="all three are cut off")


def test_a_dead_message_is_sent_again_when_somebody_asks(hostile: tuple[EgoServer, Sink, Sink, Listener]) -> None:
    ego, _, _, _ = hostile
    wait_until(lambda: deliveries(ego)["s404"]["state"] == "dead", 20, what="it is given up")
    dead = deliveries(ego)["s404"]
    assert ego.post(f"/api/deliveries/{dead['id']}/retry").json()["state"] == "retry"
    wait_until(lambda: deliveries(ego)["s404"]["state"] == "dead", 10)
    assert deliveries(ego)["s404"]["id"] == dead["id"]


def test_groups_tell_who_was_told(hostile: tuple[EgoServer, Sink, Sink, Listener]) -> None:
    ego, _, _, _ = hostile
    group = ego.get("/api/alert-groups?open=true").json()["items"][0]
    assert (group["rule"], group["open"], group["members"][0]["hostname"]) == ("cpu_load_high", 1, "web-01")
    assert "good" in group["toldTo"]
    assert ego.get(f"/api/alert-groups/{group['id']}").json()["id"] == group["id"]


def test_nothing_secret_shows_anywhere(hostile: tuple[EgoServer, Sink, Sink, Listener]) -> None:
    ego, good, _, listener = hostile
    assert SECRET in good.got[0].path
    ego.post("/api/channels/s500/test", json={})
    paths = [
        "channels",
        "channels/good",
        "routes",
        "deliveries",
        "alert-groups",
        "alerting",
        "audit",
        "health/ready",
        "info",
    ]
    shown = {path: ego.get(f"/api/{path}").text for path in paths}
    shown["figures"] = ego.get("/metrics").text
    shown["sockets"] = str(listener.heard)
    shown["log"] = ego.log
    command = [sys.executable, "-m", "mirror_stage.runtime.cli", "alerts", "export", "--ego", ego.url]
    said = subprocess.run(command, capture_output=True, text=True, env=ego.environment, check=True)
    shown["export"] = said.stdout + said.stderr
    backup = [sys.executable, "-m", "mirror_stage.runtime.cli", "db", "backup", str(ego.folder / "ego.db.backup")]
    done = subprocess.run(backup, capture_output=True, text=True, env=ego.environment, cwd=ego.folder, check=True)
    shown["backup"] = done.stdout + done.stderr
    assert b"gAAAA" in (ego.folder / "ego.db.backup").read_bytes()  # how a sealed secret begins
    for path in ego.folder.glob("ego.db*"):
        shown[path.name] = path.read_bytes().decode(errors="replace")
    assert {one.event for one in listener.heard} >= {"group-update", "delivery-update"}
    assert '"level": "debug"' in shown["log"] or '"debug"' in shown["log"].lower()
    assert 'url = "kept:"' in shown["export"]
    assert [name for name, text in shown.items() if SECRET in text] == []


def test_the_command_line_exports_plans_applies_and_tests(
    hostile: tuple[EgoServer, Sink, Sink, Listener], tmp_path: Path
) -> None:
    ego, _, _, _ = hostile

    def run(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "mirror_stage.runtime.cli", "alerts", *words, "--ego", ego.url]
        done = subprocess.run(command, capture_output=True, text=True, env=ego.environment, check=False)
        return done.returncode, done.stdout + done.stderr

    file = tmp_path / "alerts.toml"
    file.write_text(run("export")[1])
    assert run("plan", str(file), "--prune") == (0, "no change\n")
    assert run("apply", str(file), "--prune") == (0, "no change\n")
    status, said = run("test", "good")
    assert (status, said.split(" after")[0]) == (0, "good accepted a trial message (200)")
    assert run("test", "s404") == (1, "mirror-stage: s404: the receiver answered 404\n")
    file.write_text(file.read_text().replace('kind = "webhook"', 'kind = "pigeon"'))
    status, said = run("plan", str(file))
    assert (status, "kind" in said) == (1, True)
