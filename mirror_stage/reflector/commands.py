"""Fetches commands and sees each through: journal, run, report. As many at a time as there are free slots."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mirror_stage.reflector import family
from mirror_stage.reflector.backoff import Backoff
from mirror_stage.reflector.execution import AGENT_RESTARTED, CANCELLED, REJECTED, Ending, Execution, unrun
from mirror_stage.reflector.journal import Journal, JournalFull, Result
from mirror_stage.reflector.live import LiveReport
from mirror_stage.reflector.policy import Allowed, Denied
from mirror_stage.reflector.results import Results
from mirror_stage.reflector.uplink import Uplink, in_path

WAIT_SECONDS = 25.0  # EGO holds a poll for at most 30
LIMIT_MAX = 5  # what EGO hands out at once
PAUSE_SECONDS = 1.0  # after an answer that came at once and brought nothing: EGO has too many who wait
REPEAT_PAUSE_SECONDS = 0.2  # after one that brought only what is known (EGO has not heard yet) or refused
COMMAND_BYTES_MAX, TIMEOUT_SECONDS_MAX = 8 * 1024, 600.0  # the contract's
UNDELIVERED_MAX = 100  # results that wait; with more, nothing new is fetched
LEFTOVER_GRACE_SECONDS = 2.0
STOP_GRACE_SECONDS = 0.7  # an agent that ends has less time than a command that is cancelled

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """What EGO hands out. `fault` says what is wrong with it, if it cannot be run as it is."""

    id: str
    command: str
    timeout_seconds: float
    fault: str | None = None


def orders(body: Any, most: int) -> list[Order]:
    """The orders in EGO's answer, oldest first and at most so many. Raises ValueError where it is no list.

    What has no id that can be one is left out: it cannot be answered. The others are, whatever is wrong with them.
    """
    if not isinstance(body, list):
        raise ValueError("no list of commands")
    return [_order(row) for row in body[:most] if isinstance(row, dict) and is_id(row.get("id"))]


def is_id(what: Any) -> bool:
    """Whether this can be the id of a command. Ours are UUIDs; an EGO of another make may have others."""
    return isinstance(what, str) and _ID.match(what) is not None


def _order(row: Mapping[str, Any]) -> Order:
    command, timeout_seconds = row.get("command"), row.get("timeoutSeconds")
    fault = _fault_of(command, timeout_seconds)
    return Order(row["id"], "", 0.0, fault) if fault else Order(row["id"], str(command), float(timeout_seconds or 0))


def _fault_of(command: Any, timeout_seconds: Any) -> str | None:
    """What is wrong with a command as EGO has written it."""
    if not isinstance(command, str):
        return "the command is no text"
    try:
        size = len(command.encode())
    except UnicodeEncodeError:
        return "the command holds half of a surrogate pair"
    if size > COMMAND_BYTES_MAX:
        return f"the command has {size} bytes; at most {COMMAND_BYTES_MAX}"
    is_number = isinstance(timeout_seconds, int | float) and not isinstance(timeout_seconds, bool)
    if not is_number or not 0 < timeout_seconds <= TIMEOUT_SECONDS_MAX:
        return f"timeoutSeconds must be a number above 0 and at most {TIMEOUT_SECONDS_MAX:g}"
    return None


class Commands:
    """Runs what `judge` allows of the commands for a host; answers the others."""

    def __init__(
        self,
        hostname: str,
        uplink: Uplink,
        journal: Journal,
        judge: Callable[[str], Allowed | Denied],
        *,
        concurrency: int,
        umask: int = -1,
    ) -> None:
        self.serve(hostname)
        self._uplink, self._journal, self._judge, self._concurrency = uplink, journal, judge, concurrency
        self._umask = umask  # of what runs; -1 is the agent's own
        self._results = Results(uplink, journal)
        self._backoff = Backoff()
        self._complaint: str | None = None
        self._news = threading.Condition()
        self._running: dict[str, Execution] = {}
        self._stopped = threading.Event()

    def serve(self, hostname: str) -> None:
        """Fetch the commands for this host from the next poll on: a machine's own name may change while it runs."""
        self._path = f"/api/commands/pending/{in_path(hostname)}"

    def start(self) -> None:
        """Answer for what an earlier run has left, then fetch."""
        threading.Thread(target=self._work, name="commands", daemon=True).start()

    def stop(self, within_seconds: float) -> None:
        """End what runs, note it, and report it if EGO is quick."""
        until = time.monotonic() + within_seconds
        self._stopped.set()
        with self._news:
            for execution in self._running.values():
                execution.stop(AGENT_RESTARTED, STOP_GRACE_SECONDS)
            self._news.notify_all()
            self._news.wait_for(lambda: not self._running, max(0.0, until - time.monotonic()))
        self._results.stop(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        self._results.start()
        self._answer_for_the_former()
        while not self._stopped.is_set():
            try:
                pause_seconds = self._poll()
            except Exception:  # whatever it was, the host must not become deaf
                logger.exception("commands could not be fetched")
                pause_seconds = self._backoff.failed()
            self._stopped.wait(pause_seconds)

    def _answer_for_the_former(self) -> None:
        """What was begun and has not ended when the agent died does not run again, and does not run on either."""
        unfinished = self._journal.unfinished()
        if unfinished:
            family.end(unfinished, LEFTOVER_GRACE_SECONDS)
        for id in unfinished:
            logger.warning("command %s was under way when the former agent died", id)
            why = "the agent died while this ran; whether it did its work is not known"
            unknown = {
                "stdout": None,
                "stdoutBytes": None,
            }  # what EGO has heard of it live is more than this agent knows
            self._note(id, unrun(AGENT_RESTARTED, why).to_result() | unknown)

    def _poll(self) -> float:
        """Fetch once; the seconds to wait before the next time."""
        free = self._wait_for_slots()
        if self._stopped.is_set():
            return 0.0
        limit = min(free, LIMIT_MAX)
        asked_at = time.monotonic()
        answer = self._uplink.get(
            self._path,
            query={"limit": str(limit), "wait": f"{WAIT_SECONDS:g}"},
            headers={"X-Reflector-Instance": self._journal.instance, "X-Reflector-Journal": "1"},
            wait_seconds=WAIT_SECONDS,
        )
        if self._stopped.is_set():
            return 0.0  # what it brought is handed out again after the next start: it was never begun
        if not answer.is_taken:
            self._tell(answer.detail)
            return self._backoff.failed(answer.retry_after_seconds)
        try:
            handed = orders(answer.body, limit)
        except ValueError as error:
            self._tell(f"EGO answers with {error}")
            return self._backoff.failed()
        left_out = len(answer.body) - len(handed)
        self._tell(f"EGO hands out {left_out} more than was asked for, or without an id" if left_out else None)
        self._backoff.succeeded()
        came_at_once = time.monotonic() - asked_at < PAUSE_SECONDS
        if handed:
            return 0.0 if self._take(handed) else REPEAT_PAUSE_SECONDS
        return PAUSE_SECONDS if came_at_once else 0.0

    def _wait_for_slots(self) -> int:
        """How many commands may begin, once that is at least one."""
        with self._news:
            while not self._stopped.is_set() and self._free() <= 0:
                self._news.wait(PAUSE_SECONDS)
            return self._free()

    def _free(self) -> int:
        """How many more may run; none while so many results wait that EGO cannot be told of more."""
        return self._concurrency - len(self._running) if len(self._results) < UNDELIVERED_MAX else 0

    def _take(self, handed: list[Order]) -> bool:
        """Begin or refuse what was handed out; whether anything has begun. EGO repeats what it thinks got lost."""
        allowed: list[tuple[Order, Allowed]] = []
        fresh = {order.id: order for order in handed if not self._journal.knows(order.id)}
        for order in fresh.values():
            decision = Denied(order.fault) if order.fault else self._judge(order.command)
            if isinstance(decision, Denied):
                logger.warning("command %s is refused: %s", order.id, decision.reason)
                self._note(order.id, unrun(REJECTED, decision.reason).to_result())
            else:
                allowed.append((order, decision))
        try:
            self._journal.begin(order.id for order, _ in allowed)
        except JournalFull as error:
            for order, _ in allowed:
                logger.error("command %s is refused: %s", order.id, error)
                self._results.offer(
                    order.id, unrun(REJECTED, f"not run, because it cannot be noted: {error}").to_result()
                )
            return False
        begun = [self._begin(order, decision) for order, decision in allowed]
        for live in begun:  # until EGO has heard of it, it would hand out the same again
            live.announced.wait(PAUSE_SECONDS)
        return bool(begun)

    def _begin(self, order: Order, decision: Allowed) -> LiveReport:
        live = LiveReport(order.id, self._uplink, cancel=lambda: execution.stop(CANCELLED))
        execution = Execution(
            order.id, decision.argv, order.timeout_seconds, live.hear, note=decision.note, umask=self._umask
        )
        with self._news:
            self._running[order.id] = execution
        logger.info("command %s begins: %s", order.id, order.command)
        runs = threading.Thread(target=self._see_through, args=(order.id, execution, live), name="command", daemon=True)
        reports = threading.Thread(target=live.run, name="live report", daemon=True)
        try:
            runs.start()  # first: this is what somebody waits for
            reports.start()
        except RuntimeError as error:  # this machine has no thread left
            live.announced.set()
            logger.error("command %s: %s", order.id, error)
            if runs.ident is None:
                self._end(order.id, live, unrun(None, f"not run: {error}"))
        return live

    def _see_through(self, id: str, execution: Execution, live: LiveReport) -> None:
        try:
            ending = execution.run()
        except Exception as error:  # it must have an end, for EGO and for its slot
            logger.exception("command %s could not be attended", id)
            ending = unrun(None, f"an error of the agent's own: {error!r}")
        self._end(id, live, ending)

    def _end(self, id: str, live: LiveReport, ending: Ending) -> None:
        """Note and report an end, and give the slot back."""
        live.end()
        self._note(id, ending.to_result())
        logger.info(
            "command %s ended: %s %s", id, ending.status, ending.reason or ending.signal or f"exit {ending.exit_code}"
        )
        with self._news:
            del self._running[id]
            self._news.notify_all()

    def _note(self, id: str, result: Result) -> None:
        """Note how a command ended, and have it reported."""
        try:
            self._journal.end(id, result)
        except JournalFull as error:
            logger.error("the result of %s would be lost in a crash: %s", id, error)
        self._results.offer(id, result)

    def _tell(self, complaint: str | None) -> None:
        """Log that no commands can be fetched, with the reason, once."""
        if complaint is not None and complaint != self._complaint:
            logger.warning("commands cannot be fetched: %s", complaint)
        self._complaint = complaint
