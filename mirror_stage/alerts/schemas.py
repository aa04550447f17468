"""Alerts on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, fields
from marshmallow.validate import Length, OneOf

from mirror_stage.alerts.cause import EGO, HOST, RACK, ROOM
from mirror_stage.alerts.rules import OVERRIDES_MAX, SUBJECTS_MAX
from mirror_stage.web.schemas import Hostname, InstantQuery, InstantText, Page, PageQuery, Text, WireSchema, instant


class AckSchema(WireSchema):
    by = fields.String(required=True, allow_none=True)
    note = fields.String(required=True, allow_none=True)
    at = instant()
    until = instant()


class SuppressionSchema(WireSchema):
    """Why nobody is told of the alert, until when that holds, by whom it was made, and their note."""

    kind = fields.String(required=True, validate=OneOf(("silence", "maintenance")))
    id = fields.String(required=True)
    until = instant()
    by = fields.String(required=True)
    note = fields.String(required=True)


class CauseSchema(WireSchema):
    """What silenced the host of an alert. `name` is a host, a switch, a rack or a room; of the kind ego the hop where EGO is cut off.

    `why`: `itself`, nothing else did; `uplink`, it lies on the way to the host; `together`, all of the place fell silent at once;
    `isolated`, EGO is cut off. `since`: when the first host that it cut off fell silent.
    """

    kind = fields.String(required=True, validate=OneOf((HOST, RACK, ROOM, EGO)))
    name = fields.String(required=True)
    why = fields.String(required=True, validate=OneOf(("itself", "uplink", "together", "isolated")))
    since = instant()
    hides = fields.Integer(
        required=True, metadata={"description": "how many hosts are silent because of it; 0 once the alert is resolved"}
    )


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
    cause = fields.Nested(
        CauseSchema, required=True, allow_none=True, attribute="cause_shown",
        metadata={"description": "what silenced its host; null: not decided yet, or it is no offline alert"},
    )  # fmt: skip
    groupId = fields.String(
        required=True, allow_none=True, attribute="group_id",
        metadata={"description": "the group in which it is told; null: in none yet"},
    )  # fmt: skip
    suppressedBy = fields.List(
        fields.Nested(SuppressionSchema), required=True, attribute="suppressed_by",
        metadata={"description": "the silences and the maintenance because of which nobody is told; empty once it is resolved"},
    )  # fmt: skip


ACKS_MAX = 1_000


class NewAckSchema(WireSchema):
    """What somebody says who acknowledges an alert. `until`: 4 hours from now, if it is left out."""

    class Meta:
        unknown = EXCLUDE
        may_be_empty = True

    note = Text(load_default=None, allow_none=True, validate=Length(max=500))
    until = InstantQuery(load_default=None, allow_none=True, metadata={"type": "string", "format": "date-time"})


class NewAcksSchema(NewAckSchema):
    """The same of several alerts at once, by their ids."""

    class Meta:
        unknown = EXCLUDE

    ids = fields.List(Text(validate=Length(1, 64)), required=True, validate=Length(1, ACKS_MAX))


class AcksSchema(WireSchema):
    """What became of a wish to acknowledge several alerts. `over`: those that are not active."""

    acknowledged = fields.List(fields.String(), required=True)
    over = fields.List(fields.String(), required=True)


class AlertQuery(PageQuery):
    hostname = Hostname()
    metric = Text()
    status = fields.String(validate=OneOf(("active", "resolved")))
    endedBy = InstantQuery(metadata={"description": "only those that had ended by then"})


class AlertPage(Page):
    items = fields.List(fields.Nested(AlertSchema), required=True)


_EVERY = OneOf(("sample", "minute"))
_SEVERITY = OneOf(("info", "warning", "critical"))


class RuleStepSchema(WireSchema):
    """A severity: from `fire` on, until `resolve`. A silence has no `resolve`."""

    severity = fields.String(required=True, validate=_SEVERITY)
    fire = fields.Float(required=True)
    resolve = fields.Float(required=True, allow_none=True)


class _Figures(WireSchema):
    """What an override may change, too. Waits are written as 90s, 3m, 2h or 1d."""

    steps = fields.List(fields.Nested(RuleStepSchema), validate=Length(1, 3))
    for_ = fields.String(data_key="for")
    resolveFor = fields.String()
    subjects = fields.List(fields.String(), validate=Length(1, SUBJECTS_MAX))
    noData = fields.String(validate=OneOf(("resolve", "keep", "alert")))
    noDataAfter = fields.String()
    enabled = fields.Boolean()


class RuleOverrideSchema(_Figures):
    """What holds instead for the hosts of `where`. The first one that is for a host counts."""

    where = fields.String(required=True)


class NewRuleBody(_Figures):
    """An alert rule; docs/contract.md, Alerts, says what its members mean. `measure` and `steps` are needed."""

    measure = fields.String()
    where = fields.String()
    every = fields.String(validate=_EVERY)
    above = fields.Boolean()
    overrides = fields.List(fields.Nested(RuleOverrideSchema), validate=Length(max=OVERRIDES_MAX))


class NamedRuleBody(NewRuleBody):
    """An alert rule with its name."""

    name = fields.String(required=True)


class _Answer(WireSchema):
    """An answer: each member is there, also those that a body may leave out."""

    def on_bind_field(self, field_name: str, field_obj: Any) -> None:
        super().on_bind_field(field_name, field_obj)
        field_obj.required = True


class AlertRuleSchema(NamedRuleBody, _Answer):
    """An alert rule. Only one of the `source` hud can be changed, and a built-in one, which then is of hud."""

    unit = fields.String(required=True)
    source = fields.String(required=True, validate=OneOf(("built-in", "file", "hud")))
    etag = fields.String(required=True)
    updatedAt = InstantText(required=True, allow_none=True)
    updatedBy = fields.String(required=True, allow_none=True)


class RuleMeasureSchema(WireSchema):
    """Something that a rule may measure. `hasSubjects`: of each disk, interface, sensor or core of a host."""

    name = fields.String(required=True)
    unit = fields.String(required=True)
    hasSubjects = fields.Boolean(required=True)


class AlertRuleList(WireSchema):
    items = fields.List(fields.Nested(AlertRuleSchema), required=True)
    total = fields.Integer(required=True)
    measures = fields.List(fields.Nested(RuleMeasureSchema), required=True)


class AppliedRuleSchema(_Figures, _Answer):
    """A rule as it is in force for a host. `why` is the `where` of the override that counts; null: none does."""

    name = fields.String(required=True)
    unit = fields.String(required=True)
    source = fields.String(required=True)
    measure = fields.String(required=True)
    every = fields.String(required=True, validate=_EVERY)
    above = fields.Boolean(required=True)
    why = fields.String(required=True, allow_none=True)


class AppliedRuleList(WireSchema):
    hostname = fields.String(required=True)
    items = fields.List(fields.Nested(AppliedRuleSchema), required=True)
    total = fields.Integer(required=True)


class BreachSchema(WireSchema):
    hostname = fields.String(required=True)
    subject = fields.String(required=True, allow_none=True)
    value = fields.Float(required=True)
    severity = fields.String(required=True, validate=_SEVERITY)


class MatchedHostSchema(WireSchema):
    """A host that a rule is for. `why` is the `where` of the override that counts; null: none does."""

    hostname = fields.String(required=True)
    why = fields.String(required=True, allow_none=True)


class PreviewSchema(WireSchema):
    """What a rule would say now. `items`: the worst 100 of `total` values that are beyond it."""

    hosts = fields.Integer(required=True, metadata={"description": "how many hosts it is for"})
    withoutValue = fields.Integer(required=True, metadata={"description": "how many of them have no such value now"})
    matched = fields.List(
        fields.Nested(MatchedHostSchema),
        required=True,
        metadata={"description": "the first 200 of these hosts, by name"},
    )
    total = fields.Integer(required=True)
    items = fields.List(fields.Nested(BreachSchema), required=True)
