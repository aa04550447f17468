"""Commands on the wire, field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson
from marshmallow import ValidationError, fields, post_load
from marshmallow.validate import Length, OneOf, Range, Regexp

from mirror_stage.access.domain import shown_name
from mirror_stage.commands import domain
from mirror_stage.commands.domain import Chunk, Command, Dispatch, Event, Lease, NewCommand, Outcome
from mirror_stage.core.instants import to_optional_text, to_text
from mirror_stage.web.schemas import (
    SAFE_WHOLE,
    Hostname,
    Number,
    Page,
    PageQuery,
    Text,
    Truth,
    Whole,
    WireSchema,
    instant,
    nullable,
)

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_SIGNAL = Regexp(r"SIG[A-Z0-9]{1,16}(?:[+-]\d{1,2})?\Z", error="must be the name of a signal, such as SIGKILL")


class StreamText(fields.String):
    """What a command printed. What cannot be stored becomes U+FFFD: a result is never refused for its output."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("must be a string")
        return _UNSTORABLE.sub("\ufffd", value)


class JsonObject(fields.Dict):
    """A JSON object of at most 16 KiB, loaded as its text."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, dict):
            raise ValidationError("must be an object")
        try:
            text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
            encoded = text.encode()
            is_exact = orjson.loads(encoded) == value
        except ValueError as error:  # an infinite number, half of a surrogate pair
            raise ValidationError(f"cannot be stored: {error}") from error
        if not is_exact:
            raise ValidationError("has a number with more digits than can be stored")
        if len(encoded) > domain.METADATA_BYTES_MAX:
            raise ValidationError(f"has {len(encoded)} bytes as JSON; at most {domain.METADATA_BYTES_MAX}")
        return text


def _bytes_at_most(most: int) -> Callable[[str], None]:
    def check(text: str) -> None:
        size = len(text.encode())
        if size > most:
            raise ValidationError(f"has {size} bytes; at most {most}")

    return check


def _id(text: str) -> None:
    if domain.normalise_id(text) is None:
        raise ValidationError("is not the id of a command")


def _optional(field: type[fields.Field[Any]], *validate: Callable[[Any], Any]) -> fields.Field[Any]:
    return field(allow_none=True, load_default=None, validate=validate or None)


class NewCommandSchema(WireSchema):
    """What to run where. The host need not be known yet."""

    hostname = Hostname(required=True)
    command = Text(required=True, validate=(Length(1), _bytes_at_most(domain.COMMAND_BYTES_MAX)))
    timeoutSeconds = _optional(Number, Range(0, domain.TIMEOUT_SECONDS_MAX, min_inclusive=False))
    metadata = _optional(JsonObject)
    expiresInSeconds = _optional(Number, Range(0, domain.EXPIRES_IN_SECONDS_MAX, min_inclusive=False))
    retryOf = _optional(Text, _id)
    confirmUnverified = Truth(
        load_default=False,
        metadata={"description": "needed for a host whose agent nobody can verify: the command goes to it unsigned"},
    )

    @post_load
    def make(self, values: dict[str, Any], **_kwargs: Any) -> NewCommand:
        return NewCommand(
            hostname=values["hostname"],
            command=values["command"],
            timeout_seconds=values["timeoutSeconds"] or domain.TIMEOUT_SECONDS_DEFAULT,
            expires_in_seconds=values["expiresInSeconds"] or domain.EXPIRES_IN_SECONDS_DEFAULT,
            metadata=values["metadata"],
            retry_of=domain.normalise_id(values["retryOf"] or ""),
            is_confirmed=values["confirmUnverified"],
        )


class ResultSchema(WireSchema):
    """How a command ended. `stdoutBytes` and `stderrBytes` are the full lengths, before the agent cut anything."""

    status = Text(required=True, validate=OneOf((domain.SUCCEEDED, domain.FAILED, domain.TIMEOUT)))
    exitCode = _optional(Whole, Range(-SAFE_WHOLE, SAFE_WHOLE))
    signal = _optional(Text, _SIGNAL)
    stdout = _optional(StreamText)
    stderr = _optional(StreamText)
    durationSeconds = _optional(Number, Range(0, SAFE_WHOLE))
    reason = _optional(Text, OneOf(domain.REPORTED_REASONS))
    stdoutBytes = _optional(Whole, Range(0, SAFE_WHOLE))
    stderrBytes = _optional(Whole, Range(0, SAFE_WHOLE))

    class Meta(WireSchema.Meta):
        body_max = 8 * 2**20

    @post_load
    def make(self, values: dict[str, Any], **_kwargs: Any) -> Outcome:
        try:
            return domain.outcome_of(values)
        except domain.BadOutcome as error:
            raise ValidationError(str(error), "reason") from error


class FieldResultSchema(ResultSchema):
    """A result from an agent that is in the field already: `success` is succeeded, `error` is failed."""

    status = Text(required=True, validate=OneOf((*domain.FIELD_WORDS, domain.SUCCEEDED, domain.FAILED, domain.TIMEOUT)))


class HeartbeatSchema(WireSchema):
    phase = Text(required=True, validate=OneOf(("started", "running")))


class OutputSchema(WireSchema):
    """A piece of what a running command prints; `seq` rises."""

    seq = Whole(required=True, validate=Range(0, SAFE_WHOLE))
    stream = Text(required=True, validate=OneOf(("stdout", "stderr")))
    data = StreamText(required=True, validate=_bytes_at_most(domain.CHUNK_BYTES_MAX))

    class Meta(WireSchema.Meta):
        body_max = 128 * 1024  # 16 KiB of control characters are 96 KiB of JSON

    @post_load
    def make(self, values: dict[str, Any], **_kwargs: Any) -> Chunk:
        return Chunk(values["seq"], values["stream"], values["data"])


class WatchSchema(WireSchema):
    """A Socket.IO client asks for a command's output after chunk `afterSeq`; null asks for all of it."""

    id = Text(required=True, validate=_id)
    afterSeq = _optional(Whole, Range(-1, SAFE_WHOLE))


