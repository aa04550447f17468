"""The standings of a command, the transitions between them, and what is kept of its outcome. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol

from mirror_stage.access.domain import Actor
from mirror_stage.core.instants import DAY, SECOND, Instant, to_text
from mirror_stage.core.outputs import KEPT_BYTES, full_size, shortened
from mirror_stage.core.signed import Recipient

COMMAND_BYTES_MAX = 8 * 1024
METADATA_BYTES_MAX = 16 * 1024
TIMEOUT_SECONDS_MAX = 600.0
TIMEOUT_SECONDS_DEFAULT = 30.0
EXPIRES_IN_SECONDS_DEFAULT = 3_600.0
EXPIRES_IN_SECONDS_MAX = 30 * 86_400.0
PENDING_OF_HOST_MAX = 100
OPEN_MAX = 10_000
CLAIM_MAX = 5
WAIT_SECONDS_MAX = 30.0
KEY_KEPT: Final[Instant] = DAY
KEPT_FOR: Final[Instant] = 30 * DAY  # how long a command is kept after it ended
LEASE_GRACE: Final[Instant] = 60 * SECOND
STAMP_GAP: Final[Instant] = 5 * SECOND  # a longer gap between two stamps means that EGO was down
REASON_MAX = 500  # characters of why dispatch is stopped
CHUNK_BYTES_MAX = 16 * 1024
OUTPUT_BYTES_KEPT = 256 * 1024  # of a command's live output, until its result comes
ALIKE_CHARACTERS = 1_024  # two texts whose first so many characters are equal are taken for the same output
CHUNK_OVERHEAD_BYTES = 64  # counted for each chunk, so that empty chunks are limited too

PENDING: Final = "pending"
RUNNING: Final = "running"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
TIMEOUT: Final = "timeout"
STATUSES = (PENDING, RUNNING, SUCCEEDED, FAILED, TIMEOUT)

CANCELLED: Final = "cancelled"
REJECTED: Final = "rejected"
AGENT_RESTARTED: Final = "agent_restarted"
EXEC_TIMEOUT: Final = "exec_timeout"
EXPIRED: Final = "expired"
LOST: Final = "lost"
REPORTED_REASONS = (REJECTED, AGENT_RESTARTED, CANCELLED, EXEC_TIMEOUT)
REASONS = (*REPORTED_REASONS, EXPIRED, LOST)

OUTCOMES = frozenset(
    {
        (SUCCEEDED, None),
        (FAILED, None),
        (FAILED, REJECTED),
        (FAILED, AGENT_RESTARTED),
        (FAILED, CANCELLED),
        (TIMEOUT, EXEC_TIMEOUT),
    }
)
# The numbers that mean the same signal on every system.
SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 8: "SIGFPE", 9: "SIGKILL",
    11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
}  # fmt: skip
UNNAMED = "by an agent that sends no X-Reflector-Instance"  # the note of such a claim
FIELD_WORDS = {"success": SUCCEEDED, "error": FAILED}  # the statuses that agents already in the field report

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")


class Standing(Enum):
    """The rows of the contract's state table."""

    PENDING = "waits to be fetched"
    RUNNING = "was handed out"
    LOST = "lost, but its agent may still report"
    FINAL = "is over"


class Act(Enum):
    """The columns of the contract's state table."""

    CLAIM = "claim"
    HEARTBEAT = "heartbeat"
    RESULT = "result"
    CANCEL = "cancel"
    LEASE_OVER = "lease over"
    EXPIRY = "expiry"


@dataclass(frozen=True, slots=True)
class Move:
    """One transition: its recorded name and the status it leads to. Without a status, the reported outcome sets it."""

    name: str
    status: str | None = None
    reason: str | None = None


CREATED = Move("created", PENDING)

# A command only moves down this table. Cancel and result try the standings in this order, so they find a command that
# changes its standing meanwhile.
MOVES: Mapping[tuple[Standing, Act], Move] = {
    (Standing.PENDING, Act.CLAIM): Move("claimed", RUNNING),
    (Standing.PENDING, Act.CANCEL): Move("cancelled", FAILED, CANCELLED),
    (Standing.PENDING, Act.EXPIRY): Move("expired", TIMEOUT, EXPIRED),
    (Standing.RUNNING, Act.CANCEL): Move("cancel-requested", RUNNING),
    (Standing.RUNNING, Act.RESULT): Move("reported"),
    (Standing.RUNNING, Act.LEASE_OVER): Move("lost", TIMEOUT, LOST),
    (Standing.LOST, Act.RESULT): Move("reported-late"),
    (Standing.LOST, Act.CANCEL): Move("closed", TIMEOUT, LOST),
}

