"""Each of EGO's own figures moves with what it is about, by what happens at a real EGO."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest

from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.exporter import ego as ego_figures
from mirror_stage.health import service as health
from tests.builders import make_sample, unique_hostname
from tests.contract.clients import listening
from tests.contract.wire import act, ago, claim, create, post
from tests.exporter.scraped import figure, value
from tests.faults.slow_database import slowed_commits
from tests.servers import EgoServer, running_redis, wait_until


@contextmanager
def moves(ego: EgoServer, name: str, by: float = 1, **labels: str) -> Iterator[None]:
    """Inside the block a figure moves by at least so much."""
    before = figure(ego, name, **labels)
    yield
    wait_until(lambda: figure(ego, name, **labels) - before >= by, every=0.1, what=f"{name} {labels} moves by {by}")


def test_samples_are_counted_by_what_became_of_them(ego: EgoServer) -> None:
    same = make_sample(unique_hostname(), at=ago(5))
    with (
        moves(ego, "mirror_stage_samples_total", 3, outcome="stored"),
        moves(ego, "mirror_stage_samples_total", 1, outcome="duplicate"),
        moves(ego, "mirror_stage_commit_group_samples_sum", 4),
        moves(ego, "mirror_stage_commit_duration_seconds_count", 2),
        moves(ego, "mirror_stage_database_call_duration_seconds_count", 2, lane="samples", call="write"),
        moves(ego, "mirror_stage_http_answers_total", 2, route="metrics.post_batch", status="202"),
        moves(ego, "mirror_stage_http_request_duration_seconds_count", 2, route="metrics.post_batch"),
        moves(ego, "mirror_stage_frames_total"),
    ):
        post(ego, same, make_sample(unique_hostname()))
        post(ego, same, make_sample(unique_hostname()))


def test_refusals_and_answers_are_counted_by_status(ego: EgoServer) -> None:
    with (
        moves(ego, "mirror_stage_refusals_total", status="400"),
        moves(ego, "mirror_stage_http_answers_total", route="metrics.post_batch", status="400"),
        moves(ego, "mirror_stage_http_answers_total", route="hosts.get_host", status="404"),
        moves(ego, "mirror_stage_http_answers_total", route="none", status="404"),
        moves(ego, "mirror_stage_http_answers_total", route="none", status="403"),
    ):
        ego.post("/api/metrics/batch", json={"samples": []})
        ego.get("/api/hosts/nobody")
        ego.get("/api/nothing")
        ego.get("/api/hosts", headers={"Origin": "http://another.example"})


def test_alerts_are_counted_while_they_are_active_and_when_they_change(ego: EgoServer) -> None:
    hostname = unique_hostname()
    rule = {"rule": "cpu_load_high", "severity": "warning"}
    with (
        moves(ego, "mirror_stage_alert_transitions_total", transition="fired", severity="warning"),
        moves(ego, "mirror_stage_alerts_active", **rule),
    ):
        post(ego, make_sample(hostname, cpu_percent=95))
    active = figure(ego, "mirror_stage_alerts_active", **rule)
    with moves(ego, "mirror_stage_alert_transitions_total", transition="resolved", severity="warning"):
        post(ego, make_sample(hostname, cpu_percent=5))
    assert figure(ego, "mirror_stage_alerts_active", **rule) == active - 1
    wait_until(lambda: figure(ego, "mirror_stage_alert_transitions_waiting") == 0, what="all changes are stored")


def test_commands_are_counted_by_status(ego: EgoServer) -> None:
    hostname, transitions = unique_hostname(), "mirror_stage_command_transitions_total"
    with moves(ego, transitions, status="pending"), moves(ego, "mirror_stage_commands_open", status="pending"):
        create(ego, hostname)
    with moves(ego, transitions, status="running"), moves(ego, "mirror_stage_commands_open", status="running"):
        (item,) = claim(ego, hostname)
    with moves(ego, transitions, status="succeeded"):
        act(ego, item["id"], "result", {"status": "succeeded"})
    assert figure(ego, "mirror_stage_commands_open", status="running") == 0


def test_agents_that_wait_are_counted(ego: EgoServer) -> None:
    hostname = unique_hostname()
    agent = threading.Thread(target=lambda: claim(ego, hostname, wait="20"))
    agent.start()
    wait_until(lambda: figure(ego, "mirror_stage_polls_waiting") == 1, what="an agent waits")
    create(ego, hostname)
    agent.join(timeout=20)
    assert figure(ego, "mirror_stage_polls_waiting") == 0


def test_clients_are_counted_and_the_frames_that_they_miss(ego: EgoServer) -> None:
    """The client of the delta stream acknowledges nothing, so after three frames it gets no more."""
    hostname = unique_hostname()
    with (
        moves(ego, "mirror_stage_frame_bytes_total", form="snapshot"),
        moves(ego, "mirror_stage_frame_bytes_total", form="delta"),
        moves(ego, "mirror_stage_frames_skipped_total", 2),
        listening(ego, "/digital-twin", auth={"stream": "delta"}) as client,
    ):
        client.wait_for("twin-snapshot")
        assert figure(ego, "mirror_stage_socket_clients", namespace="/digital-twin") == 1
        assert figure(ego, "mirror_stage_socket_clients", namespace="/alerts") == 0
        for cpu in range(8):
            with moves(ego, "mirror_stage_frames_total"):
                post(ego, make_sample(hostname, cpu_percent=cpu))
    wait_until(lambda: figure(ego, "mirror_stage_socket_clients", namespace="/digital-twin") == 0, what="it is gone")


def test_a_client_that_keeps_up_misses_no_frame(ego: EgoServer) -> None:
    before = figure(ego, "mirror_stage_frames_skipped_total")
    with listening(ego, "/digital-twin") as client:
        client.wait_for("twin-state")
        for cpu in range(5):
            with moves(ego, "mirror_stage_frames_total"):
                post(ego, make_sample(unique_hostname(), cpu_percent=cpu))
    assert figure(ego, "mirror_stage_frames_skipped_total") == before


def test_what_waits_for_a_held_database_shows(ego: EgoServer) -> None:
    lane = {"lane": "samples", "call": "write"}
    with (
        moves(ego, "mirror_stage_database_wait_seconds_sum", 0.5, **lane),
        moves(ego, "mirror_stage_commit_duration_seconds_sum", 0.5),
        slowed_commits(ego, held_seconds=2, free_seconds=2),
    ):
        agents = [threading.Thread(target=lambda: post(ego, make_sample(unique_hostname()))) for _ in range(3)]
        for agent in agents:
            agent.start()
        wait_until(lambda: figure(ego, "mirror_stage_queue_bytes") > 0, what="bodies wait")
        wait_until(lambda: figure(ego, "mirror_stage_database_calls_in_progress", **lane) == 1, what="a commit waits")
        for agent in agents:
            agent.join(timeout=30)
    assert figure(ego, "mirror_stage_queue_bytes") == 0
    assert figure(ego, "mirror_stage_queue_batches") == 0


def test_a_process_that_stood_still_shows_in_the_lag_of_the_loop(ego: EgoServer) -> None:
    with moves(ego, "mirror_stage_event_loop_lag_seconds_sum", 0.4):
        os.kill(ego.worker_pid(), signal.SIGSTOP)
        time.sleep(0.6)
        os.kill(ego.worker_pid(), signal.SIGCONT)


def test_the_process_is_the_worker(ego: EgoServer) -> None:
    assert figure(ego, "mirror_stage_worker_info", pid=str(ego.worker_pid())) == 1
    assert figure(ego, "process_resident_memory_bytes") == pytest.approx(ego.rss_bytes(), rel=0.1)
    assert figure(ego, "process_open_fds") >= 10
    assert 0 < figure(ego, "process_cpu_seconds_total") < 600


def test_redis_is_up_or_down_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REDIS_EVERY_SECONDS", 0.0)
    assert "mirror_stage_redis_up" not in create_app(Config(testing=True)).test_client().get("/metrics").text
    with running_redis(tmp_path) as url:
        client = create_app(Config(testing=True, redis_url=url)).test_client()
        assert value(client.get("/metrics").text, "mirror_stage_redis_up") == 1
    text = client.get("/metrics").text
    assert value(text, "mirror_stage_redis_up") == 0
    assert value(text, "mirror_stage_check_ok", check="redis") == 0


def test_while_the_database_hangs_nobody_says_that_redis_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is asked after the database, so whether it answers is unknown then."""
    monkeypatch.setattr(ego_figures, "ASKED_SECONDS", 0.05)
    monkeypatch.setattr(health.HealthService, "others", lambda _self: gevent.sleep(1))
    client = create_app(Config(testing=True, redis_url="redis://127.0.0.1:1")).test_client()
    text = client.get("/metrics").text
    assert value(text, "mirror_stage_database_up") == 0
    assert "mirror_stage_redis_up" not in text
    assert 'check="redis"' not in text
