"""Alerts on the wire."""

from __future__ import annotations

from marshmallow import EXCLUDE, fields
from marshmallow.validate import Length, OneOf

from mirror_stage.web.schemas import Hostname, InstantQuery, InstantText, Page, PageQuery, Text, WireSchema, instant


class AckSchema(WireSchema):
    by = fields.String(required=True, allow_none=True)
    note = fields.String(required=True, allow_none=True)
    at = instant()
    until = instant()


class AlertSchema(WireSchema):
    id = fields.String(required=True)
    hostname = fields.String(required=True)
    severity = fields.String(required=True, validate=OneOf(("info", "warning", "critical")))
    metric = fields.String(required=True)
    subject = fields.String(required=True, allow_none=True)
    message = fields.String(required=True)
    threshold = fields.Float(required=True)
    currentValue = fields.Float(required=True, attribute="current_value")
    peakValue = fields.Float(
        required=True, allow_none=True, attribute="peak_value",
        metadata={"description": "the highest value that it has had; null: not recorded, or a moment of the past"},
    )  # fmt: skip
    status = fields.String(required=True, validate=OneOf(("active", "resolved")))
    createdAt = InstantText(required=True, attribute="created_at")
    updatedAt = InstantText(required=True, attribute="updated_at")
    resolvedAt = InstantText(required=True, allow_none=True, attribute="resolved_at")
    resolvedReason = fields.String(required=True, allow_none=True, attribute="resolved_reason")
    rule = fields.String(required=True)
    measure = fields.String(required=True)
    unit = fields.String(required=True)
    state = fields.String(required=True, validate=OneOf(("firing", "unknown", "resolved")))
    unknownSince = InstantText(required=True, allow_none=True, attribute="unknown_since")
    ack = fields.Nested(
        AckSchema, required=True, allow_none=True, metadata={"description": "who has acknowledged it; null: nobody has"}
    )


class NewAckSchema(WireSchema):
    """What somebody says who acknowledges an alert. `until`: 4 hours from now, if it is left out."""

    class Meta:
        unknown = EXCLUDE
        may_be_empty = True

    note = Text(load_default=None, allow_none=True, validate=Length(max=500))
    until = InstantQuery(load_default=None, allow_none=True, metadata={"type": "string", "format": "date-time"})


class AlertQuery(PageQuery):
    hostname = Hostname()
    metric = Text()
    status = fields.String(validate=OneOf(("active", "resolved")))
    endedBy = InstantQuery(metadata={"description": "only those that had ended by then"})


class AlertPage(Page):
    items = fields.List(fields.Nested(AlertSchema), required=True)
