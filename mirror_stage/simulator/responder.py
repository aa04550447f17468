"""Answers commands for the hosts of a fleet: one long poll per host, live output, and results sent until EGO takes them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import quote

import gevent
import orjson
from gevent.event import Event
from gevent.pool import Pool

from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.simulator.answers import Script, answer
from mirror_stage.simulator.behaviour import Behaviour
from mirror_stage.simulator.client import Client, Unanswered
from mirror_stage.simulator.signals import Moment
from mirror_stage.simulator.tally import Tally

POLL_SECONDS = 25.0  # the contract allows at most 30
POLL_GRACE_SECONDS = 10.0
SLOTS = 4  # commands that a host runs at once
TICK_SECONDS = 0.25  # at most 4 chunks of output a second
HEARTBEAT_SECONDS = 1.0  # so a cancel is noticed within this time
CHUNK_CHARACTERS = 4_000  # at most 16 KiB in UTF-8
PAUSE_SECONDS = 5.0  # if EGO answers a poll at once and empty, or not at all
ARRIVALS_PER_SECOND = 250.0  # how fast the hosts of a large fleet begin to poll
STOP_SECONDS = 2.0
FIRST_PAUSE_SECONDS = 0.5  # before a result is sent again; doubled each time
AGAIN_STATUSES = (429, 503, 504)
GONE_STATUSES = (404, 409)  # the command is removed, lost, or already reported
GONE: Final[dict[str, Any]] = {}


class Responder:
    """Long-polls for every machine and simulates the commands that come."""

    def __init__(self, connect: Callable[[], Client], behaviours: Sequence[Behaviour], clock: Clock, tally: Tally):
        self._hosts = [Host(connect, behaviour, clock, tally) for behaviour in behaviours]
        self._greenlets: list[gevent.Greenlet] = []

    def start(self) -> None:
        """Begin to poll, one host after the other."""
        for place, host in enumerate(self._hosts):
            self._greenlets.append(gevent.spawn_later(place / ARRIVALS_PER_SECOND, host.poll))

    def stop(self) -> None:
        """Stop polling, and report running commands as `agent_restarted`."""
        gevent.killall(self._greenlets, block=True, timeout=STOP_SECONDS)
        gevent.joinall([greenlet for host in self._hosts for greenlet in host.stop()], timeout=STOP_SECONDS)


class Host:
    """One machine's side of the command queue."""

    def __init__(self, connect: Callable[[], Client], behaviour: Behaviour, clock: Clock, tally: Tally):
        self._connect, self._behaviour, self._clock, self._tally = connect, behaviour, clock, tally
        self._path = f"/api/commands/pending/{quote(behaviour.machine.hostname)}?wait={POLL_SECONDS:g}&limit="
        self._running = Pool(SLOTS)
        self._stopping = Event()

    def poll(self) -> None:
        """Fetch commands and start them, for ever."""
        client = self._connect()
        while True:
            self._running.wait_available()
            self._wait_while_silent()
            asked = elapsed_seconds()
            try:
                path = f"{self._path}{self._running.free_count()}"
                given = client.get(path, POLL_SECONDS + POLL_GRACE_SECONDS)
                items = given.json if given.status == 200 else []
            except Unanswered:
                items = []
            for item in items:
                self._running.spawn(self._execute, item["id"], item["command"], item["timeoutSeconds"])
            if not items and elapsed_seconds() - asked < POLL_SECONDS / 2:
                gevent.sleep(PAUSE_SECONDS * random.uniform(0.8, 1.2))

    def stop(self) -> Pool:
        """Ask the running commands to end. Returns them, for the caller to wait for."""
        self._stopping.set()
        return self._running

    def _execute(self, id: str, command: str, timeout_seconds: float) -> None:
        """Run one command to its end and report its result."""
        script = answer(self._behaviour.machine, self._behaviour.vitals(Moment(self._clock.now())), command)
        client = self._connect()
        try:
            result = self._perform(client, f"/api/commands/{id}", Play(script, timeout_seconds))
            if result is not None:
                self._tally.commands[result["status"]] += 1
                self._report(client, f"/api/commands/{id}/result", result)
        finally:
            client.close()

    def _perform(self, client: Client, path: str, play: Play) -> dict[str, Any] | None:
        """The result of a command, which is reported live meanwhile; None if EGO no longer knows the command."""
        began = heard = elapsed_seconds()
        lease = self._post(client, f"{path}/heartbeat", {"phase": "started"})
        while True:
            now = elapsed_seconds()
            play.go_on(now - began)
            chunk = play.next_chunk()
            if chunk is not None:
                lease, heard = self._post(client, f"{path}/output", chunk), now
            elif now - heard >= HEARTBEAT_SECONDS:
                lease, heard = self._post(client, f"{path}/heartbeat", {"phase": "running"}), now
            if lease is GONE:
                return None
            if lease.get("cancelRequested"):
                return play.result(now - began, "failed", "cancelled")
            if play.is_over(now - began):
                return play.ended(now - began)
            if self._stopping.wait(TICK_SECONDS if chunk is not None else play.pause(now - began)):
                return play.result(now - began, "failed", "agent_restarted")

    def _post(self, client: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """EGO's answer; GONE if the command is no longer ours, an empty dict if no good answer came."""
        self._wait_while_silent()
        try:
            reply = client.post(path, orjson.dumps(body))
            if reply.status in GONE_STATUSES:
                return GONE
            return dict(reply.json) if reply.status == 200 else {}
        except Unanswered:
            return {}

    def _report(self, client: Client, path: str, result: dict[str, Any]) -> None:
        """Send a result until EGO takes or refuses it."""
        body, pause = orjson.dumps(result), FIRST_PAUSE_SECONDS
        while True:
            self._wait_while_silent()
            try:
                if client.post(path, body).status not in AGAIN_STATUSES:
                    return
            except Unanswered:
                pass
            if self._stopping.wait(pause):
                return
            pause = min(2 * pause, PAUSE_SECONDS)

    def _wait_while_silent(self) -> None:
        while self._behaviour.is_silent(self._clock.now()) and not self._stopping.wait(1.0):
            pass


class Play:
    """A script that is being played, until its end or its timeout, with the output so far and the part not yet sent."""

    def __init__(self, script: Script, timeout_seconds: float):
        self._script, self._seconds = script, min(script.seconds, timeout_seconds)
        self._to_come = deque(script.lines)
        self._printed = {"stdout": "", "stderr": ""}
        self._unsent: deque[tuple[str, str]] = deque()
        self._seq = 0

    def go_on(self, elapsed: float) -> None:
        """Print the lines that are due."""
        while self._to_come and self._to_come[0].after <= min(elapsed, self._seconds):
            line = self._to_come.popleft()
            self._printed[line.stream] += line.text
            self._unsent.append((line.stream, line.text))

    def next_chunk(self) -> dict[str, Any] | None:
        """The next piece of output to send: as many consecutive lines of one stream as fit; None if there is none."""
        if not self._unsent:
            return None
        stream, text = self._unsent.popleft()
        while self._unsent and self._unsent[0][0] == stream and len(text) < CHUNK_CHARACTERS:
            text += self._unsent.popleft()[1]
        if len(text) > CHUNK_CHARACTERS:
            self._unsent.appendleft((stream, text[CHUNK_CHARACTERS:]))
        self._seq += 1
        return {"seq": self._seq, "stream": stream, "data": text[:CHUNK_CHARACTERS]}

    def is_over(self, elapsed: float) -> bool:
        """Whether the command has ended and all its output is sent."""
        return elapsed >= self._seconds and not self._unsent

    def pause(self, elapsed: float) -> float:
        """Seconds until there may be more to do."""
        until = self._to_come[0].after if self._to_come else self._seconds
        return min(max(until - elapsed, 0.0), HEARTBEAT_SECONDS)

    def ended(self, elapsed: float) -> dict[str, Any]:
        """The report of a command that ended by itself or by its timeout."""
        if self._script.seconds > self._seconds:
            return self.result(elapsed, "timeout", "exec_timeout")
        exit_code = self._script.exit_code
        return self.result(elapsed, "failed" if exit_code else "succeeded") | {"exitCode": exit_code}

    def result(self, elapsed: float, status: str, reason: str | None = None) -> dict[str, Any]:
        """A report without an exit code: a command that was stopped has none."""
        report = {"status": status, "durationSeconds": round(elapsed, 3), **self._printed}
        return report if reason is None else report | {"reason": reason}
