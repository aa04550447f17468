"""Agents and codes on the wire, field by field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from marshmallow import ValidationError, fields
from marshmallow.validate import Length, OneOf, Range, Regexp

from mirror_stage.core.addresses import lone_address
from mirror_stage.core.instants import to_optional_text, to_text
from mirror_stage.enrolment import domain
from mirror_stage.enrolment.domain import AgentRow, CodeRow
from mirror_stage.web.schemas import Hostname, Number, Text, Truth, Whole, WireSchema, instant, nullable


def _checked(trouble: Callable[[Any], str | None]) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        why = trouble(value)
        if why is not None:
            raise ValidationError(why)

    return check


# Printable only, because people read it in a terminal.
_INSTANCE = Regexp(r"[\x21-\x7e]{1,64}\Z", error="must be 1 to 64 characters of ASCII without spaces")


def _labels() -> fields.Field[Any]:
    return fields.Dict(keys=Text(), values=Text(), load_default=dict, validate=_checked(domain.labels_trouble))


class EnrolSchema(WireSchema):
    """`code` null: the host waits until an admin approves it. `key`: 32 random bytes that only this host knows, base64url."""

    code = Text(allow_none=True, load_default=None, validate=Length(1, 200))
    hostname = Hostname(required=True)
    key = Text(required=True, validate=_checked(domain.key_trouble))
    instance = Text(allow_none=True, load_default=None, validate=_INSTANCE)


class Address(Text):
    """An IP address, loaded in normal form."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            return lone_address(text)
        except ValueError as why:
            raise ValidationError(str(why)) from why


class FieldSchema(WireSchema):
    """An agent of another make, which has no credential: requests from `address` count as those of `hostname`."""

    hostname = Hostname(required=True)
    address = Address(required=True)
    takesCommands = Truth(load_default=False)


class AgentQuery(WireSchema):
    """`state`: only the agents in this state."""

    state = Text(load_default=None, validate=OneOf(domain.STATES))


class ApproveSchema(WireSchema):
    """`labels` are pinned: they count more than what the agent says."""

    labels = _labels()

    class Meta:
        may_be_empty = True


class LabelsSchema(WireSchema):
    """The labels to pin; null takes one away. Labels that are not named stay."""

    labels = fields.Dict(
        keys=Text(), values=Text(allow_none=True), required=True, validate=_checked(domain.changes_trouble)
    )


class NewCodeSchema(WireSchema):
    """A code for so many hosts whose names match the pattern. `labels` are pinned to them."""

    uses = Whole(load_default=1, validate=Range(1, domain.USES_MAX))
    expiresInSeconds = Number(load_default=domain.CODE_LASTS / 1000, validate=Range(1, domain.CODE_SECONDS_MAX))
    hostPattern = Text(load_default="*", validate=_checked(domain.pattern_trouble))
    labels = _labels()


class EnrolledSchema(WireSchema):
    """`token` is shown this once. `signingKey` is EGO's public key for commands, `authority` the root of its TLS (PEM)."""

    agentId = fields.String(required=True)
    hostname = fields.String(required=True)
    token = fields.String(required=True)
    generation = fields.Integer(required=True)
    signingKey = nullable(fields.String)
    authority = nullable(fields.String)


class WaitingSchema(WireSchema):
    """The host waits for an admin, who compares the fingerprint. It asks again after so many seconds."""

    status = fields.String(required=True, validate=OneOf((domain.WAITING,)))
    fingerprint = fields.String(required=True)
    retryAfterSeconds = fields.Integer(required=True)


class RotatedSchema(WireSchema):
    """The former token counts until this one is used."""

    token = fields.String(required=True)
    generation = fields.Integer(required=True)


class AgentSchema(WireSchema):
    """The agent of a host. `labels` are those that an admin has pinned."""

    id = fields.String(required=True)
    hostname = fields.String(required=True)
    state = fields.String(required=True, validate=OneOf(domain.STATES))
    kind = fields.String(required=True, validate=OneOf(domain.KINDS))
    fingerprint = nullable(fields.String)
    address = nullable(fields.String)
    instance = nullable(fields.String)
    labels = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    generation = fields.Integer(required=True)
    takesCommands = fields.Boolean(required=True)
    createdAt = instant()
    enrolledAt = instant(allow_none=True)
    enrolledBy = nullable(fields.String)
    lastUsedAt = instant(allow_none=True)


class AgentList(WireSchema):
    items = fields.List(fields.Nested(AgentSchema), required=True)
    total = fields.Integer(required=True)


class CodeSchema(WireSchema):
    id = fields.String(required=True)
    usesLeft = fields.Integer(required=True)
    expiresAt = instant()
    hostPattern = fields.String(required=True)
    labels = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    createdAt = instant()
    createdBy = fields.String(required=True)


class CreatedCodeSchema(CodeSchema):
    """`code` is shown this once; `line` is what to paste on a host."""

    code = fields.String(required=True)
    line = fields.String(required=True)


class CodeList(WireSchema):
    items = fields.List(fields.Nested(CodeSchema), required=True)
    total = fields.Integer(required=True)


def agent_on_wire(agent: AgentRow) -> dict[str, Any]:
    """An AgentSchema."""
    return {
        "id": agent.id,
        "hostname": agent.hostname,
        "state": agent.state,
        "kind": agent.kind,
        "fingerprint": domain.fingerprint(agent.key_sha256),
        "address": agent.address,
        "instance": agent.instance,
        "labels": dict(agent.labels),
        "generation": agent.generation,
        "takesCommands": agent.takes_commands,
        "createdAt": to_text(agent.created_at),
        "enrolledAt": to_optional_text(agent.enrolled_at),
        "enrolledBy": agent.enrolled_by,
        "lastUsedAt": to_optional_text(agent.last_used_at),
    }


def code_on_wire(code: CodeRow) -> dict[str, Any]:
    """A CodeSchema."""
    return {
        "id": code.id,
        "usesLeft": code.uses_left,
        "expiresAt": to_text(code.expires_at),
        "hostPattern": code.host_pattern,
        "labels": dict(code.labels),
        "createdAt": to_text(code.created_at),
        "createdBy": code.created_by,
    }