class PendingQuery(WireSchema):
    limit = fields.Integer(load_default=domain.CLAIM_MAX, validate=Range(1, domain.CLAIM_MAX))
    wait = fields.Float(load_default=0.0, validate=Range(0, domain.WAIT_SECONDS_MAX))


class CommandQuery(PageQuery):
    hostname = Hostname()
    status = Text(validate=OneOf(domain.STATUSES))
    search = Text(validate=_bytes_at_most(domain.COMMAND_BYTES_MAX))


class CommandSchema(WireSchema):
    id = fields.String(required=True)
    hostname = fields.String(required=True)
    command = fields.String(required=True)
    timeoutSeconds = fields.Float(required=True)
    status = fields.String(required=True, validate=OneOf(domain.STATUSES))
    reason = nullable(fields.String, validate=OneOf(domain.REASONS))
    requestedAt = instant()
    startedAt = instant(allow_none=True)
    completedAt = instant(allow_none=True)
    expiresAt = instant()
    leaseUntil = instant(allow_none=True)
    exitCode = nullable(fields.Integer)
    signal = nullable(fields.String)
    stdout = nullable(fields.String)
    stderr = nullable(fields.String)
    stdoutBytes = nullable(fields.Integer)
    stderrBytes = nullable(fields.Integer)
    truncated = fields.Boolean(required=True)
    late = fields.Boolean(required=True)
    durationSeconds = nullable(fields.Float)
    cancelRequested = fields.Boolean(required=True)
    deliverable = fields.Boolean(required=True)
    metadata = nullable(fields.Dict)
    requestedBy = nullable(fields.String)
    retryOf = nullable(fields.String)
    version = fields.Integer(required=True)
    updatedAt = instant()


class EnvelopeSchema(WireSchema):
    """A statement and its signature, both base64."""

    payload = fields.String(required=True)
    signature = fields.String(required=True)


class SignedSchema(EnvelopeSchema):
    """What EGO has signed: a DSSE envelope, and the certificate of the key that signed it."""

    keyCertificate = fields.Nested(EnvelopeSchema, required=True)


class PendingSchema(WireSchema):
    id = fields.String(required=True)
    command = fields.String(required=True)
    timeoutSeconds = fields.Float(required=True)
    expiresAt = instant()
    leaseUntil = instant()
    signed = fields.Nested(SignedSchema, required=True, allow_none=True)


class FieldItemSchema(WireSchema):
    id = fields.String(required=True)
    command = fields.String(required=True)
    timeout = fields.Float(required=True)


