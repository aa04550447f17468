"""docs/contract.md, section 1, History: any range of any host's past, of several hosts and across groups, as JSON and CSV."""

from __future__ import annotations

import csv
import io
import time
from collections import defaultdict
from typing import Any
from urllib.parse import unquote

import pytest
import requests

from mirror_stage.core.instants import from_text, to_text
from mirror_stage.history.domain import METRICS_BY_NAME
from tests.builders import make_sample, unique_hostname
from tests.contract.wire import assert_problem, post
from tests.servers import EgoServer, wait_until

MINUTE, HOUR = 60, 3600


def now() -> int:
    return int(time.time())


def posted(ego: EgoServer, host: str, loads_by_second: dict[int, float], **fields: Any) -> None:
    """Samples of a host, in one batch."""
    post(ego, *(make_sample(host, at=at * 1000, cpu_percent=load, **fields) for at, load in loads_by_second.items()))


def history(ego: EgoServer, path: str, **query: Any) -> Any:
    answer = ego.get(path, params={"from" if name == "since" else name: value for name, value in query.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()


def of_host(ego: EgoServer, host: str, since: int, until: int, step: int, metrics: str = "cpuLoad") -> Any:
    span = {"since": to_text(since * 1000), "to": to_text(until * 1000), "stepSeconds": step}
    return history(ego, f"/api/hosts/{host}/history", metrics=metrics, **span)


def buckets_of(loads_by_second: dict[int, float], step: int) -> dict[int, list[float]]:
    found: dict[int, list[float]] = defaultdict(list)
    for at, load in loads_by_second.items():
        found[at - at % step].append(load)
    return found


def check(body: Any, loads_by_second: dict[int, float]) -> None:
    """Check that an answer's columns are the samples' aggregates, bucket by bucket, with gaps."""
    step, columns = body["stepSeconds"], body["metrics"]["cpuLoad"]
    expected = buckets_of(loads_by_second, step)
    assert {len(values) for values in columns.values()} == {len(body["t"])}
    for n, text in enumerate(body["t"]):
        loads = expected.pop(int(to_second(text)), [])
        assert columns["count"][n] == len(loads), text
        assert columns["min"][n] == (min(loads) if loads else None)
        assert columns["max"][n] == (max(loads) if loads else None)
        assert columns["avg"][n] == (pytest.approx(sum(loads) / len(loads), abs=0.006) if loads else None)
    assert not expected, "a bucket is missing from the answer"


def to_second(text: str) -> int:
    return from_text(text) // 1000


def test_a_range_is_answered_from_the_tier_of_its_step_without_a_hole_at_its_end(ego: EgoServer) -> None:
    host, end, ago = unique_hostname(), now(), 20 * HOUR
    loads = {end - ago * n // 300: float(n % 97) for n in range(1, 300)}  # `end` itself is for the newest
    posted(ego, host, loads)
    check(
        of_host(ego, host, end - 2 * HOUR, end + 1, 30),
        {at: load for at, load in loads.items() if at >= end - 2 * HOUR},
    )

    def is_mended() -> bool:
        counts = of_host(ego, host, end - ago, end + 1, 900)["metrics"]["cpuLoad"]["count"]
        return sum(counts) == len(loads)

    wait_until(is_mended, 30, every=0.2, what="what came late is rolled up")
    newest = {now() - 1: 50.0}
    posted(ego, host, newest)
    for step, resolution in ((10, "raw"), (MINUTE, "1m"), (10 * MINUTE, "1m"), (15 * MINUTE, "15m"), (HOUR, "15m")):
        since = end - ago if step >= MINUTE else end - 2 * HOUR
        body = of_host(ego, host, since - since % step, now(), step)
        assert (body["hostname"], body["stepSeconds"], body["resolution"]) == (host, step, resolution)
        assert to_second(body["from"]) % step == to_second(body["to"]) % step == 0
        check(body, {at: load for at, load in (loads | newest).items() if at >= since - since % step})


def test_without_a_step_there_are_about_500_points(ego: EgoServer) -> None:
    host = unique_hostname()
    posted(ego, host, {now(): 1.0})
    for hours, resolution in ((1, "raw"), (24, "1m"), (24 * 30, "15m"), (24 * 365, "15m")):
        since = to_text((now() - hours * HOUR) * 1000)
        body = history(ego, f"/api/hosts/{host}/history", since=since, metrics="cpuLoad")
        assert 150 <= len(body["t"]) <= 510
        assert body["resolution"] == resolution


def test_every_metric_has_its_past_to_the_promised_digits(ego: EgoServer) -> None:
    host, at = unique_hostname(), now() - 10
    measured = {
        "memory_used_percent": 63.25, "swap_used_percent": 1.04, "load_average": 1.725, "cpu_temperature": -3.5,
        "disks": [{"mountpoint": "/", "used_percent": 91.26}], "primary_interface_speed_mbps": 1000,
    }  # fmt: skip
    posted(ego, host, {at - 5: 12.5}, net_bytes_rx=0, net_bytes_tx=0, disk_read_bytes=0, **measured)
    counters = {"net_bytes_rx": 62_500_000, "net_bytes_tx": 6_250_000, "disk_read_bytes": 5 * 1_536}
    posted(ego, host, {at: 12.5}, **counters, **measured)
    body = history(
        ego, f"/api/hosts/{host}/history", since=to_text((at - 5) * 1000), to=to_text((at + 1) * 1000), stepSeconds=1
    )
    assert list(body["metrics"]) == list(METRICS_BY_NAME)
    last = {name: columns["max"][-1] for name, columns in body["metrics"].items()}
    assert last == {
        "cpuLoad": 12.5, "memoryUsedPercent": 63.3, "swapUsedPercent": 1.0, "loadAverage": 1.73, "cpuTemperature": -3.5,
        "gpuTemperature": None, "rxGbps": 0.1, "txGbps": 0.01, "utilization": 0.1, "fullestDiskPercent": 91.3,
        "diskReadBytesPerSecond": 2_048,
    }  # fmt: skip
    assert body["metrics"]["gpuTemperature"]["count"][-1] == 0
    assert body["metrics"]["rxGbps"]["count"] == [0, 0, 0, 0, 0, 1]


def test_several_hosts_and_groups_of_them(ego: EgoServer) -> None:
    rack, other, at = unique_hostname("rack"), unique_hostname("rack"), now() - 5
    hosts = [unique_hostname() for _ in range(21)]
    for n, host in enumerate(hosts):
        posted(ego, host, {at: float(n), at - 1: float(n)}, rack=rack if n < 20 else other, tags={"room": rack})
    span: dict[str, Any] = {"since": to_text((at - 60) * 1000), "to": to_text((at + 60) * 1000), "stepSeconds": 3600}
    asked = {"metrics": "cpuLoad,gpuTemperature", **span}
    body = history(ego, "/api/history", hostname=hosts[:2], **asked)
    assert [entry["hostname"] for entry in body["hosts"]] == hosts[:2]
    assert [max(filter(None, e["metrics"]["cpuLoad"]["max"]), default=0) for e in body["hosts"]] == [0, 1]

    body = history(ego, "/api/history", groupBy="rack", **asked)
    groups = {entry["group"]: entry for entry in body["groups"]}
    assert (groups[rack]["hosts"], groups[other]["hosts"]) == (20, 1)
    (n,) = [n for n, value in enumerate(groups[rack]["metrics"]["cpuLoad"]["mean"]) if value is not None]
    columns = groups[rack]["metrics"]["cpuLoad"]
    assert {name: values[n] for name, values in columns.items()} == {
        "mean": 9.5,
        "min": 0,
        "max": 19,
        "p95": 18,
        "hosts": 20,
    }
    assert groups[rack]["metrics"]["gpuTemperature"]["mean"] == [None] * len(body["t"])

    body = history(ego, "/api/history", groupBy="room", hostname=hosts[18:], **asked)
    assert [(entry["group"], entry["hosts"]) for entry in body["groups"]] == [(rack, 3)]
    assert history(ego, "/api/history", groupBy="all", **asked)["groups"][0]["metrics"]["cpuLoad"]["max"][n] >= 20


def test_csv_has_a_line_for_each_instant_that_has_something(ego: EgoServer) -> None:
    host, end = f"={unique_hostname()}", now() - 2
    posted(ego, host, {end - 60: 52.8, end - 30: 0.0, end: 7.0})
    query = {
        "from": to_text((end - 60) * 1000),
        "to": to_text((end + 1) * 1000),
        "stepSeconds": 1,
        "metrics": "cpuLoad",
    }
    answer = ego.get(f"/api/hosts/{host}/history", params=query | {"format": "csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert "attachment" in answer.headers["Content-Disposition"]
    head, *lines = csv.reader(io.StringIO(answer.text))
    assert head == ["time", "cpuLoad_avg", "cpuLoad_min", "cpuLoad_max", "cpuLoad_count"]
    assert [line[0] for line in lines] == [to_text(second * 1000) for second in (end - 60, end - 30, end)]
    assert [line[1] for line in lines] == ["52.8", "0.0", "7.0"]  # not 52.79999923706055
    answer = ego.get("/api/history", params=query | {"format": "csv", "hostname": [host]})
    assert next(iter(csv.reader(io.StringIO(answer.text))))[:2] == ["time", "cpuLoad_avg"]
    answer = ego.get("/api/history", params=query | {"format": "csv", "groupBy": "all", "hostname": [host]})
    assert [line[1] for line in csv.reader(io.StringIO(answer.text))][:2] == ["all", "all"]
    second = unique_hostname()
    posted(ego, second, {end: 1.0})
    answer = ego.get("/api/history", params=query | {"format": "csv", "hostname": [host, second]})
    assert {line[1] for line in csv.reader(io.StringIO(answer.text))} == {"hostname", f"'{host}", second}


def test_a_long_answer_comes_in_pages(ego: EgoServer) -> None:
    host, end = unique_hostname(), now()
    posted(ego, host, {end - 5 * HOUR: 1.0, end: 2.0})
    query = {"from": to_text((end - 5 * HOUR) * 1000), "to": to_text((end + 1) * 1000), "stepSeconds": 1}
    answer = ego.get(f"/api/hosts/{host}/history", params=query | {"metrics": "cpuLoad"})
    assert len(answer.json()["t"]) == 5 * HOUR + 1
    assert answer.headers.get("Transfer-Encoding") == "chunked"
    lines = ego.get(f"/api/hosts/{host}/history", params=query | {"format": "csv"}).text.splitlines()
    assert [line.split(",")[1] for line in lines] == ["cpuLoad_avg", "1.0", "2.0"]


NEVER, EVER = "1970-01-01T00:00:00Z", "2100-12-31T23:59:59Z"
RANGES = {
    "before everything": (NEVER, "1990-01-01T00:00:00Z"),
    "a century": (NEVER, EVER),
    "from now on": (None, EVER),
    "until now": (NEVER, None),
}
STEPS = {
    "no step": {},
    "a second": {"stepSeconds": 1},
    "an hour": {"stepSeconds": 3600},
    "a day": {"stepSeconds": 86_400},
}
# Of all hosts once for each range: what is in it are the samples of the whole suite.
ALL_HOSTS: dict[str, list[tuple[str, dict[str, str]]]] = {step: [] for step in STEPS} | {
    "a day": [("/api/history", {"groupBy": "all", "metrics": "cpuLoad"})]
}
AT_ONCE_SECONDS = 5.0  # on a busy machine too; a read that takes 2 s is cut and answered 503


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("span", RANGES)
def test_a_range_costs_what_is_in_it(ego: EgoServer, span: str, step: str) -> None:
    host, at = unique_hostname(), now() - 5
    posted(ego, host, {at: 42.0})
    since, until = RANGES[span]
    query = {"from": since or to_text((at - 60) * 1000)} | ({"to": until} if until else {}) | STEPS[step]
    for path, more in (
        (f"/api/hosts/{host}/history", {}),
        ("/api/history", {"hostname": host, "metrics": "cpuLoad"}),
        ("/api/history", {"groupBy": "all", "hostname": host}),
        ("/api/history", {"groupBy": "all", "hostname": host, "metrics": "cpuLoad"}),
        *ALL_HOSTS[step],
    ):
        for form in ("json", "csv"):
            answer = ego.get(path, params=query | more | {"format": form})
            assert answer.elapsed.total_seconds() < AT_ONCE_SECONDS, (path, more, form)
            if answer.status_code == 400:
                assert "ask for" in answer.json()["detail"], answer.text
                continue
            assert answer.status_code == 200, answer.text
            is_there, of_host = span != "before everything", "groupBy" not in more
            if form == "csv" and of_host:
                assert len(answer.text.splitlines()) == 1 + is_there
            elif of_host:
                metrics = (answer.json().get("hosts") or [answer.json()])[0]["metrics"]
                assert [value for value in metrics["cpuLoad"]["avg"] if value is not None] == [42.0] * is_there


def test_of_several_hosts_the_known_ones_are_answered_and_the_unknown_ones_are_named(ego: EgoServer) -> None:
    host, ghost = unique_hostname(), f"유령-{unique_hostname()}"
    posted(ego, host, {now() - 5: 42.0})
    asked: dict[str, Any] = {"metrics": "cpuLoad"}
    body = history(ego, "/api/history", hostname=[ghost, host], **asked)
    assert (body["unknownHosts"], [each["hostname"] for each in body["hosts"]]) == ([ghost], [host])
    body = history(ego, "/api/history", hostname=[ghost, host], groupBy="all", **asked)
    assert (body["unknownHosts"], [each["hosts"] for each in body["groups"]]) == ([ghost], [1])
    assert history(ego, "/api/history", hostname=[host], **asked)["unknownHosts"] == []
    answer = ego.get("/api/history", params=asked | {"hostname": [ghost, host], "format": "csv"})
    assert [unquote(name) for name in answer.headers["X-Unknown-Hosts"].split(", ")] == [ghost]
    assert "42.0" in answer.text
    assert_problem(ego.get("/api/history", params={"hostname": [ghost, unique_hostname()]}), 404)


def test_a_csv_opens_in_excel_with_korean_where_that_is_asked(ego: EgoServer) -> None:
    hosts = [unique_hostname("서버"), unique_hostname("서버")]
    for host in hosts:
        posted(ego, host, {now() - 5: 52.8}, memory_used_percent=33.3)
    query: dict[str, Any] = {"hostname": hosts, "format": "csv", "metrics": "cpuLoad,memoryUsedPercent"}
    plain, marked = (ego.get("/api/history", params=query | more).content for more in ({}, {"bom": 1}))
    assert not plain.startswith(b"\xef\xbb\xbf")
    assert marked.startswith(b"\xef\xbb\xbftime,")
    head, *lines = csv.reader(io.StringIO(marked.decode("utf-8-sig")))
    assert head[:2] == ["time", "hostname"]
    assert {line[1] for line in lines} == set(hosts)
    assert {cell for line in lines for cell in line[2:]} == {"52.8", "33.3", "1"}, "no number is longer than it must be"
    of_host = ego.get(f"/api/hosts/{hosts[0]}/history", params={"format": "csv", "bom": 1})
    assert of_host.content.startswith(b"\xef\xbb\xbftime,")
    problem = assert_problem(ego.get("/api/history", params=query | {"format": "json", "bom": 1}), 400)
    assert [error["field"] for error in problem["errors"]] == ["bom"]


def test_a_hub_that_nobody_reports_is_in_no_group(ego: EgoServer) -> None:
    posted(ego, unique_hostname(), {now() - 10: 10.0})
    known = ego.get("/api/hosts").json()["items"]
    assert any(host["isSynthetic"] for host in known)
    (group,) = history(ego, "/api/history", groupBy="all", metrics="cpuLoad")["groups"]
    ever_reported = "SELECT count(*) FROM host_metrics WHERE first_seen_at IS NOT NULL"  # also those removed since
    assert group["hosts"] == ego.rows(ever_reported)[0][0]


def test_a_group_says_how_many_of_its_hosts_report_at_each_point(ego: EgoServer) -> None:
    rack, at = unique_hostname("rack"), now() - 10
    hosts = [unique_hostname() for _ in range(3)]
    for n, host in enumerate(hosts):
        heat = {} if n else {"cpu_temperature": 50.0}
        posted(ego, host, {at: 10.0} if n == 2 else {at: 10.0, at + 1: 20.0}, rack=rack, **heat)
    span: dict[str, Any] = {"since": to_text((at - 1) * 1000), "to": to_text((at + 2) * 1000), "stepSeconds": 1}
    asked = {"hostname": hosts, "groupBy": "rack", "metrics": "cpuLoad,cpuTemperature", **span}
    (group,) = history(ego, "/api/history", **asked)["groups"]
    assert group["hosts"] == 3
    assert group["metrics"]["cpuLoad"]["hosts"] == [0, 3, 2]
    assert group["metrics"]["cpuTemperature"]["hosts"] == [0, 1, 1]
    assert group["metrics"]["cpuLoad"]["mean"] == [None, 10.0, 20.0]
    params = {("from" if name == "since" else name): value for name, value in asked.items()} | {"format": "csv"}
    head, *lines = csv.reader(io.StringIO(ego.get("/api/history", params=params).text))
    assert [line[head.index("cpuLoad_hosts")] for line in lines] == ["3", "2"]


BAD = {
    "a metric that does not exist": ({"metrics": "cpuLoad,coffee"}, "metrics", "coffee"),
    "no metric": ({"metrics": ","}, "metrics", "at least one"),
    "a range backwards": ({"from": "2025-11-01T02:00:00Z", "to": "2025-11-01T01:00:00Z"}, "from", "before"),
    "a range of nothing": ({"from": "2025-11-01T02:00:00Z", "to": "2025-11-01T02:00:00Z"}, "from", "before"),
    "the future": ({"from": "2100-01-01T00:00:00Z", "to": "2100-01-02T00:00:00Z"}, "from", "future"),
    "no instant": ({"from": "yesterday"}, "from", "ISO 8601"),
    "a year out of reach": ({"to": "9999-12-31T23:59:59-12:00"}, "to", "1970 to 2100"),
    "no step": ({"stepSeconds": "0"}, "stepSeconds", ""),
    "a step in words": ({"stepSeconds": "often"}, "stepSeconds", ""),
    "a format that does not exist": ({"format": "xml"}, "format", ""),
    "more than an answer can hold": (
        {"from": "2025-01-01T00:00:00Z", "stepSeconds": "60"},
        "stepSeconds",
        "larger step",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_query_is_refused_with_the_reason(sqlite_ego: EgoServer, name: str) -> None:
    query, field, words = BAD[name]
    host = unique_hostname()
    posted(sqlite_ego, host, {now(): 1.0})
    problem = assert_problem(sqlite_ego.get(f"/api/hosts/{host}/history", params=query), 400)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert words in problem["errors"][0]["message"]


def test_an_unknown_host_is_404_and_nobody_is_400(ego: EgoServer) -> None:
    assert_problem(ego.get(f"/api/hosts/{unique_hostname()}/history"), 404)
    assert_problem(ego.get("/api/history", params={"hostname": unique_hostname()}), 404)
    assert_problem(ego.get("/api/history"), 400)
    assert_problem(ego.get("/api/history", params={"groupBy": "shelf"}), 400)


def test_a_removed_host_keeps_its_history(ego: EgoServer) -> None:
    host, at = unique_hostname(), now() - 5
    posted(ego, host, {at: 42.0})
    assert ego.get(f"/api/hosts/{host}/history").status_code == 200
    assert requests.delete(f"{ego.url}/api/hosts/{host}", timeout=10).status_code == 204
    assert 42.0 in of_host(ego, host, at - 10, at + 10, 1)["metrics"]["cpuLoad"]["max"]
    assert "history" in ego.get("/api/info").json()["features"]
