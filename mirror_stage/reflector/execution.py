"""One command as a process: what it prints is passed on and kept, and it ends when it must, with all its children.

Waits on pipes with `select`, so this module is for POSIX; on Windows threads would have to read them.
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

GRACE_SECONDS = 10.0
TICK_SECONDS = 0.1  # how soon a timeout, a cancel or a silent end is noticed
LOOK_EVERY_SECONDS = 0.3  # for relatives that outlive the process itself
LINGER_SECONDS = 0.25  # for a child that is about to end, or to redirect its output
DRAIN_SECONDS = 1.0  # for what is in the pipes when it has ended; a process left behind may print for ever
GONE_SECONDS = 1.0  # between KILL and giving up on a process that the kernel does not let go
_PART = 64 * 1024

SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
TIMEOUT: Final = "timeout"
EXEC_TIMEOUT: Final = "exec_timeout"
CANCELLED: Final = "cancelled"
AGENT_RESTARTED: Final = "agent_restarted"
REJECTED: Final = "rejected"

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # what a shell says

Hear = Callable[[str, bytes], None]


@dataclass
class Kept:
    """The beginning and the end of a stream, and its true length."""

    size_bytes: int = 0
    _head: bytearray = field(default_factory=bytearray)
    _tail: bytearray = field(default_factory=bytearray)

    def add(self, part: bytes) -> None:
        """Keep what belongs to the first 16 KiB, and of the rest the last 48."""
        self.size_bytes += len(part)
        room = HEAD_BYTES - len(self._head)
        self._head += part[:room]
        self._tail += part[room:]
        if len(self._tail) > 2 * TAIL_BYTES:
            del self._tail[:-TAIL_BYTES]

    def text(self) -> str:
        """Both ends, and between them how much is left out; what is not UTF-8 is U+FFFD."""
        head, tail = bytes(self._head), bytes(self._tail[-TAIL_BYTES:])
        is_whole = len(head) + len(tail) == self.size_bytes
        text = (head + tail if is_whole else cut(head, tail, self.size_bytes)).decode(errors="replace")
        if len(text.encode()) > KEPT_BYTES:  # no text: each byte may have become the three of U+FFFD
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
        """The signal that has killed the process, by its name."""
        if self.exit_code is None or self.exit_code >= 0:
            return None
        try:
            return signal.Signals(-self.exit_code).name
        except ValueError:  # a real-time one
            return f"SIGRTMIN{-self.exit_code - signal.SIGRTMIN:+d}"

    def to_result(self) -> dict[str, Any]:
        """The same as EGO wants to have it reported."""
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
    """The end of a command that did not run, or not to anybody's knowledge: failed, with the reason on stderr."""
    stderr = Kept()
    stderr.add(said(why))
    return Ending(FAILED, reason, exit_code, stderr=stderr)


def said(text: str) -> bytes:
    """What the agent itself says on the stderr of a command."""
    return f"mirror-stage reflector: {text}\n".encode()


class Execution:
    """One command that runs once. `hear(stream, part)` is told what it prints as it prints it.

    `note` is said on its stderr first; `umask` is its own, -1 the agent's.
    """

    def __init__(
        self, id: str, argv: Sequence[str], timeout_seconds: float, hear: Hear, *, note: str = "", umask: int = -1
    ) -> None:
        self._id, self._argv, self._timeout_seconds, self._hear = id, argv, timeout_seconds, hear
        self._note, self._umask = note, umask
        self._reason: str | None = None  # why it has to end before its time
        self._grace_seconds = GRACE_SECONDS
        self._told_at: float | None = None  # when it was sent TERM
        self._looked_at = 0.0

    def stop(self, reason: str, grace_seconds: float = GRACE_SECONDS) -> None:
        """Let it be ended soon, from any thread; the first reason counts, the shortest grace does."""
        self._grace_seconds = min(self._grace_seconds, grace_seconds)
        self._reason = self._reason or reason

    def run(self) -> Ending:
        """How it ended, once it has."""
        began = time.monotonic()
        try:
            process = adopted.born(self._start)
        except FileNotFoundError:
            return unrun(None, f"{self._argv[0]}: there is no such program", NOT_FOUND)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            return unrun(None, f"{self._argv[0]}: cannot be run: {why}", NOT_EXECUTABLE)
        try:
            stdout, stderr = self._follow(process, began + self._timeout_seconds)
        finally:
            adopted.gone(process)
        status, reason = self._outcome(process.returncode)
        duration = time.monotonic() - began
        return Ending(status, reason, process.returncode, stdout, stderr, duration)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=family.environment_for(self._id),
            cwd="/",
            umask=self._umask,
            start_new_session=True,
        )

    def _follow(self, process: subprocess.Popen[bytes], deadline: float) -> tuple[Kept, Kept]:
        """What it has printed by its end; who was left behind and still holds its output may go on."""
        assert process.stdout is not None
        assert process.stderr is not None
        kept_by_stream = {"stdout": Kept(), "stderr": Kept()}
        if self._note:
            self._take("stderr", said(self._note), kept_by_stream)
        with selectors.DefaultSelector() as pipes:
            for stream, pipe in zip(kept_by_stream, (process.stdout, process.stderr), strict=True):
                os.set_blocking(pipe.fileno(), False)
                pipes.register(pipe, selectors.EVENT_READ, stream)
            self._attend(process, pipes, kept_by_stream, deadline)
            held = [pipe for pipe in (process.stdout, process.stderr) if not pipe.closed]
        if held and self._told_at is None:
            self._take("stderr", said(leftovers.read_on(held)), kept_by_stream)
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
        """Read until it has ended, and end it when that is due."""
        while True:
            if pipes.get_map():
                self._read(pipes, kept_by_stream, TICK_SECONDS)
            else:
                _wait(process, TICK_SECONDS)
            if process.poll() is not None and self._told_at is None:
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
        """Whether there was something to read."""
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
        """Tell it and all its children to end; whether they have, or nothing more can be done."""
        now = time.monotonic()
        if self._told_at is None:
            self._told_at = now
            family.tell([self._id], signal.SIGTERM, process.pid)
        if now >= self._told_at + self._grace_seconds:
            left = family.tell([self._id], signal.SIGKILL, process.pid)
            is_gone = process.poll() is not None and not left
            return is_gone or now >= self._told_at + self._grace_seconds + GONE_SECONDS
        if process.poll() is None or now < self._looked_at + LOOK_EVERY_SECONDS:
            return False
        self._looked_at = now
        return not family.living([self._id], process.pid)

    def _outcome(self, exit_code: int | None) -> tuple[str, str | None]:
        if self._told_at is None:  # it ended by itself
            return (SUCCEEDED, None) if exit_code == 0 else (FAILED, None)
        return (TIMEOUT if self._reason == EXEC_TIMEOUT else FAILED), self._reason


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
