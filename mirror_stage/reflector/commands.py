"""Fetches commands from EGO, notes each in the journal, runs it and reports its result. Runs as many at once as allowed."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mirror_stage.core.signed import Unproved
from mirror_stage.reflector import family
from mirror_stage.reflector.account import Account
from mirror_stage.reflector.backoff import Backoff
from mirror_stage.reflector.execution import AGENT_RESTARTED, CANCELLED, REJECTED, Ending, Execution, unrun
from mirror_stage.reflector.journal import Journal, JournalFull, Result
from mirror_stage.reflector.live import LiveReport
from mirror_stage.reflector.policy import Allowed, Denied
from mirror_stage.reflector.proof import Proof
from mirror_stage.reflector.results import Results
from mirror_stage.reflector.uplink import Uplink, in_path

WAIT_SECONDS = 25.0  # EGO holds a poll open for at most 30 s
LIMIT_MAX = 5  # EGO hands out at most so many in one answer
PAUSE_SECONDS = 1.0  # after an empty answer that came at once: too many agents already poll EGO
REPEAT_PAUSE_SECONDS = 0.2  # after an answer with only refused commands, or known ones that EGO repeats
COMMAND_BYTES_MAX, TIMEOUT_SECONDS_MAX = 8 * 1024, 600.0  # limits of docs/contract.md
UNDELIVERED_MAX = 100  # waiting results; from here on the agent fetches no new commands
LEFTOVER_GRACE_SECONDS = 2.0
UNKNOWN_HERE = 401  # EGO does not know the credential, or it was suspended or revoked
STOP_GRACE_SECONDS = 0.7  # shorter than for a cancelled command: the agent itself must end soon

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """One command from EGO. `fault` says why it is not valid; None if it is. `signed` is what EGO says to have signed."""

    id: str
    command: str
    timeout_seconds: float
    fault: str | None = None
    signed: Any = None


def orders(body: Any, most: int) -> list[Order]:
    """The orders in EGO's answer, oldest first, at most `most`. Raises ValueError if the answer is not a list.

    An order without a valid id is left out, because no result can be sent for it. Any other bad order gets its `fault`.
    """
    if not isinstance(body, list):
        raise ValueError("no list of commands")
    return [_order(row) for row in body[:most] if isinstance(row, dict) and is_id(row.get("id"))]


def is_id(value: Any) -> bool:
    """Whether this is a valid id of a command. EGO's ids are UUIDs; other implementations may have other ids."""
    return isinstance(value, str) and _ID.match(value) is not None


def _order(row: Mapping[str, Any]) -> Order:
    return _checked(row["id"], row.get("command"), row.get("timeoutSeconds"), row.get("signed"))


def _checked(id: str, command: Any, timeout_seconds: Any, signed: Any = None) -> Order:
    fault = _fault_of(command, timeout_seconds)
    if fault:
        return Order(id, "", 0.0, fault, signed)
    return Order(id, str(command), float(timeout_seconds or 0), None, signed)


def _fault_of(command: Any, timeout_seconds: Any) -> str | None:
    """Why a command from EGO is not valid; None if it is."""
    if not isinstance(command, str):
        return "the command is no text"
    try:
        size = len(command.encode())
    except UnicodeEncodeError:
        return "the command holds half of a surrogate pair"
    if size > COMMAND_BYTES_MAX:
        return f"the command has {size} bytes; at most {COMMAND_BYTES_MAX}"
    is_number = isinstance(timeout_seconds, (int, float)) and not isinstance(timeout_seconds, bool)
    if not is_number or not 0 < timeout_seconds <= TIMEOUT_SECONDS_MAX:
        return f"timeoutSeconds must be a number above 0 and at most {TIMEOUT_SECONDS_MAX:g}"
    return None