REFUSALS: Mapping[tuple[Standing, Act], str] = {
    (Standing.PENDING, Act.HEARTBEAT): "it was never handed out",
    (Standing.PENDING, Act.RESULT): "it was never handed out",
    (Standing.LOST, Act.HEARTBEAT): "its lease is over; only its result is still taken",
    (Standing.FINAL, Act.HEARTBEAT): "it is over",
    (Standing.FINAL, Act.RESULT): "it is over, with another outcome",
    (Standing.FINAL, Act.CANCEL): "it is over",
}


@dataclass(frozen=True, slots=True)
class Command:
    """One command as it is stored. `metadata` and `signed` are JSON; `result_digest` identifies the report that ended it."""

    seq: int
    id: str
    hostname: str
    command: str
    timeout_seconds: float
    status: str
    reason: str | None
    is_closed: bool
    requested_at: Instant
    started_at: Instant | None
    completed_at: Instant | None
    expires_at: Instant
    lease_until: Instant | None
    exit_code: int | None
    signal: str | None
    stdout: str | None
    stderr: str | None
    stdout_bytes: int | None
    stderr_bytes: int | None
    truncated: bool
    late: bool
    duration_seconds: float | None
    cancel_requested: bool
    metadata: str | None
    requested_by: str | None
    retry_of: str | None
    version: int
    updated_at: Instant
    result_digest: str | None
    output_bytes: int
    signed: str | None

    @property
    def standing(self) -> Standing:
        """Its row in the contract's state table."""
        if self.status == PENDING:
            return Standing.PENDING
        if self.status == RUNNING:
            return Standing.RUNNING
        return Standing.LOST if self.reason == LOST and not self.is_closed else Standing.FINAL

    @property
    def is_open(self) -> bool:
        """Whether it waits or runs."""
        return self.status in {PENDING, RUNNING}


@dataclass(frozen=True, slots=True)
class NewCommand:
    """A request to run a command on a host."""

    hostname: str
    command: str
    timeout_seconds: float = TIMEOUT_SECONDS_DEFAULT
    expires_in_seconds: float = EXPIRES_IN_SECONDS_DEFAULT
    metadata: str | None = None
    retry_of: str | None = None
    is_confirmed: bool = False  # somebody has confirmed it for an unverified host

    @property
    def digest(self) -> str:
        """A hash of what is to be run where: two requests that mean the same have the same digest."""
        return _digest(
            [self.hostname, self.command, self.timeout_seconds, self.expires_in_seconds, self.metadata, self.retry_of]
        )


@dataclass(frozen=True, slots=True)
class Lease:
    """The answer to a heartbeat: until when the agent holds the command, and whether it shall stop it.

    `signed_cancel` is the signed order to stop, as JSON.
    """

    lease_until: Instant
    cancel_requested: bool
    signed_cancel: str | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of what a running command prints; `seq` only rises."""

    seq: int
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Event:
    """One transition of a command, as it is recorded."""

    version: int
    at: Instant
    name: str
    status: str
    reason: str | None
    actor: str | None
    peer: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Stream:
    """The kept text of an output stream, its full length, and whether something was cut."""

    text: str | None
    size_bytes: int | None
    truncated: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, as its agent reports it; `digest` was taken before anything was cut."""

    status: str
    reason: str | None
    exit_code: int | None
    signal: str | None
    duration_seconds: float | None
    stdout: Stream
    stderr: Stream
    digest: str


class CommandSigner(Protocol):
    """Signs what agents are told, as JSON; None where EGO has no keys, and for an agent that checks no signature."""

    def recipient(self, tx: Any, hostname: str) -> Recipient | None:
        """The agent that a command for this host is for, as a transaction sees it. None: it checks no signature."""

    def command(
        self,
        recipient: Recipient | None,
        id: str,
        command: str,
        timeout_seconds: float,
        issued_at: Instant,
        expires_at: Instant,
        *,
        after: str | None = None,
    ) -> str | None:
        """A new command. Its number is above that of `after`, the signed form of the host's last command."""

    def cancel(self, recipient: Recipient | None, id: str, issued_at: Instant) -> str | None:
        """The order to stop a command."""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Whether EGO hands out commands. `at` and `by` say since when it does not, and who stopped it."""

    stopped: bool = False
    reason: str | None = None
    at: Instant | None = None
    by: str | None = None

    @property
    def refusal(self) -> str:
        """Why no command is taken and none is handed out."""
        since = "" if self.at is None else f" since {to_text(self.at)}"
        return f"dispatch is stopped{since} ({self.reason or 'no reason given'}); an admin resumes it: mirror-stage dispatch resume"


class BadOutcome(ValueError):
    """A status and a reason that do not go together."""


def normalise_id(text: str) -> str | None:
    """The one form of a command's id, None if it cannot be one."""
    lowered = text.lower()
    return lowered if _ID.match(lowered) else None


