"""People, sessions, tokens and the audit on the wire, field by field."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, validates_schema
from marshmallow.validate import Length, OneOf, Range

from mirror_stage.access import people
from mirror_stage.access.chain import Row
from mirror_stage.access.domain import LOCAL, PERMISSIONS, ROLES, ROLES_OF_PEOPLE, Actor
from mirror_stage.access.people import CredentialRow, SessionRow
from mirror_stage.core.instants import to_optional_text, to_text
from mirror_stage.core.names import printable
from mirror_stage.web.schemas import Hostname, Number, Page, Text, WireSchema, instant, nullable

SIGN_IN_WAYS = ("link", "password")


class SignInSchema(WireSchema):
    """`link`: the one-time secret of a link. Or `name` and `password`."""

    link = Text(validate=Length(1, 200))
    name = Text(validate=Length(1, 200))
    password = Text(validate=Length(1, people.PASSWORD_MAX))

    @validates_schema
    def check(self, values: dict[str, Any], **_kwargs: Any) -> None:
        if set(values) not in ({"link"}, {"name", "password"}):
            raise ValidationError("send link, or name and password")


class NewTokenSchema(WireSchema):
    """`role` for a script, or `hostname` for the agent of that host. `expiresInSeconds` null: it never expires."""

    role = Text(validate=OneOf(ROLES_OF_PEOPLE))
    hostname = Hostname()
    note = Text(allow_none=True, load_default=None, validate=Length(max=people.NOTE_MAX))
    expiresInSeconds = Number(allow_none=True, validate=Range(1, people.TOKEN_SECONDS_MAX))

    @validates_schema
    def check(self, values: dict[str, Any], **_kwargs: Any) -> None:
        if ("role" in values) == ("hostname" in values):
            raise ValidationError("send role or hostname, one of them")


class MeSchema(WireSchema):
    """Who asks, and what they may do."""

    name = nullable(fields.String)
    role = fields.String(required=True, validate=OneOf(tuple(ROLES)))
    permissions = fields.List(fields.String(validate=OneOf(PERMISSIONS)), required=True)
    signIn = fields.List(fields.String(validate=OneOf(SIGN_IN_WAYS)), required=True)
    isSignedIn = fields.Boolean(required=True)
    isLocal = fields.Boolean(required=True)
    security = fields.String(required=True, validate=OneOf(("auto", "strict", "open")))


class SignedInSchema(WireSchema):
    """`page` is the half of the session that the page keeps."""

    page = fields.String(required=True)
    me = fields.Nested(MeSchema, required=True)


class SessionSchema(WireSchema):
    id = fields.String(required=True)
    name = fields.String(required=True)
    role = fields.String(required=True)
    createdAt = instant()
    lastSeenAt = instant()
    expiresAt = instant()
    address = nullable(fields.String)
    userAgent = nullable(fields.String)
    isThis = fields.Boolean(required=True)


class SessionList(WireSchema):
    items = fields.List(fields.Nested(SessionSchema), required=True)
    total = fields.Integer(required=True)


class TokenSchema(WireSchema):
    """A token. `name` is of the person that it belongs to, if there is one."""

    id = fields.String(required=True)
    kind = fields.String(required=True, validate=OneOf(("user", "agent")))
    role = fields.String(required=True)
    hostname = nullable(fields.String)
    name = nullable(fields.String)
    note = nullable(fields.String)
    createdAt = instant()
    createdBy = fields.String(required=True)
    expiresAt = instant(allow_none=True)
    revokedAt = instant(allow_none=True)
    lastUsedAt = instant(allow_none=True)


class CreatedTokenSchema(TokenSchema):
    """`token` is shown this once."""

    token = fields.String(required=True)


class TokenList(WireSchema):
    items = fields.List(fields.Nested(TokenSchema), required=True)
    total = fields.Integer(required=True)


class AuditSchema(WireSchema):
    """One row of the audit; `hash` is over its other fields, `previous` is the hash of the row before."""

    seq = fields.Integer(required=True)
    at = instant()
    actor = fields.String(required=True)
    peer = nullable(fields.String)
    what = fields.String(required=True)
    subject = nullable(fields.String)
    detail = nullable(fields.String)
    previous = fields.String(required=True)
    hash = fields.String(required=True)


class AuditPage(Page):
    items = fields.List(fields.Nested(AuditSchema), required=True)


def me_on_wire(actor: Actor, security: str) -> dict[str, Any]:
    """A MeSchema."""
    return {
        "name": actor.name,
        "role": actor.role,
        "permissions": [each for each in PERMISSIONS if each in ROLES[actor.role]],
        "signIn": list(SIGN_IN_WAYS),
        "isSignedIn": actor.credential is not None,
        "isLocal": actor.kind == LOCAL,
        "security": security,
    }


def session_on_wire(session: SessionRow, this: str | None) -> dict[str, Any]:
    """A SessionSchema; `this` is the id of the session in which it is asked for."""
    return {
        "id": session.id,
        "name": session.name,
        "role": session.role,
        "createdAt": to_text(session.created_at),
        "lastSeenAt": to_text(session.last_seen_at),
        "expiresAt": to_text(session.expires_at),
        "address": session.address,
        "userAgent": session.user_agent,
        "isThis": session.id == this,
    }


def token_on_wire(token: CredentialRow) -> dict[str, Any]:
    """A TokenSchema."""
    return {
        "id": token.id,
        "kind": token.kind,
        "role": token.role,
        "hostname": token.hostname,
        "name": token.name,
        "note": token.note and printable(token.note),
        "createdAt": to_text(token.created_at),
        "createdBy": token.created_by,
        "expiresAt": to_optional_text(token.expires_at),
        "revokedAt": to_optional_text(token.revoked_at),
        "lastUsedAt": to_optional_text(token.last_used_at),
    }


def audit_on_wire(row: Row) -> dict[str, Any]:
    """An AuditSchema."""
    return {
        "seq": row.seq,
        "at": to_text(row.at),
        "actor": row.actor,
        "peer": row.peer,
        "what": row.what,
        "subject": row.subject,
        "detail": row.detail,
        "previous": row.previous,
        "hash": row.hash,
    }
