"""EGO reports what it refuses: in the log, once for each peer and status, and in readiness."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from mirror_stage.web.refusals import PEERS_MAX, Refusals
from tests.builders import make_sample
from tests.security.raw import ask
from tests.servers import EgoServer


def test_nobody_was_refused() -> None:
    assert Refusals().check(0) == {"ok": True, "detail": "nobody in the last 10 minutes"}


def test_for_ten_minutes_the_check_says_who_was_refused_how_often_and_why() -> None:
    refusals = Refusals()
    for second in range(12):
        refusals.note("10.0.0.7", 400, "samples.0.swap_used_percent: must be ...", 1_000.0 + second)
    detail = "10.0.0.7 was refused 12 times in the last 10 minutes: samples.0.swap_used_percent: must be ..."
    assert refusals.check(1_060) == {"ok": False, "detail": detail}
    assert refusals.check(1_000 + 700)["ok"] is True


def test_only_refusals_that_somebody_has_to_act_on_count() -> None:
    refusals = Refusals()
    for status in (200, 304, 404, 405, 408, 409, 500, 503):
        refusals.note("10.0.0.7", status, "x", 0)
    assert refusals.check(0)["ok"] is True


def test_a_refusal_is_logged_once_for_each_peer_and_status(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    with caplog.at_level(logging.WARNING):
        for second in range(500):
            refusals.note("10.0.0.7", 400, "bad", float(second))
            refusals.note("10.0.0.7", 429, "many", float(second))
    assert len(caplog.records) == 2
    assert caplog.messages[0] == "10.0.0.7 is refused (400): bad"
    with caplog.at_level(logging.WARNING):
        refusals.note("10.0.0.7", 400, "bad", 601.0)
    assert len(caplog.records) == 3


def test_many_refused_peers_take_little_memory_and_few_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    with caplog.at_level(logging.WARNING):
        for n in range(5_000):
            refusals.note(f"10.0.{n // 250}.{n % 250}", 400, "x" * 5_000, 0.0)
    assert len(refusals._by_peer) == PEERS_MAX
    assert len(caplog.records) <= 20
    assert "and 99 more peers" in refusals.check(0)["detail"]
    assert len(refusals.check(0)["detail"]) < 500


def test_a_running_ego_reports_a_refused_agent_and_a_refused_page(start_ego: Callable[..., EgoServer]) -> None:
    ego = start_ego({"MIRROR_STAGE_TRUSTED_PROXIES": "127.0.0.1", "MIRROR_STAGE_SECURITY": "open"})
    bad = make_sample("titan-01") | {"swap_used_percent": -1.6}
    for spelling in ("10.0.0.7", "10.0.0.7:51234", "::ffff:10.0.0.7", "[::FFFF:10.0.0.7]:80"):
        answer = ego.post("/api/metrics/batch", json={"samples": [bad]}, headers={"X-Forwarded-For": spelling})
        assert answer.status_code == 400
    check = ego.get("/api/health/ready").json()["checks"]["refused"]
    assert check["ok"] is False
    assert check["detail"].startswith(
        "10.0.0.7 was refused 4 times in the last 10 minutes: samples.0.swap_used_percent: "
    )
    assert ask(ego, "/api/twin/state", Host="attacker.example").status == 421
    assert ask(ego, "/api/twin/state", Origin="http://attacker.example").status == 403
    assert ask(ego, "//api/twin/state").status == 400
    packed = {"Content-Type": "application/json", "Content-Encoding": "zstd", "X-Forwarded-For": "10.0.0.9"}
    assert ego.post("/api/metrics/batch", data=b"?", headers=packed).status_code == 415
    lines = [line for line in ego.log.splitlines() if "is refused (" in line]
    assert len(lines) == 5, lines
    assert ego.get("/api/health/ready").status_code == 200

    # one address brings 300 new hosts, and no more
    def brings(peer: str, *names: str) -> int:
        samples = [make_sample(name) for name in names]
        headers = {"X-Forwarded-For": peer}
        return ego.post("/api/metrics/batch", json={"samples": samples}, headers=headers).status_code

    assert brings("10.0.0.8", *[f"a-{n}" for n in range(250)]) == 202
    assert brings("10.0.0.8", *[f"b-{n}" for n in range(250)]) == 429
    assert brings("10.0.0.8", *[f"a-{n}" for n in range(250)]) == 202
    assert brings("10.0.0.9", *[f"b-{n}" for n in range(250)]) == 202
    assert (
        ego.post_samples(*[make_sample(f"c-{n}") for n in range(900)]).status_code == 202
    )  # a program of this machine