def key_digest(key: str, actor: Actor) -> str:
    """The stored form of an Idempotency-Key. It depends on the actor, so two actors may use the same key."""
    return _digest([actor.name, key])


def outcome_of(reported: Mapping[str, Any]) -> Outcome:
    """The Outcome of a report with the contract's keys. Raises BadOutcome."""
    status = FIELD_WORDS.get(reported["status"], reported["status"])
    reason = reported.get("reason") or (EXEC_TIMEOUT if status == TIMEOUT else None)
    if (status, reason) not in OUTCOMES:
        raise BadOutcome(f"status {status} cannot have reason {reason}")
    exit_code, signal = reported.get("exitCode"), reported.get("signal")
    duration_seconds = reported.get("durationSeconds")
    stdout, stderr = reported.get("stdout"), reported.get("stderr")
    stdout_bytes, stderr_bytes = reported.get("stdoutBytes"), reported.get("stderrBytes")
    parts = [status, reason, exit_code, duration_seconds, stdout, stderr, stdout_bytes, stderr_bytes]
    return Outcome(
        status=status,
        reason=reason,
        exit_code=exit_code,
        signal=signal or signal_of(exit_code),
        duration_seconds=duration_seconds,
        stdout=kept(stdout, stdout_bytes),
        stderr=kept(stderr, stderr_bytes),
        digest=_digest(parts if signal is None else [*parts, signal]),
    )


def signal_of(exit_code: int | None) -> str | None:
    """The name of the signal that a negative exit code means; None if it means none, or another one on each system."""
    return None if exit_code is None else SIGNALS.get(-exit_code)


def kept(text: str | None, reported_bytes: int | None) -> Stream:
    """The kept part of a stream: at most its first 16 and its last 48 KiB, and a line that says how much is left out.

    `reported_bytes` is the length that the agent counted before it cut the stream itself.
    """
    if text is None:
        return Stream(None, reported_bytes, truncated=bool(reported_bytes))
    encoded = text.encode()
    size_bytes = len(encoded) if reported_bytes is None else reported_bytes
    if len(encoded) <= KEPT_BYTES:
        return Stream(text, size_bytes, truncated=size_bytes > len(encoded))
    return Stream(shortened(encoded).decode(), size_bytes, truncated=True)


NOTHING_TOLD = Stream(None, None, truncated=False)


def told(reported: Stream, streamed: str, reason: str | None) -> Stream:
    """What is kept of a stream: what the result reports, unless what was streamed says more.

    If the result has nothing of the stream, or only a beginning of it, what was streamed stays. If the agent was
    restarted, the longer of the two stays where both begin alike; else the result comes after what was streamed.
    """
    if not streamed:
        return reported
    as_streamed = kept(streamed, max(full_size(streamed.encode()), reported.size_bytes or 0))
    if not reported.text:
        return as_streamed
    if reason != AGENT_RESTARTED:
        knows_less = len(reported.text) < len(streamed) and streamed.startswith(reported.text)
        return as_streamed if knows_less else reported
    shorter = min(len(streamed), len(reported.text), ALIKE_CHARACTERS)
    if streamed[:shorter] == reported.text[:shorter]:
        return max(reported, as_streamed, key=lambda stream: stream.size_bytes or 0)
    line_break = "" if streamed.endswith("\n") else "\n"
    return _whole(streamed + line_break + reported.text)


def _whole(text: str) -> Stream:
    return kept(text, full_size(text.encode()))


def refusal(act: Act, command: Command) -> str:
    """Why `act` cannot happen to a command as it stands."""
    if act is Act.RESULT and command.standing is Standing.FINAL and command.started_at is None:
        return f"it was never handed out ({command.reason})"
    reason = REFUSALS.get((command.standing, act), "it has just changed; look again")
    return f"{reason} ({command.status}{f', {command.reason}' if command.reason else ''})"


def lost_to_unnamed(peer: str | None) -> str:
    """The note of a command that is lost because an agent without a name claimed it and never reported."""
    return (
        f"claimed by an agent at {peer or 'an unknown address'} that sends no X-Reflector-Instance, and that has never "
        "reported; if it was made for another EGO, set its command_endpoint to <ego>/api/field/commands"
    )


def gap(previous: Instant | None, now: Instant) -> Instant:
    """How many ms all leases must move: the time that EGO was down, negative if its clock was set back, else 0."""
    if previous is None or 0 <= now - previous <= STAMP_GAP:
        return 0
    return now - previous


def chunk_weight(text: str) -> int:
    """How many bytes a chunk of live output counts."""
    return len(text.encode()) + CHUNK_OVERHEAD_BYTES


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
