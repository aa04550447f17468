"""Reports a running command to EGO (its start, heartbeats, output) and hears from the answers whether to cancel it.

This never delays the command itself: a slow EGO gets less live output. The result replaces the live output at the end.
"""

from __future__ import annotations

import codecs
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from mirror_stage.core.outputs import NOTE_BYTES_MAX, note, without_first_part
from mirror_stage.reflector.backoff import Backoff
from mirror_stage.reflector.uplink import Answer, Meaning, Uplink, in_path

CHUNK_BYTES_MAX = 16 * 1024
CHUNK_EVERY_SECONDS = 0.25
HEARTBEAT_SECONDS = 2.0  # how late a cancel of a silent command is noticed


class Unsent:
    """The output of one stream that was not sent yet; if it is more than one chunk, only the newest part."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._text = b""
        self._left_out = 0

    def __bool__(self) -> bool:
        return bool(self._text)

    def add(self, part: bytes) -> None:
        """Add output. A UTF-8 character may be split between two parts."""
        self._text += self._decoder.decode(part).encode()
        over = len(self._text) - (CHUNK_BYTES_MAX - NOTE_BYTES_MAX)
        if over > 0:
            newest = without_first_part(self._text[over:])
            self._left_out += len(self._text) - len(newest)
            self._text = newest

    def take(self) -> str:
        """Remove and return the unsent text, at most 16 KiB."""
        before = b"\n" + note(self._left_out) if self._left_out else b""
        text, self._text, self._left_out = self._text, b"", 0
        return (before + text).decode()


class LiveReport:
    """Reports one running command to EGO, at most four times a second, until it has ended.

    `is_cancel` says whether an answer of EGO asks for its end.
    """

    def __init__(
        self, id: str, uplink: Uplink, cancel: Callable[[], None], is_cancel: Callable[[Mapping[str, Any]], bool]
    ) -> None:
        self._path = f"/api/commands/{in_path(id)}"
        self._uplink, self._cancel, self._is_cancel = uplink, cancel, is_cancel
        self.announced = threading.Event()  # set once the start was reported, or could not be
        self._news = threading.Condition()
        self._unsent_by_stream = {"stdout": Unsent(), "stderr": Unsent()}
        self._has_ended = False
        self._next_seq = 0
        self._backoff = Backoff()

    def hear(self, stream: str, part: bytes) -> None:
        """Queue output of the command for EGO; never waits for EGO."""
        with self._news:
            self._unsent_by_stream[stream].add(part)
            self._news.notify()

    def end(self) -> None:
        """Report nothing more."""
        with self._news:
            self._has_ended = True
            self._news.notify()

    def run(self) -> None:
        """Report until the command has ended, or until EGO refuses a report."""
        answer = self._beat("started")
        self.announced.set()
        phase = "running" if answer.is_taken else "started"
        while self._goes_on(answer):
            chunk = self._wait_for_chunk(self._seconds_until_next(answer))
            if self._has_ended:
                return
            answer = self._beat(phase) if chunk is None else self._send(*chunk)
            phase = "running" if answer.is_taken else phase

    def _goes_on(self, answer: Answer) -> bool:
        if answer.is_taken and isinstance(answer.body, dict) and self._is_cancel(answer.body):
            self._cancel()
        return not self._has_ended and answer.meaning is not Meaning.REFUSED

    def _seconds_until_next(self, answer: Answer) -> float:
        if answer.is_taken:
            self._backoff.succeeded()
            return CHUNK_EVERY_SECONDS
        return max(CHUNK_EVERY_SECONDS, self._backoff.failed(answer.retry_after_seconds))

    def _wait_for_chunk(self, least_seconds: float) -> tuple[str, str] | None:
        """(stream, text) as soon as there is output and `least_seconds` have passed; None when a heartbeat is due."""
        began = time.monotonic()
        with self._news:
            while not self._has_ended:
                passed = time.monotonic() - began
                stream = next((name for name, unsent in self._unsent_by_stream.items() if unsent), None)
                if passed >= least_seconds and stream is not None:
                    # the streams take turns: this one moves to the end
                    unsent = self._unsent_by_stream.pop(stream)
                    self._unsent_by_stream[stream] = unsent
                    return stream, unsent.take()
                if passed >= max(HEARTBEAT_SECONDS, least_seconds):
                    return None
                until = least_seconds if stream is not None else max(HEARTBEAT_SECONDS, least_seconds)
                self._news.wait(max(0.0, until - passed))
        return None

    def _beat(self, phase: str) -> Answer:
        return self._uplink.post(f"{self._path}/heartbeat", {"phase": phase})

    def _send(self, stream: str, text: str) -> Answer:
        """EGO's answer to one chunk. A lost chunk is not sent again, because the result holds the output too."""
        self._next_seq += 1
        return self._uplink.post(f"{self._path}/output", {"seq": self._next_seq - 1, "stream": stream, "data": text})
