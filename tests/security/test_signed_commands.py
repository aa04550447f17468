"""Signed commands with a real EGO and a real agent: who stands between, or writes into the database, gets nothing run."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import requests

import mirror_stage.app  # noqa: F401  # each command is a fork, and need not import it again
from mirror_stage.commands.models import CommandRow
from tests.command_line import forked
from tests.faults import print_figures, short_and_full
from tests.faults.agents import command, create
from tests.reflector.processes import AgentProcess, running_agent
from tests.servers import EgoServer, running_ego, wait_until

Row = dict[str, Any]
PENDING_MAX = 100  # of a host


def root_key(ego: EgoServer) -> str:
    return (ego.folder / "ego.tls/signing-root.pub").read_text().strip()


def trusting(ego: EgoServer) -> tuple[str, ...]:
    """The flags of an agent that runs every command that this EGO has signed."""
    return ("--allow-commands", "--ego-signing-key", root_key(ego), "--interval-seconds", "1")


def run(ego: EgoServer, words: str) -> str:
    """What a command prints, at EGO's own machine."""
    ended = forked(words.split(), cwd=ego.folder, env=ego.environment)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


class Between:
    """A man in the middle: passes everything on, and changes what EGO hands out. He wants `forged` to run."""

    def __init__(self, port: int, ego: EgoServer, forged: str) -> None:
        self.url, self._ego, self._forged = f"http://127.0.0.1:{port}", ego, forged
        self.tries: Counter[str] = Counter()
        self._seen: list[Row] = []
        self._turn = 0

    def attacked(self, rows: list[Row]) -> list[Row]:
        """The answer that the agent gets instead, one kind of attack after the other."""
        kinds = (self._edited, self._edited_outside, self._replayed, self._duplicated, self._reordered, self._swapped)
        self._turn += bool(rows)
        kind = kinds[self._turn % len(kinds)]
        answer = kind([dict(row) for row in rows])
        if rows:
            self.tries[kind.__name__.strip("_")] += len(rows)
            self._seen = (self._seen + rows)[-200:]
        return answer

    def _edited(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            signed = row["signed"]
            statement = json.loads(base64.b64decode(signed["payload"])) | {"command": self._forged}
            payload = base64.b64encode(json.dumps(statement).encode()).decode()
            row |= {"command": self._forged, "signed": signed | {"payload": payload}}
        return rows

    def _edited_outside(self, rows: list[Row]) -> list[Row]:
        return [row | {"command": self._forged, "timeoutSeconds": 600} for row in rows]

    def _replayed(self, rows: list[Row]) -> list[Row]:
        old = [row | {"id": str(uuid.uuid4())} for row in self._seen[-1:]] + self._seen[:1]
        return old + rows if rows else rows

    def _duplicated(self, rows: list[Row]) -> list[Row]:
        return [one for row in rows for one in (row, row, row | {"id": str(uuid.uuid4())})]

    def _reordered(self, rows: list[Row]) -> list[Row]:
        return rows[::-1]

    def _swapped(self, rows: list[Row]) -> list[Row]:
        """The signatures of one another, or none."""
        return [row | {"signed": other.get("signed")} for row, other in zip(rows, [*rows[1:], {}], strict=True)]

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> requests.Response:
        kept = {
            name: value
            for name, value in headers.items()
            if name.lower() not in {"host", "content-length", "connection"}
        }
        return requests.request(method, self._ego.url + path, headers=kept, data=body, timeout=60)


@contextlib.contextmanager
def between(ego: EgoServer, forged: str) -> Iterator[Between]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                reply = man.pass_on(self.command, self.path, dict(self.headers), body)
            except requests.RequestException:
                return
            content = reply.content
            if "/pending/" in self.path and reply.status_code == 200:
                content = json.dumps(man.attacked(reply.json())).encode()
            self.send_response(reply.status_code)
            self.send_header("Content-Type", reply.headers.get("Content-Type", "text/plain"))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = serve

        def log_message(self, *_: Any) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(OSError):
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        man = Between(server.server_port, ego, forged)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield man
        finally:
            server.shutdown()
            server.block_on_close = False


def is_over(ego: EgoServer, hostname: str) -> bool:
    """Whether no command of a host waits or runs."""
    return not ego.rows(
        "SELECT 1 FROM commands WHERE hostname = ? AND status IN ('pending', 'running') LIMIT 1", hostname
    )


def queue(ego: EgoServer, hostname: str, runs: Path, count: int) -> None:
    """Queue commands that each write a line of their own, as fast as the host takes them."""
    for number in range(count):
        if number >= PENDING_MAX:
            wait_until(lambda: _pending(ego, hostname) < PENDING_MAX, 60)
        create(ego, hostname, command=f"sh -c 'echo {number} >>{runs}'")


def _pending(ego: EgoServer, hostname: str) -> int:
    return int(ego.rows("SELECT count(*) FROM commands WHERE hostname = ? AND status = 'pending'", hostname)[0][0])


@pytest.mark.parametrize("count", short_and_full(50, 500))
def test_a_man_in_the_middle_gets_nothing_run(tmp_path: Path, count: int) -> None:
    forged, runs = tmp_path / "forged", tmp_path / "runs"
    runs.touch()
    with (
        running_ego(tmp_path) as ego,
        between(ego, f"touch {forged}") as man,
        running_agent(tmp_path, man.url, *trusting(ego)) as agent,
    ):
        queue(ego, agent.hostname, runs, count)
        wait_until(lambda: is_over(ego, agent.hostname), 60 + count, what="all commands are over")
        ran = Counter(runs.read_text().split())
        print_figures(
            "T22 between",
            commands=count,
            attacks=sum(man.tries.values()),
            honest_runs=len(ran),
            forged_runs=int(forged.exists()),
        )
        assert sum(man.tries.values()) >= count, "the attacks happened"
        assert set(man.tries) == {"edited", "edited_outside", "replayed", "duplicated", "reordered", "swapped"}
        assert not forged.exists()
        assert set(ran.values()) == {1}, "no command ran twice"
        assert 0 < len(ran) < count, "what was left alone ran, and what was changed did not"


def written(ego: EgoServer, like: str, marker: str, signed: str = "NULL") -> None:
    """Write a pending row into EGO's database, as somebody would who may write it; `signed` is SQL."""
    copied = ", ".join(
        sorted(
            {column.name for column in CommandRow.__table__.c}
            - {"seq", "id", "command", "idempotency_key", "signed", "status"}
        )
    )
    ego.rows(
        f"INSERT INTO commands (id, command, status, signed, {copied}) "
        f"SELECT ?, ?, 'pending', {signed}, {copied} FROM commands WHERE id = ?",
        str(uuid.uuid4()), f"touch {marker}", like,
    )  # fmt: skip


@pytest.mark.parametrize("count", short_and_full(50, 500))
def test_rows_that_somebody_writes_into_the_database_do_not_run(tmp_path: Path, count: int) -> None:
    forged = tmp_path / "forged"
    with running_ego(tmp_path) as ego, running_agent(tmp_path, ego.url, *trusting(ego)) as agent:
        honest = create(ego, agent.hostname, command="echo honest", expiresInSeconds=3600)
        wait_until(lambda: command(ego, honest)["status"] == "succeeded")
        agent.stop()
        changed = create(ego, agent.hostname, command="echo changed")
        pending = create(ego, agent.hostname, command="echo cancelled")
        ego.post(f"/api/commands/{pending}/cancel")
        ego.rows("UPDATE commands SET command = ?, timeout_seconds = 600 WHERE id = ?", f"touch {forged}", changed)
        for number in range(count):
            written(ego, pending, str(forged), "signed" if number % 2 else "NULL")
        ego.rows("UPDATE commands SET completed_at = NULL, reason = NULL WHERE status = 'pending'")
        agent.start()
        wait_until(lambda: is_over(ego, agent.hostname), 60 + count, what="all commands are over")
        assert command(ego, changed)["stdout"] == "changed\n", "it ran as it was signed"
        ended = ego.rows(
            "SELECT reason, stderr FROM commands WHERE hostname = ? AND id NOT IN (?, ?, ?)",
            agent.hostname,
            honest,
            changed,
            pending,
        )
        assert len(ended) == count
        assert {reason for reason, _ in ended} == {"rejected"}
        said = Counter("EGO has not signed it" in text for _, text in ended)
        assert said == {True: (count + 1) // 2, False: count // 2}
        assert not forged.exists()
        print_figures("T22 rows", rows=count, executions=int(forged.exists()))


def test_a_cancel_that_somebody_writes_into_the_database_ends_nothing(tmp_path: Path) -> None:
    with running_ego(tmp_path) as ego, running_agent(tmp_path, ego.url, *trusting(ego)) as agent:
        id = create(ego, agent.hostname, command="sh -c 'sleep 3; echo whole'")
        wait_until(lambda: command(ego, id)["status"] == "running")
        ego.rows("UPDATE commands SET cancel_requested = 1 WHERE id = ?", id)
        wait_until(lambda: command(ego, id)["status"] != "running", 15)
        assert command(ego, id)["stdout"] == "whole\n"
        assert "a cancel that EGO has not signed is ignored" in agent.log
        id = create(ego, agent.hostname, command="sleep 60")
        wait_until(lambda: command(ego, id)["status"] == "running")
        assert ego.post(f"/api/commands/{id}/cancel").status_code == 202
        wait_until(lambda: command(ego, id)["reason"] == "cancelled", 15)


def test_the_kill_switch_of_the_command_line_ends_what_runs_within_5_seconds(tmp_path: Path) -> None:
    with running_ego(tmp_path) as ego, running_agent(tmp_path, ego.url, *trusting(ego)) as agent:
        id = create(ego, agent.hostname, command="sleep 60")
        wait_until(lambda: command(ego, id)["status"] == "running")
        assert "dispatch is stopped" in run(ego, "dispatch stop --reason drill")
        began = monotonic()
        asked = ego.post("/api/commands", json={"hostname": agent.hostname, "command": "true"})
        assert (asked.status_code, "drill" in asked.json()["detail"]) == (409, True)
        wait_until(lambda: command(ego, id)["reason"] == "cancelled", 5)
        took = monotonic() - began
        print_figures("kill switch", seconds=took)
        assert took < 5, "the promise"
        assert not ego.get("/api/health/ready").json()["checks"]["dispatch"]["ok"]
        ego.stop()
        ego.start()
        assert ego.get("/api/info").json()["dispatch"]["reason"] == "drill"
        assert ego.get(f"/api/commands/pending/{agent.hostname}").status_code == 503
        assert "commands are handed out" in run(ego, "dispatch resume")
        id = create(ego, agent.hostname, command="true")
        wait_until(lambda: command(ego, id)["status"] == "succeeded", 40)


def test_after_an_old_backup_was_restored_old_commands_do_not_run_and_new_ones_do(tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    def ran(agent: AgentProcess, text: str = "true") -> str:
        id = create(ego, agent.hostname, command=text)
        wait_until(lambda: command(ego, id)["status"] == "succeeded", 40)
        return id

    with running_ego(tmp_path) as ego, running_agent(tmp_path, ego.url, *trusting(ego)) as agent:
        ran(agent)
        agent.stop()
        old = create(ego, agent.hostname, command=f"touch {marker}")
        run(ego, "db backup ego.backup")
        ego.post(f"/api/commands/{old}/cancel")
        agent.start()
        ran(agent)
        agent.stop()
        ego.stop()
        run(ego, "db restore ego.backup --force")
        ego.start()
        assert command(ego, old)["status"] == "pending", "the backup has resurrected it"
        agent.start()
        wait_until(lambda: command(ego, old)["status"] == "failed", 20)
        assert "somebody repeats old ones" in command(ego, old)["stderr"]
        assert not marker.exists()
        ran(agent, f"touch {marker}")
        assert marker.exists()


def test_a_new_online_key_needs_no_word_to_the_agent(tmp_path: Path) -> None:
    with running_ego(tmp_path) as ego, running_agent(tmp_path, ego.url, *trusting(ego)) as agent:
        until = json.loads(run(ego, "signing show --json"))["onlineUntil"]
        assert "EGO signs with a new online key" in run(ego, "signing rotate")
        assert json.loads(run(ego, "signing show --json"))["onlineUntil"] > until
        wait_until(lambda: "EGO signs with another online key" in ego.log, 15)
        id = create(ego, agent.hostname, command="true")
        wait_until(lambda: command(ego, id)["status"] == "succeeded")
