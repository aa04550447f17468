"""The contract's shapes as literals, and short functions that most tests use to talk to a running EGO."""

from __future__ import annotations

import itertools
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import psycopg
import requests

from tests.builders import make_sample, unique_hostname
from tests.servers import EgoServer, wait_until


@dataclass
class KeepingEgo(EgoServer):
    """An EgoServer that keeps one connection for each thread: this suite sends 15,000 requests."""

    _of_thread: threading.local = field(default_factory=threading.local, repr=False)

    @property
    def _session(self) -> requests.Session:
        if not hasattr(self._of_thread, "session"):
            self._of_thread.session = requests.Session()
            self._of_thread.session.trust_env = False  # a third of a request's CPU time goes into looking for proxies
        session: requests.Session = self._of_thread.session
        return session

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        return self._session.get(self.url + path, timeout=kwargs.pop("timeout", 30), **kwargs)

    def post(self, path: str, **kwargs: Any) -> requests.Response:
        return self._session.post(self.url + path, timeout=kwargs.pop("timeout", 30), **kwargs)


INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

SNAPSHOT_KEYS = {"type", "twinId", "epoch", "revision", "generatedAt", "hosts", "links"}
HOST_KEYS = {
    "hostname", "displayName", "label", "role", "ip", "status", "severity", "isSynthetic", "lastSeen", "agentVersion",
    "platform", "rack", "room", "tier", "uplink", "position", "positionSource", "metrics",
}  # fmt: skip
METRIC_KEYS = {
    "cpuLoad", "memoryUsedPercent", "loadAverage", "uptimeSeconds", "cpuTemperature", "gpuTemperature",
    "memoryTotalBytes", "memoryAvailableBytes", "swapUsedPercent", "netBytesTx", "netBytesRx", "netThroughputGbps",
    "netCapacityGbps", "diskReadBytesPerSecond", "fullestDiskPercent", "diskDaysToFull",
}  # fmt: skip
LINK_KEYS = {
    "id", "source", "target", "throughputGbps", "rxGbps", "txGbps", "utilization", "capacityGbps", "measured",
}  # fmt: skip
DETAIL_KEYS = HOST_KEYS | {
    "hardware",
    "diagnostics",
    "firstSeen",
    "reportedAt",
    "commandPolicy",
    "lastPollAt",
    "pinned",
}
DIAGNOSTICS_KEYS = {"cpuPerCore", "swapUsedPercent", "disks", "interfaces", "topProcesses", "temperatures", "tags"}
ALERT_KEYS = {
    "id", "hostname", "severity", "metric", "subject", "message", "threshold", "currentValue", "peakValue", "status", "createdAt",
    "updatedAt", "resolvedAt", "resolvedReason", "rule", "measure", "unit", "state", "unknownSince", "ack", "cause", "groupId",
    "suppressedBy",
}  # fmt: skip
COMMAND_KEYS = {
    "id", "hostname", "command", "timeoutSeconds", "status", "reason", "requestedAt", "startedAt", "completedAt",
    "expiresAt", "leaseUntil", "exitCode", "signal", "stdout", "stderr", "stdoutBytes", "stderrBytes", "truncated", "late",
    "durationSeconds", "cancelRequested", "deliverable", "metadata", "requestedBy", "retryOf", "version", "updatedAt",
}  # fmt: skip
CLAIM_KEYS = {"id", "command", "timeoutSeconds", "expiresAt", "leaseUntil", "signed"}
PAGE_KEYS = {"items", "total", "page", "pageSize"}
PROBLEM_KEYS = {"type", "title", "status", "detail", "statusCode", "message", "error"}

SAMPLE_GAUGES = {  # by their decimals
    "cpuLoad": 1, "memoryUsedPercent": 1, "loadAverage": 1, "cpuTemperature": 1, "gpuTemperature": 1,
    "fullestDiskPercent": 1, "diskReadBytesPerSecond": 0,
}  # fmt: skip
DELTA_COLUMNS = ("status", "ageSeconds", *SAMPLE_GAUGES, "rxGbps", "txGbps", "utilization")
DELTA_KEYS = {"epoch", "revision", "previous", "generatedAt", "removed", "upserted", "slots", *DELTA_COLUMNS}

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


