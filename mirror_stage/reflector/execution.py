"""Runs one command as a process: reads its output, and ends it and all its children on timeout or cancel.

Waits on pipes with `select`, which works on POSIX only; Windows would need threads.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mirror_stage.core.outputs import HEAD_BYTES, KEPT_BYTES, TAIL_BYTES, cut
from mirror_stage.reflector import adopted, family, leftovers
from mirror_stage.reflector.account import Account

GRACE_SECONDS = 10.0
TICK_SECONDS = 0.1  # how often it looks for a timeout, a cancel or the end of the process
LOOK_EVERY_SECONDS = 0.3  # between two scans for children that outlive the process itself
LINGER_SECONDS = 0.25  # after the end: for a child that is about to end, or to redirect its output
DRAIN_SECONDS = 1.0  # after the end: for the output in the pipes; a child that still runs may print for ever
GONE_SECONDS = 1.0  # between SIGKILL and giving up on a process that the kernel cannot end
_PART = 64 * 1024

SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
TIMEOUT: Final = "timeout"
EXEC_TIMEOUT: Final = "exec_timeout"
CANCELLED: Final = "cancelled"
AGENT_RESTARTED: Final = "agent_restarted"
REJECTED: Final = "rejected"

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # the exit codes of a shell

Hear = Callable[[str, bytes], None]


@dataclass
class Kept:
    """The beginning and the end of an output stream, and its full length."""

    size_bytes: int = 0
    _head: bytearray = field(default_factory=bytearray)
    _tail: bytearray = field(default_factory=bytearray)

    def add(self, part: bytes) -> None:
        """Add more output. The first 16 KiB and the last 48 KiB of the stream are kept."""
        self.size_bytes += len(part)
        room = HEAD_BYTES - len(self._head)
        self._head += part[:room]
        self._tail += part[room:]
        if len(self._tail) > 2 * TAIL_BYTES:
            del self._tail[:-TAIL_BYTES]

    def text(self) -> str:
        """The kept output, with a line where something is left out. Bytes that are not UTF-8 become U+FFFD."""
        head, tail = bytes(self._head), bytes(self._tail[-TAIL_BYTES:])
        is_whole = len(head) + len(tail) == self.size_bytes
        text = (head + tail if is_whole else cut(head, tail, self.size_bytes)).decode(errors="replace")
        if len(text.encode()) > KEPT_BYTES:  # binary output: each byte may have become the three bytes of U+FFFD
            ends = head[: HEAD_BYTES // 3], (head + tail)[-(TAIL_BYTES // 3) :]
            return cut(*ends, self.size_bytes).decode(errors="replace")
        return text


@dataclass(frozen=True)
class Ending:
    """How a command ended."""

    status: str
    reason: str | None = None
    exit_code: int | None = None
    stdout: Kept = field(default_factory=Kept)
    stderr: Kept = field(default_factory=Kept)
    duration_seconds: float | None = None

    @property
    def signal(self) -> str | None:
        """The name of the signal that killed the process; None if none did."""
        if self.exit_code is None or self.exit_code >= 0:
            return None
        try:
            return signal.Signals(-self.exit_code).name
        except ValueError:  # a real-time signal
            return f"SIGRTMIN{-self.exit_code - signal.SIGRTMIN:+d}"

    def to_result(self) -> dict[str, Any]:
        """The body of the result report to EGO."""
        return {
            "status": self.status,
            "reason": self.reason,
            "exitCode": self.exit_code,
            "signal": self.signal,
            "stdout": self.stdout.text(),
            "stderr": self.stderr.text(),
            "stdoutBytes": self.stdout.size_bytes,
            "stderrBytes": self.stderr.size_bytes,
            "durationSeconds": None if self.duration_seconds is None else round(self.duration_seconds, 3),
        }


def unrun(reason: str | None, why: str, exit_code: int | None = None) -> Ending:
    """The ending of a command that did not run, or whose end is unknown: failed, with the explanation on stderr."""
    stderr = Kept()
    stderr.add(agent_message(why))
    return Ending(FAILED, reason, exit_code, stderr=stderr)


def agent_message(text: str) -> bytes:
    """A message of the agent itself, for the stderr of a command."""
    return f"mirror-stage reflector: {text}\n".encode()


class Execution:
    """One command, which runs once. Calls `hear(stream, part)` for each piece of output as it comes.

    `note` is written to its stderr first. `umask` and `account` are those of the command; -1 and None mean the agent's.
    """

    def __init__(
        self,
        id: str,
        argv: Sequence[str],
        timeout_seconds: float,
        hear: Hear,
        *,
        note: str = "",
        umask: int = -1,
        account: Account | None = None,
    ) -> None:
        self._id, self._argv, self._timeout_seconds, self._hear = id, argv, timeout_seconds, hear
        self._note, self._umask, self._account = note, umask, account
        self._reason: str | None = None  # why it is being ended early
        self._grace_seconds = GRACE_SECONDS
        self._terminated_at: float | None = None  # when SIGTERM was sent
        self._looked_at = 0.0

    def stop(self, reason: str, grace_seconds: float = GRACE_SECONDS) -> None:
        """Ask for an early end, from any thread. The first reason and the shortest grace period count."""
        self._grace_seconds = min(self._grace_seconds, grace_seconds)
        self._reason = self._reason or reason

    def run(self) -> Ending:
        """Run the command. Returns how it ended."""
        began = time.monotonic()
        try:
            process = adopted.start_child(self._start)
        except FileNotFoundError:
            return self._not_started("there is no such program", NOT_FOUND)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            return self._not_started(f"cannot be run: {why}", NOT_EXECUTABLE)
        try:
            stdout, stderr = self._follow(process, began + self._timeout_seconds)
        finally:
            adopted.forget_child(process)
        status, reason = self._outcome(process.returncode)
        duration = time.monotonic() - began
        return Ending(status, reason, process.returncode, stdout, stderr, duration)

    def _not_started(self, why: str, exit_code: int) -> Ending:
        return unrun(None, "; ".join(filter(None, (f"{self._argv[0]}: {why}", self._note))), exit_code)

    def _start(self) -> subprocess.Popen[bytes]:
        account = self._account
        return subprocess.Popen(
            self._argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=family.environment_for(self._id, own=account.environment if account else {}),
            cwd="/",
            umask=self._umask,
            start_new_session=True,
            **(account.options if account else {}),
        )

    def _follow(self, process: subprocess.Popen[bytes], deadline: float) -> tuple[Kept, Kept]:
        """Its stdout and stderr. Children that still hold its output after a normal end may go on running."""
        assert process.stdout is not None
        assert process.stderr is not None
        kept_by_stream = {"stdout": Kept(), "stderr": Kept()}
        if self._note:
            self._take("stderr", agent_message(self._note), kept_by_stream)
        with selectors.DefaultSelector() as pipes:
            for stream, pipe in zip(kept_by_stream, (process.stdout, process.stderr)):
                os.set_blocking(pipe.fileno(), False)
                pipes.register(pipe, selectors.EVENT_READ, stream)
            self._attend(process, pipes, kept_by_stream, deadline)
            held = [pipe for pipe in (process.stdout, process.stderr) if not pipe.closed]
        if held and self._terminated_at is None:
            self._take("stderr", agent_message(leftovers.read_on(held)), kept_by_stream)
        else:
            for pipe in held:
                pipe.close()
        return kept_by_stream["stdout"], kept_by_stream["stderr"]

    def _take(self, stream: str, part: bytes, kept_by_stream: dict[str, Kept]) -> None:
        kept_by_stream[stream].add(part)
        self._hear(stream, part)

    def _attend(
        self,
        process: subprocess.Popen[bytes],
        pipes: selectors.BaseSelector,
        kept_by_stream: dict[str, Kept],
        deadline: float,
    ) -> None:
        """Read its output until it has ended; end it when the deadline has passed or `stop` was called."""
        while True:
            if pipes.get_map():
                self._read(pipes, kept_by_stream, TICK_SECONDS)
            else:
                _wait(process, TICK_SECONDS)
            if process.poll() is not None and self._terminated_at is None:
                break
            if self._reason is None and time.monotonic() >= deadline:
                self._reason = EXEC_TIMEOUT
            if self._reason is not None and self._is_over(process):
                break
        ended = time.monotonic()
        while pipes.get_map() and (passed := time.monotonic() - ended) < DRAIN_SECONDS:
            if not self._read(pipes, kept_by_stream, LINGER_SECONDS / 5) and passed > LINGER_SECONDS:
                break

    def _read(self, pipes: selectors.BaseSelector, kept_by_stream: dict[str, Kept], seconds: float) -> bool:
        """Read what is in the pipes, waiting at most so long. Returns whether there was something."""
        ready = pipes.select(seconds)
        for key, _ in ready:
            try:
                part = os.read(key.fd, _PART)
            except BlockingIOError:
                continue
            if part:
                self._take(key.data, part, kept_by_stream)
            else:
                pipes.unregister(key.fileobj).fileobj.close()  # type: ignore[union-attr]
        return bool(ready)

    def _is_over(self, process: subprocess.Popen[bytes]) -> bool:
        """Send SIGTERM, after the grace period SIGKILL, to the process and its children. True once all have ended, or nothing helps."""
        now = time.monotonic()
        if self._terminated_at is None:
            self._terminated_at = now
            family.signal_all([self._id], signal.SIGTERM, process.pid)
        if now >= self._terminated_at + self._grace_seconds:
            left = family.signal_all([self._id], signal.SIGKILL, process.pid)
            is_gone = process.poll() is not None and not left
            return is_gone or now >= self._terminated_at + self._grace_seconds + GONE_SECONDS
        if process.poll() is None or now < self._looked_at + LOOK_EVERY_SECONDS:
            return False
        self._looked_at = now
        return not family.living([self._id], process.pid)

    def _outcome(self, exit_code: int | None) -> tuple[str, str | None]:
        if self._terminated_at is None:  # it ended by itself
            return (SUCCEEDED, None) if exit_code == 0 else (FAILED, None)
        return (TIMEOUT if self._reason == EXEC_TIMEOUT else FAILED), self._reason


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
