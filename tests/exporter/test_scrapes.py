"""Scrapes over the wire, and what other exporters were reported to get wrong. Each test names the kind of report."""

from __future__ import annotations

import gzip
import http.client
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import requests
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_plain

from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.pipeline.owner import Owner
from tests.builders import make_sample, unique_hostname
from tests.contract.clients import listening
from tests.contract.wire import create, post
from tests.exporter.scraped import series, value
from tests.servers import PATIENCE, EgoServer, PostgresqlServer, running_ego, wait_until

PATHS = ("/metrics", "/metrics/fleet")
PROMETHEUS = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
DISK = {"device": "/dev/sda1", "mountpoint": '/mnt/"a"\\b', "fstype": "ext4", "total_bytes": 10, "used_bytes": 1}


@pytest.fixture(autouse=True, scope="module")
def a_host(ego: EgoServer) -> None:
    """EGO has a host, which reports once and stays online."""
    post(ego, make_sample(unique_hostname(), disks=[DISK], net_bytes_tx=1, net_bytes_rx=1, interval_seconds=3600))


@pytest.mark.parametrize("path", PATHS)
def test_openmetrics_is_whole_and_strict_and_plain_text_is_what_everybody_else_gets(ego: EgoServer, path: str) -> None:
    """Reports: `data does not end with # EOF`; a content type that the scraper did not ask for, or none."""
    asked = ego.get(path, headers={"Accept": PROMETHEUS})
    assert asked.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert asked.text.endswith("\n# EOF\n")
    assert len(list(read_openmetrics(asked.text))) > 20
    for accept in ("*/*", "text/html", "application/json", "application/openmetrics-text;version=0.0.1", None):
        plain = ego.get(path, headers={"Accept": accept})  # type: ignore[dict-item]  # None: requests sends none
        assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "# EOF" not in plain.text
        assert plain.text.endswith("\n")
        assert len(series(plain.text)) > 10


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("accept", ["text/plain", PROMETHEUS])
def test_a_head_request_gets_the_headers_of_the_answer_and_no_body(ego: EgoServer, path: str, accept: str) -> None:
    """Reports: HEAD is answered 400 or 405, or without a length."""
    head, get = (
        requests.request(way, ego.url + path, headers={"Accept": accept}, timeout=10) for way in ("HEAD", "GET")
    )
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert int(head.headers["Content-Length"]) > 1000


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_is_compressed_for_those_who_take_that_and_for_nobody_else(ego: EgoServer, path: str) -> None:
    """Reports: no gzip; gzip although `q=0` refuses it; a cache that mixes both up, because `Vary` is missing."""
    for accepted, is_packed in {
        "gzip": True,
        "gzip;q=0": False,
        "identity": False,
        "deflate, gzip;q=0.5": True,
        "": False,
    }.items():
        connection = http.client.HTTPConnection("127.0.0.1", ego.port, timeout=30)
        connection.request("GET", path, headers={"Accept-Encoding": accepted} if accepted else {})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.getheader("Content-Encoding") == ("gzip" if is_packed else None), accepted
        assert {"Accept", "Accept-Encoding"} <= set(re.split(r", *", answer.getheader("Vary", "")))
        assert len(series((gzip.decompress(body) if is_packed else body).decode())) > 10
        connection.close()


def test_no_counter_falls_between_two_scrapes(ego: EgoServer) -> None:
    """Reports: a counter that is a gauge, or that falls for a moment, so that `rate()` shows a peak."""
    hostname = unique_hostname()
    before = series(ego.get("/metrics").text, kinds=("counter", "histogram"))
    for _ in range(20):
        post(ego, make_sample(hostname))
    create(ego, hostname)
    with listening(ego, "/digital-twin") as twin:
        twin.wait_for("twin-state")
    after = series(ego.get("/metrics").text, kinds=("counter", "histogram"))
    assert before.keys() <= after.keys()
    assert not {key: (before[key], after[key]) for key in before if after[key] < before[key]}
    stored = ("mirror_stage_samples_total", frozenset({("outcome", "stored"), ("worker", "1")}))
    assert after[stored] >= before[stored] + 20


def test_the_buckets_of_each_histogram_rise_to_its_count(ego: EgoServer) -> None:
    text = ego.get("/metrics").text
    histograms = [family for family in read_plain(text) if family.type == "histogram"]
    assert len(histograms) >= 6
    for family in histograms:
        by_labels: dict[frozenset[tuple[str, str]], list[float]] = {}
        for one in family.samples:
            labels = frozenset(item for item in one.labels.items() if item[0] != "le")
            if one.name.endswith("_bucket"):
                by_labels.setdefault(labels, []).append(one.value)
            elif one.name.endswith("_count"):
                assert by_labels[labels] == sorted(by_labels[labels])
                assert by_labels[labels][-1] == one.value


