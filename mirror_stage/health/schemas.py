"""Health on the wire."""

from __future__ import annotations

from marshmallow import fields

from mirror_stage.web.schemas import WireSchema


class CheckSchema(WireSchema):
    ok = fields.Boolean(required=True)
    detail = fields.String(required=True)
    latencyMs = fields.Float()


class ReadySchema(WireSchema):
    """Whether EGO can do its work; `checks` by part."""

    ready = fields.Boolean(required=True)
    checks = fields.Dict(keys=fields.String(), values=fields.Nested(CheckSchema), required=True)


class RuleSchema(WireSchema):
    """A rule; `measure` names the value that it judges. From `criticalAt` on an alert is critical, if it is set.

    `where`: for which hosts it is. With `above` false it fires at or below `fireAt`.
    """

    name = fields.String(required=True)
    measure = fields.String(required=True)
    unit = fields.String(required=True)
    fireAt = fields.Float(required=True, attribute="fire_at")
    resolveAt = fields.Float(required=True, allow_none=True, attribute="resolve_at")
    severity = fields.String(required=True)
    criticalAt = fields.Float(required=True, allow_none=True, attribute="critical_at")
    above = fields.Boolean(required=True, attribute="is_above")
    where = fields.String(required=True, attribute="where.text")


class InfoDispatchSchema(WireSchema):
    """Whether commands are taken and handed out; if not, since when, why, and who stopped it."""

    stopped = fields.Boolean(required=True)
    reason = fields.String(required=True, allow_none=True)
    at = fields.String(required=True, allow_none=True)
    by = fields.String(required=True, allow_none=True)


class InfoSchema(WireSchema):
    version = fields.String(required=True)
    build = fields.String(required=True)
    twinId = fields.String(required=True)
    features = fields.List(fields.String(), required=True)
    hub = fields.String(required=True)
    ego = fields.String(required=True)
    rules = fields.List(fields.Nested(RuleSchema), required=True)
    staleAfterSeconds = fields.Float(required=True)
    offlineAfterSeconds = fields.Float(required=True)
    dispatch = fields.Nested(InfoDispatchSchema, required=True)