def assert_problem(answer: requests.Response, status: int, *, naming: str | None = None) -> dict[str, Any]:
    """The body of a refusal, after checking that it is one of the contract's form. `naming`: a field that it blames."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:400]}"
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem.keys() - {"errors"} == PROBLEM_KEYS
    assert problem["status"] == problem["statusCode"] == status
    assert problem["title"] == problem["error"] == HTTPStatus(status).phrase
    assert problem["detail"] == problem["message"] != ""
    assert "Traceback" not in answer.text
    if status in {429, 503}:
        assert int(answer.headers["Retry-After"]) >= 1
    for row in problem.get("errors", []):
        assert row.keys() - {"index"} == {"field", "message"}
        assert row["message"]
    if naming is not None:
        assert naming in {row["field"] for row in problem.get("errors", [])}, problem
    return problem


def instant(text: str) -> datetime:
    """An instant of the wire as a datetime."""
    assert INSTANT.match(text), text
    return datetime.fromisoformat(text)


def now() -> datetime:
    """The current time by this machine's clock."""
    return datetime.now(UTC)


def ago(seconds: float, since: datetime | None = None) -> str:
    """The instant `seconds` before now or `since` (after it, if negative), as agents write it."""
    return ((since or now()) - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def post(ego: EgoServer, *samples: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """The receipt of samples that must be accepted."""
    answer = ego.post_samples(*samples, **kwargs)
    assert answer.status_code == 202, answer.text[:400]
    receipt: dict[str, Any] = answer.json()
    return receipt


# ------------------------------------------------------------------ the twin


def snapshot(ego: EgoServer) -> dict[str, Any]:
    """The twin's snapshot."""
    answer = ego.get("/api/twin/state")
    assert answer.status_code == 200, answer.text[:400]
    found: dict[str, Any] = answer.json()
    return found


def host_of(frame: dict[str, Any], hostname: str) -> dict[str, Any] | None:
    """A host's entry in a snapshot, None if it is not there."""
    found = [host for host in frame["hosts"] if host["hostname"] == hostname]
    assert len(found) <= 1, f"{hostname} stands there {len(found)} times"
    return found[0] if found else None


def link_of(frame: dict[str, Any], hostname: str) -> dict[str, Any]:
    """The one link that a host hangs from."""
    (found,) = [link for link in frame["links"] if link["target"] == hostname]
    return found


_marks = itertools.count(1)


def settled(ego: EgoServer) -> dict[str, Any]:
    """A snapshot that shows everything that was acknowledged before this call.

    Samples are folded in the order of their acknowledgement, so one that is sent now is the last to be seen.
    """
    mark = float(next(_marks))
    post(ego, make_sample("the-marker", load_average=mark))

    host_when(ego, "the-marker", lambda marker: marker["metrics"]["loadAverage"] == mark)
    return snapshot(ego)


def shown(ego: EgoServer, hostname: str) -> dict[str, Any]:
    """A host's entry once everything acknowledged is seen."""
    found = host_of(settled(ego), hostname)
    assert found is not None, f"{hostname} is not in the snapshot"
    return found


def host_when(
    ego: EgoServer, hostname: str, condition: Callable[[dict[str, Any]], bool], seconds: float = 5
) -> dict[str, Any]:
    """A host's entry as soon as it meets a condition. Reads this host alone: the suite's whole snapshot is long."""

    def found() -> dict[str, Any] | None:
        items = ego.get("/api/hosts", params={"search": hostname}).json()["items"]
        return next((item for item in items if item["hostname"] == hostname and condition(item)), None)

    entry: dict[str, Any] = wait_until(found, seconds, every=0.05, what=f"{hostname} is as it should be")
    return entry


def detail(ego: EgoServer, hostname: str) -> dict[str, Any]:
    """A host with its hardware and diagnostics."""
    answer = ego.get(f"/api/hosts/{hostname}")
    assert answer.status_code == 200, answer.text[:400]
    found: dict[str, Any] = answer.json()
    return found


# ------------------------------------------------------------------ alerts


def ungrouped(alert: dict[str, Any] | None) -> dict[str, Any] | None:
    """An alert without the id of its group, which it gets a moment after it has fired."""
    return None if alert is None else {key: value for key, value in alert.items() if key != "groupId"}


def active_alerts(ego: EgoServer, hostname: str) -> dict[str, dict[str, Any]]:
    """A host's active alerts by metric."""
    answer = ego.get("/api/alerts/active")
    assert answer.status_code == 200, answer.text[:400]
    found = [alert for alert in answer.json() if alert["hostname"] == hostname]
    by_metric = {alert["metric"]: alert for alert in found}
    assert len(by_metric) == len(found), "two active alerts for one host and metric"
    return by_metric


# ------------------------------------------------------------------ commands


def create(ego: EgoServer, hostname: str, command: str = "uptime", **fields: Any) -> dict[str, Any]:
    """Create a command, which must be accepted, and return it."""
    answer = ego.post("/api/commands", json={"hostname": hostname, "command": command} | fields)
    assert answer.status_code == 201, answer.text[:400]
    found: dict[str, Any] = answer.json()
    return found


def claim(ego: EgoServer, hostname: str, headers: dict[str, str] | None = None, **query: Any) -> list[dict[str, Any]]:
    """The commands that a poll of this host gets."""
    answer = ego.get(f"/api/commands/pending/{hostname}", params=query, headers=headers)
    assert answer.status_code == 200, answer.text[:400]
    found: list[dict[str, Any]] = answer.json()
    assert isinstance(found, list)
    return found


def command(ego: EgoServer, command_id: str) -> dict[str, Any]:
    """A command as it is now."""
    answer = ego.get(f"/api/commands/{command_id}")
    assert answer.status_code == 200, answer.text[:400]
    found: dict[str, Any] = answer.json()
    return found


def events(ego: EgoServer, command_id: str) -> list[dict[str, Any]]:
    """A command's transitions, oldest first, whatever envelope they come in."""
    answer = ego.get(f"/api/commands/{command_id}/events")
    assert answer.status_code == 200, answer.text[:400]
    found = answer.json()
    rows: list[dict[str, Any]] = found["items"] if isinstance(found, dict) else found
    return rows


def act(ego: EgoServer, command_id: str, what: str, body: dict[str, Any] | None = None) -> requests.Response:
    """The answer to `result`, `heartbeat`, `output` or `cancel`."""
    return ego.post(f"/api/commands/{command_id}/{what}", json={} if body is None else body)


def pending_command(ego: EgoServer, **fields: Any) -> str:
    """The id of a pending command."""
    return str(create(ego, unique_hostname("queue"), **fields)["id"])


def running_command(ego: EgoServer, **fields: Any) -> str:
    """The id of a command that was handed out."""
    hostname = unique_hostname("queue")
    command_id = create(ego, hostname, **fields)["id"]
    assert [item["id"] for item in claim(ego, hostname)] == [command_id]
    return str(command_id)


def finished_command(ego: EgoServer, **result: Any) -> str:
    """The id of a command that ended."""
    command_id = running_command(ego)
    answer = act(ego, command_id, "result", {"status": "succeeded", "exitCode": 0} | result)
    assert answer.status_code == 201, answer.text[:400]
    return command_id


def lost_command(ego: EgoServer) -> str:
    """The id of a lost command: its agent vanished."""
    command_id = running_command(ego)
    end_lease(ego, command_id)
    wait_until(lambda: command(ego, command_id)["status"] == "timeout", 6, what="the lease is noticed to be over")
    return command_id


def expired_command(ego: EgoServer) -> str:
    """The id of a command that nobody fetched in time."""
    command_id = pending_command(ego, expiresInSeconds=0.2)
    wait_until(lambda: command(ego, command_id)["status"] == "timeout", 6, what="the expiry is noticed")
    return command_id


def end_lease(ego: EgoServer, command_id: str) -> None:
    """Put a lease into the past, as if its agent had been silent. The test cannot wait: a lease lasts at least a minute."""
    statement = f"UPDATE commands SET lease_until = lease_until - 3600000 WHERE id = '{command_id}'"
    url = ego.settings.get("MIRROR_STAGE_DB_URL")
    if url is not None:
        with psycopg.connect(url, autocommit=True) as connection:
            assert connection.execute(statement).rowcount == 1
        return
    connection = sqlite3.connect(ego.folder / "ego.db", timeout=10)
    try:
        assert connection.execute(statement).rowcount == 1
        connection.commit()
    finally:
        connection.close()


def elapsed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` returns, and the seconds that it took."""
    started = time.monotonic()
    answer = work()
    return answer, time.monotonic() - started
