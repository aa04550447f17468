"""Documents on the wire, field by field. `mirror-stage alerts` writes and reads the same as TOML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import RAISE, ValidationError, fields, validates_schema
from marshmallow.validate import Length, OneOf

from mirror_stage.alerting.service import CHANNEL, ROUTES, RULE, Document, Exported, Plan
from mirror_stage.alerts.domain import SEVERITIES
from mirror_stage.alerts.rules import RULES_MAX
from mirror_stage.core.instants import Instant
from mirror_stage.notifications.directory import CHANNELS_MAX, ROUTES_MAX
from mirror_stage.notifications.schemas import NAME, ChannelFields, RouteFields, route_of, wanted
from mirror_stage.quiet.domain import COUNT_MAX, MAINTENANCE, MUTE_TIME, SILENCE, Version, Written, name_trouble
from mirror_stage.quiet.schemas import (
    NewMaintenanceSchema,
    NewSilenceSchema,
    WeeklySchema,
    maintenance_of,
    on_wire,
    silence_of,
    weekly_of,
)
from mirror_stage.web.schemas import Text, Truth, WireSchema, nullable

BODY_MAX = 512 * 1024
_SECTIONS = {SILENCE: "silences", MAINTENANCE: "maintenance", MUTE_TIME: "muteTimes"}
_NOT_WRITTEN = {
    "id",
    "name",
    "source",
    "version",
    "by",
    "changedAt",
    "state",
    "until",
    "nextAt",
}  # what only an answer has


def _named(name: str) -> None:
    trouble = name_trouble(name)
    if trouble is not None:
        raise ValidationError(trouble)


class _HasEnd(WireSchema):
    """In a document an end is a moment: how long something lasts would mean another one each time."""

    class Meta:
        unknown = RAISE

    @validates_schema
    def is_moment(self, said: dict[str, Any], **_: Any) -> None:
        if said.get("lastsSeconds") is not None:
            raise ValidationError("write endsAt instead: in a file the end must stay the same", "lastsSeconds")


class SilenceInDocument(_HasEnd, NewSilenceSchema):
    """A silence. Without `upTo` it covers every severity; without `beginsAt` it begins when it is applied."""

    class Meta:
        unknown = RAISE


class MaintenanceInDocument(_HasEnd, NewMaintenanceSchema):
    """Maintenance; without `beginsAt` it begins when it is applied."""

    class Meta:
        unknown = RAISE


class MuteTimeInDocument(WeeklySchema):
    """Hours of the week in which routes are quiet."""

    class Meta:
        unknown = RAISE


class DocumentSchema(WireSchema):
    """Everything by its name, and the routes in their order.

    Secrets are `env:NOTIFY_…`, `file:/…`, or `kept:`: the secret that EGO has. Without `routes` these stay as they are.
    """

    class Meta:
        unknown = RAISE

    channels = fields.Dict(
        keys=Text(validate=NAME),
        values=fields.Nested(ChannelFields),
        load_default=dict,
        validate=Length(0, CHANNELS_MAX),
    )
    routes = fields.List(fields.Nested(RouteFields), load_default=None, validate=Length(0, ROUTES_MAX))
    rules = fields.Dict(
        keys=Text(),
        values=fields.Dict(keys=Text(), values=fields.Raw()),
        load_default=dict,
        validate=Length(0, RULES_MAX),
    )
    silences = fields.Dict(
        keys=Text(validate=_named), values=fields.Nested(SilenceInDocument), load_default=dict,
        validate=Length(0, COUNT_MAX[SILENCE]),
    )  # fmt: skip
    maintenance = fields.Dict(
        keys=Text(validate=_named), values=fields.Nested(MaintenanceInDocument), load_default=dict,
        validate=Length(0, COUNT_MAX[MAINTENANCE]),
    )  # fmt: skip
    muteTimes = fields.Dict(
        keys=Text(validate=_named), values=fields.Nested(MuteTimeInDocument), load_default=dict,
        validate=Length(0, COUNT_MAX[MUTE_TIME]),
    )  # fmt: skip


class PlanFields(WireSchema):
    """A document. `prune`: what is not in it is removed, but for silences and maintenance that did not come from a file."""

    class Meta:
        body_max = BODY_MAX

    document = fields.Nested(DocumentSchema, required=True)
    prune = Truth(load_default=False)


class ApplyFields(PlanFields):
    """A document, and the plan that somebody has looked at: if EGO has changed since, nothing happens."""

    class Meta:
        body_max = BODY_MAX

    planId = Text(allow_none=True, load_default=None, validate=Length(1, 64))


class ChangeSchema(WireSchema):
    what = fields.String(required=True, validate=OneOf((CHANNEL, ROUTES, RULE, SILENCE, MAINTENANCE, MUTE_TIME)))
    name = fields.String(required=True)
    change = fields.String(required=True, validate=OneOf(("added", "changed", "removed")))


class PlanSchema(WireSchema):
    """What would change, or has changed; nothing: it is so already."""

    planId = nullable(fields.String)
    changes = fields.List(fields.Nested(ChangeSchema), required=True)


def _tables() -> fields.Dict:
    inner = fields.Dict(keys=fields.String(), values=fields.Raw())
    return fields.Dict(keys=fields.String(), values=inner, required=True)


class ExportSchema(WireSchema):
    """Everything as a document, without secrets."""

    channels = _tables()
    routes = fields.List(fields.Dict(keys=fields.String(), values=fields.Raw()), required=True)
    rules = _tables()
    silences = _tables()
    maintenance = _tables()
    muteTimes = _tables()


def document_of(said: Mapping[str, Any], now: Instant) -> Document:
    """The document that a validated DocumentSchema says."""
    quiet = {(MUTE_TIME, name): Written(weekly_of(one)) for name, one in said["muteTimes"].items()}
    for kind, read in ((SILENCE, silence_of), (MAINTENANCE, maintenance_of)):
        for name, one in said[_SECTIONS[kind]].items():
            quiet[kind, name] = Written(read(one, now), one["beginsAt"] is not None, one["confirm"])
    routes = None if said["routes"] is None else [route_of(one) for one in said["routes"]]
    channels = {name: wanted(name, one, is_document=True) for name, one in said["channels"].items()}
    return Document(channels, routes, said["rules"], quiet)


def plan_on_wire(plan: Plan, *, is_done: bool) -> dict[str, Any]:
    """A PlanSchema."""
    told = [{"what": one.what, "name": one.name, "change": one.change} for one in plan.changes]
    return {"planId": None if is_done else plan.id, "changes": told}


def export_on_wire(found: Exported) -> dict[str, Any]:
    """An ExportSchema. What has its usual value is left out."""
    quiet: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS.values()}
    for one in found.quiet:
        quiet[_SECTIONS[one.kind]][one.id] = _quiet_in_document(one)
    return {"channels": found.channels, "routes": found.routes, "rules": found.rules, **quiet}


def _quiet_in_document(version: Version) -> dict[str, Any]:
    usual = {"note": "", "upTo": SEVERITIES[-1]}
    said = {name: value for name, value in on_wire(version, version.at, 0).items() if name not in _NOT_WRITTEN}
    return {name: value for name, value in said.items() if value is not None and value != usual.get(name)}