class Commands:
    """Runs the commands for one host that `judge` allows, and reports the others as rejected.

    With a `proof` it runs only what EGO has signed. The outer members of a command then count for nothing but its id.
    """

    def __init__(
        self,
        hostname: str,
        uplink: Uplink,
        journal: Journal,
        judge: Callable[[str], Allowed | Denied],
        *,
        concurrency: int,
        umask: int = -1,
        account: Account | None = None,
        proof: Proof | None = None,
    ) -> None:
        self.serve(hostname)
        self._uplink, self._journal, self._judge, self._concurrency = uplink, journal, judge, concurrency
        self._umask, self._account = umask, account  # of the commands; -1, None: the same as the agent's
        self._proof = proof
        self._unproved: str | None = None
        self._halted: str | None = None
        self._results = Results(uplink, journal)
        self._backoff = Backoff()
        self._complaint: str | None = None
        self._news = threading.Condition()
        self._running: dict[str, Execution] = {}
        self._stopped = threading.Event()

    def serve(self, hostname: str) -> None:
        """Fetch the commands for this hostname from the next poll on. A machine's name may change while the agent runs."""
        self._hostname = hostname

    def obey(self, halted: str | None) -> None:
        """With a reason, end what runs and fetch nothing, until this is called with None. Call it each second."""
        if halted is None and self._halted is not None:
            logger.info("commands are fetched again")
        elif halted != self._halted:
            logger.warning("commands are stopped on this host: %s", halted)
        self._halted = halted
        with self._news:
            for execution in self._running.values() if halted is not None else ():
                execution.stop(CANCELLED)
            self._news.notify_all()

    def start(self) -> None:
        """Report the commands that an earlier run of the agent left unfinished, then begin to fetch."""
        threading.Thread(target=self._work, name="commands", daemon=True).start()

    def stop(self, within_seconds: float) -> None:
        """End the running commands, note their results in the journal, and report them if EGO answers in time."""
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
        self._report_unfinished()
        while not self._stopped.is_set():
            try:
                pause_seconds = self._poll()
            except Exception:  # after any error the host must still get commands
                logger.exception("commands could not be fetched")
                pause_seconds = self._backoff.failed()
            self._stopped.wait(pause_seconds)

    def _report_unfinished(self) -> None:
        """End the commands that still ran when the agent died, and report them. They do not run again."""
        unfinished = self._journal.unfinished()
        if unfinished:
            family.end(unfinished, LEFTOVER_GRACE_SECONDS)
        for id in unfinished:
            logger.warning("command %s was under way when the former agent died", id)
            why = "the agent died while this ran; whether it did its work is not known"
            unknown = {"stdout": None, "stdoutBytes": None}  # EGO keeps the output that it has received live
            self._note(id, unrun(AGENT_RESTARTED, why).to_result() | unknown)

    def _poll(self) -> float:
        """Fetch once. Returns the seconds to wait before the next poll."""
        free = self._wait_for_slots()
        if self._stopped.is_set():
            return 0.0
        if self._backoff.failures == 0:
            self._uplink.renew_credential()
        limit, hostname = min(free, LIMIT_MAX), self._hostname
        asked_at = time.monotonic()
        answer = self._uplink.get(
            f"/api/commands/pending/{in_path(hostname)}",
            query={"limit": str(limit), "wait": f"{WAIT_SECONDS:g}"},
            headers={"X-Reflector-Instance": self._journal.instance, "X-Reflector-Journal": "1"},
            wait_seconds=WAIT_SECONDS,
        )
        if self._stopped.is_set():
            return 0.0  # these commands were not begun, so EGO hands them out again after the next start
        if not answer.is_taken:
            if answer.status != UNKNOWN_HERE:  # telemetry logs that
                self._log_complaint(answer.detail)
            return self._backoff.failed(answer.retry_after_seconds)
        if self._proof is not None:
            self._proof.clock.hear(answer.date)
        try:
            handed = orders(answer.body, limit)
        except ValueError as error:
            self._log_complaint(f"EGO answers with {error}")
            return self._backoff.failed()
        left_out = len(answer.body) - len(handed)
        self._log_complaint(f"EGO hands out {left_out} more than was asked for, or without an id" if left_out else None)
        self._backoff.succeeded()
        came_at_once = time.monotonic() - asked_at < PAUSE_SECONDS
        if handed:
            return 0.0 if self._take(handed, hostname) else REPEAT_PAUSE_SECONDS
        return PAUSE_SECONDS if came_at_once else 0.0

    def _wait_for_slots(self) -> int:
        """How many commands may begin. Waits until that is at least one and the host is not stopped, or the agent ends."""
        with self._news:
            while not self._stopped.is_set() and (self._free() <= 0 or self._halted is not None):
                self._news.wait(PAUSE_SECONDS)
            return self._free()

    def _free(self) -> int:
        """How many more commands may run; none while too many results wait for delivery."""
        return self._concurrency - len(self._running) if len(self._results) < UNDELIVERED_MAX else 0

    def _take(self, handed: list[Order], hostname: str) -> bool:
        """Begin or refuse the new ones of these orders for a host. Returns whether any has begun.

        Orders that the journal knows are skipped: EGO repeats an order until it hears that the command has started.
        """
        allowed: list[tuple[Order, Allowed]] = []
        fresh = {order.id: order for order in handed if not self._journal.knows(order.id)}
        proved, seen = self._proved(list(fresh.values()), hostname)
        for order in proved:
            decision = Denied(order.fault) if order.fault else self._decide(order.command)
            if isinstance(decision, Denied):
                if order.fault is None or self._proof is None:  # what is not proved was logged, once
                    logger.warning("command %s is refused: %s", order.id, decision.reason)
                self._note(order.id, unrun(REJECTED, decision.reason).to_result())
            else:
                allowed.append((order, decision))
        try:
            self._journal.begin([order.id for order, _ in allowed], seen)
        except JournalFull as error:
            for order, _ in allowed:
                logger.error("command %s is refused: %s", order.id, error)
                self._results.offer(
                    order.id, unrun(REJECTED, f"not run, because it cannot be noted: {error}").to_result()
                )
            return False
        begun = [self._begin(order, decision, hostname) for order, decision in allowed]
        for live in begun:  # until EGO knows that the command has started, it would hand out the same again
            live.announced.wait(PAUSE_SECONDS)
        return bool(begun)

    def _proved(self, fresh: list[Order], hostname: str) -> tuple[list[Order], dict[str, int]]:
        """The orders as EGO has signed them, and the highest number now, by EGO. An order that is not signed gets a fault.

        The journal has that number on the disk before any of them runs.
        """
        proof = self._proof
        if proof is None:
            return fresh, {}
        before = highest = self._journal.highest(proof.ego)
        proved: list[Order] = []
        for order in fresh:
            try:
                found = proof.command(order.id, order.signed, hostname, highest)
            except Unproved as why:
                self._log_unproved(str(why))
                proved.append(Order(order.id, "", 0.0, f"not run: {why}"))
                continue
            self._unproved, highest = None, found.number
            proved.append(_checked(order.id, found.command, found.timeout_seconds))
        return proved, {proof.ego: highest} if highest > before else {}

    def _decide(self, command: str) -> Allowed | Denied:
        if self._halted is not None:
            return Denied(f"not run: commands are stopped on this host ({self._halted}); mirror-stage reflector resume")
        return self._judge(command)

    def _is_cancel(self, id: str, hostname: str, answer: Mapping[str, Any]) -> bool:
        """Whether EGO cancels a command. With `ego_signing_key` the cancel must be signed."""
        if answer.get("cancelRequested") is not True:
            return False
        if self._proof is None or self._proof.is_cancel(answer, id, hostname):
            return True
        self._log_unproved("a cancel that EGO has not signed is ignored")
        return False

    def _log_unproved(self, why: str) -> None:
        """Log why something is not proved to come from EGO, once as long as the reason stays the same."""
        if why != self._unproved:
            logger.warning("EGO's signature does not count: %s", why)
        self._unproved = why

    def _begin(self, order: Order, decision: Allowed, hostname: str) -> LiveReport:
        live = LiveReport(
            order.id,
            self._uplink,
            cancel=lambda: execution.stop(CANCELLED),
            is_cancel=partial(self._is_cancel, order.id, hostname),
        )
        execution = Execution(
            order.id,
            decision.argv,
            order.timeout_seconds,
            live.hear,
            note=decision.note,
            umask=self._umask,
            account=self._account,
        )
        with self._news:
            self._running[order.id] = execution
        logger.info("command %s begins: %s", order.id, order.command)
        runs = threading.Thread(target=self._run_to_end, args=(order.id, execution, live), name="command", daemon=True)
        reports = threading.Thread(target=live.run, name="live report", daemon=True)
        try:
            runs.start()  # first, because the command matters more than its live output
            reports.start()
        except RuntimeError as error:  # this machine has no thread left
            live.announced.set()
            logger.error("command %s: %s", order.id, error)
            if runs.ident is None:
                self._end(order.id, live, unrun(None, f"not run: {error}"))
        return live

    def _run_to_end(self, id: str, execution: Execution, live: LiveReport) -> None:
        try:
            ending = execution.run()
        except Exception as error:  # EGO needs a result, and the slot must become free
            logger.exception("command %s could not be attended", id)
            ending = unrun(None, f"an error of the agent's own: {error!r}")
        self._end(id, live, ending)

    def _end(self, id: str, live: LiveReport, ending: Ending) -> None:
        """Note and report how a command ended, and free its slot."""
        live.end()
        self._note(id, ending.to_result())
        logger.info(
            "command %s ended: %s %s", id, ending.status, ending.reason or ending.signal or f"exit {ending.exit_code}"
        )
        with self._news:
            del self._running[id]
            self._news.notify_all()

    def _note(self, id: str, result: Result) -> None:
        """Write the result of a command to the journal, and queue it for delivery."""
        try:
            self._journal.end(id, result)
        except JournalFull as error:
            logger.error("the result of %s would be lost in a crash: %s", id, error)
        self._results.offer(id, result)

    def _log_complaint(self, complaint: str | None) -> None:
        """Log why commands cannot be fetched, once as long as the reason stays the same."""
        if complaint is not None and complaint != self._complaint:
            logger.warning("commands cannot be fetched: %s", complaint)
        self._complaint = complaint