def test_what_clients_invent_makes_no_new_series(ego: EgoServer) -> None:
    """Reports: a label with the raw path, the method or the host of a request, so that a scanner fills the memory."""
    for path in ("/api/none", "/api/hosts/a", "/metrics/x"):
        ego.get(path)
    ego.post("/metrics")
    before = series(ego.get("/metrics").text).keys()
    for number in range(20):
        for path in (
            f"/{number}.php",
            f"/api/hosts/none-{number}",
            f"/metrics?job={number}",
            f"/metrics/{number}",
            f"/api/x/{number}",
        ):
            ego.get(path)
        connection = http.client.HTTPConnection("127.0.0.1", ego.port, timeout=10)
        connection.request(
            f"FOO{number}", "/metrics", headers={"Host": f"h{number}.example", "User-Agent": str(number)}
        )
        connection.getresponse().read()
        connection.close()
    new = series(ego.get("/metrics").text).keys() - before
    assert {labels for _, labels in new if not dict(labels).keys() & {"status", "route"}} == set()
    assert len(new) < 40, new  # a status or a route of EGO that was not there before


def test_a_host_that_left_is_in_no_answer_any_more(ego: EgoServer) -> None:
    """Reports: series of a removed device stay until a restart."""
    hostname = unique_hostname("leaves")
    post(ego, make_sample(hostname))
    wait_until(lambda: hostname in ego.get("/metrics/fleet").text, what="the host is shown")
    assert requests.delete(f"{ego.url}/api/hosts/{hostname}", timeout=10).status_code == 204
    assert hostname not in ego.get("/metrics/fleet").text


def test_a_host_that_goes_offline_has_no_lines_and_is_counted() -> None:
    """Reports: the last values of a device that sends nothing any more are shown for ever."""
    app = create_app(Config(testing=True, stale_after_seconds=0.1, offline_after_seconds=0.2))
    client, owner = app.test_client(), app.extensions["mirror_stage"][Owner]

    def report() -> str:
        assert client.post("/api/metrics/batch", json={"samples": [make_sample("silent-01")]}).status_code == 202
        return client.get("/metrics/fleet").text

    def offline() -> float:
        owner.sweep()
        return value(client.get("/metrics").text, "mirror_stage_hosts", status="offline")

    assert 'instance="silent-01"' in report()
    wait_until(lambda: offline() == 1, what="it is offline")
    assert "silent-01" not in client.get("/metrics/fleet").text
    assert 'instance="silent-01"' in report()


def test_targets_are_json_that_prometheus_takes(ego: EgoServer) -> None:
    """Reports: a wrong content type; labels whose values are no strings; a page for people where JSON was due."""
    answer = ego.get("/api/prometheus/targets")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.json()[0]["targets"] == [f"127.0.0.1:{ego.port}"]
    for group in ego.get("/api/prometheus/targets?port=9100").json():
        assert all(isinstance(text, str) and text for text in group["labels"].values())
        assert all(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name) for name in group["labels"])
    for port in ("0", "65536", "x", ""):
        assert ego.get(f"/api/prometheus/targets?port={port}").status_code == 400


def test_while_ego_starts_its_own_figures_say_so_and_the_fleet_waits() -> None:
    client = create_app(Config(testing=True), with_storage=False).test_client()
    text = client.get("/metrics").text
    assert value(text, "mirror_stage_ready") == 0
    assert value(text, "mirror_stage_check_ok", check="twin") == 0
    assert value(text, "mirror_stage_database_up") == 0
    assert client.get("/metrics/fleet").status_code == 503


@contextmanager
def hung(server: PostgresqlServer) -> Iterator[None]:
    """Stop every process of this PostgreSQL: it neither answers nor refuses."""
    assert server.process is not None
    pid = server.process.pid
    pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    for one in pids:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in pids:
            os.kill(one, signal.SIGCONT)


def test_a_database_that_hangs_stops_no_scrape_and_is_asked_once(postgresql: PostgresqlServer, tmp_path: Path) -> None:
    """Reports: scrapes pile up behind a slow back end, time out, and hold what others need; afterwards none gets through."""
    url = postgresql.new_database()
    with running_ego(tmp_path, {"MIRROR_STAGE_DB_URL": url}) as server:
        assert value(server.get("/metrics").text, "mirror_stage_database_up") == 1
        with hung(postgresql), ThreadPoolExecutor(12) as threads:
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(url, connect_timeout=2)
            began = time.monotonic()
            answers = list(threads.map(lambda _: server.get("/metrics"), range(12)))
            assert time.monotonic() - began < 2 * PATIENCE
            for answer in answers:
                assert answer.status_code == 200
                assert value(answer.text, "mirror_stage_database_up") == 0
                assert value(answer.text, "mirror_stage_ready") == 0
                asking = value(answer.text, "mirror_stage_database_calls_in_progress", lane="requests", call="read")
                assert asking <= 1  # so readiness, and whoever else asks, finds a connection
            assert server.get("/api/health").text == "ok"
        wait_until(
            lambda: value(server.get("/metrics").text, "mirror_stage_database_up") == 1, 30, what="it is well again"
        )
        assert server.get("/api/health/ready").status_code == 200