class FieldPendingSchema(WireSchema):
    items = fields.List(fields.Nested(FieldItemSchema), required=True)


class LeaseSchema(WireSchema):
    leaseUntil = instant()
    cancelRequested = fields.Boolean(required=True)
    signedCancel = fields.Nested(SignedSchema, required=True, allow_none=True)


class DispatchSchema(WireSchema):
    """Whether EGO takes and hands out commands."""

    stopped = fields.Boolean(required=True)
    reason = nullable(fields.String)
    at = instant(allow_none=True)
    by = nullable(fields.String)


class NewDispatchSchema(WireSchema):
    """Stop or resume."""

    stopped = Truth(required=True)
    reason = _optional(Text, Length(1, domain.REASON_MAX))


class CommandPage(Page):
    items = fields.List(fields.Nested(CommandSchema), required=True)


class EventSchema(WireSchema):
    """One transition: `name` is the move, `status` and `reason` are where it led."""

    version = fields.Integer(required=True)
    at = instant()
    name = fields.String(required=True)
    status = fields.String(required=True, validate=OneOf(domain.STATUSES))
    reason = nullable(fields.String, validate=OneOf(domain.REASONS))
    actor = nullable(fields.String)
    peer = nullable(fields.String)
    note = nullable(fields.String)


class EventList(WireSchema):
    items = fields.List(fields.Nested(EventSchema), required=True)
    total = fields.Integer(required=True)


def command_on_wire(command: Command, *, deliverable: bool) -> dict[str, Any]:
    """A CommandSchema, built by hand: marshmallow takes ten times as long, and every answer and event has one."""
    return {
        "id": command.id,
        "hostname": command.hostname,
        "command": command.command,
        "timeoutSeconds": _plain(command.timeout_seconds),
        "status": command.status,
        "reason": command.reason,
        "requestedAt": to_text(command.requested_at),
        "startedAt": to_optional_text(command.started_at),
        "completedAt": to_optional_text(command.completed_at),
        "expiresAt": to_text(command.expires_at),
        "leaseUntil": to_optional_text(command.lease_until),
        "exitCode": command.exit_code,
        "signal": command.signal,
        "stdout": command.stdout,
        "stderr": command.stderr,
        "stdoutBytes": command.stdout_bytes,
        "stderrBytes": command.stderr_bytes,
        "truncated": command.truncated,
        "late": command.late,
        "durationSeconds": _plain(command.duration_seconds),
        "cancelRequested": command.cancel_requested,
        "deliverable": deliverable,
        "metadata": _json(command.metadata),
        "requestedBy": command.requested_by,
        "retryOf": command.retry_of,
        "version": command.version,
        "updatedAt": to_text(command.updated_at),
    }


def pending_on_wire(command: Command) -> dict[str, Any]:
    """A PendingSchema: what an agent needs to know of a command that it shall run."""
    return {
        "id": command.id,
        "command": command.command,
        "timeoutSeconds": _plain(command.timeout_seconds),
        "expiresAt": to_text(command.expires_at),
        "leaseUntil": to_optional_text(command.lease_until),
        "signed": _json(command.signed),
    }


def field_item_on_wire(command: Command) -> dict[str, Any]:
    """A FieldItemSchema."""
    return {"id": command.id, "command": command.command, "timeout": _plain(command.timeout_seconds)}


def lease_on_wire(lease: Lease) -> dict[str, Any]:
    """A LeaseSchema."""
    return {
        "leaseUntil": to_text(lease.lease_until),
        "cancelRequested": lease.cancel_requested,
        "signedCancel": _json(lease.signed_cancel),
    }


def dispatch_on_wire(dispatch: Dispatch) -> dict[str, Any]:
    """A DispatchSchema."""
    return {
        "stopped": dispatch.stopped,
        "reason": dispatch.reason,
        "at": to_optional_text(dispatch.at),
        "by": shown_name(dispatch.by),
    }


def event_on_wire(event: Event) -> dict[str, Any]:
    """An EventSchema."""
    return asdict(event) | {"at": to_text(event.at), "actor": shown_name(event.actor)}


def _json(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


def _plain(seconds: float | None) -> float | int | None:
    """An integer if the value is whole: SQLite returns sometimes 30, sometimes 30.0."""
    return int(seconds) if seconds is not None and seconds == int(seconds) else seconds
