"""Silences, maintenance and mute times on the wire, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validates_schema
from marshmallow.validate import Length, OneOf, Range

from mirror_stage.alerts.domain import SEVERITIES
from mirror_stage.core.instants import SECOND, Instant, to_optional_text, to_text
from mirror_stage.core.selector import BadSelector, Selector, parse
from mirror_stage.quiet.domain import (
    FILE,
    HUD,
    LASTS_MAX,
    ON,
    STATES,
    WAITING,
    Maintenance,
    Silence,
    Version,
    name_trouble,
    note_trouble,
    weekly_from,
    weekly_said,
)
from mirror_stage.quiet.mute_times import WEEKDAYS, MuteTime
from mirror_stage.web.schemas import Hostname, InstantQuery, Number, Text, Truth, WireSchema, instant, nullable

_INSTANT = {"type": "string", "format": "date-time"}


class Where(Text):
    """A selector, loaded as such."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Selector:  # type: ignore[override]
        try:
            return parse(super()._deserialize(value, attr, data, **kwargs))
        except BadSelector as error:
            raise ValidationError(str(error)) from error


def _note() -> fields.Field[Any]:
    def check(note: str) -> None:
        trouble = note_trouble(note)
        if trouble is not None:
            raise ValidationError(trouble)

    return Text(load_default="", validate=check)


def _name(name: str) -> None:
    trouble = name_trouble(name)
    if trouble is not None:
        raise ValidationError(trouble)


class WeeklySchema(WireSchema):
    """Hours of the week by the wall clock of an IANA zone. A `to` that is not after `from` is on the next day."""

    weekdays = fields.List(Text(validate=OneOf(WEEKDAYS)), required=True, validate=Length(1, 7))
    from_ = Text(required=True, data_key="from", metadata={"description": "HH:MM"})
    to = Text(required=True, metadata={"description": "HH:MM, at most 24:00"})
    zone = Text(required=True, metadata={"description": "an IANA time zone, such as Europe/Berlin"})

    @validates_schema
    def read(self, said: dict[str, Any], **_: Any) -> None:
        if {"weekdays", "from_", "to", "zone"} <= said.keys():
            try:
                weekly_of(said)
            except ValueError as error:
                raise ValidationError(str(error)) from error


def weekly_of(said: Mapping[str, Any]) -> MuteTime:
    """The hours of a validated WeeklySchema."""
    return weekly_from({**said, "from": said["from_"]})


class _Span(WireSchema):
    """`beginsAt` null: now. The end is `endsAt`, or `lastsSeconds` after the beginning."""

    beginsAt = InstantQuery(load_default=None, allow_none=True, metadata=_INSTANT)
    endsAt = InstantQuery(load_default=None, allow_none=True, metadata=_INSTANT)
    lastsSeconds = Number(load_default=None, allow_none=True, validate=Range(1, 10 * LASTS_MAX / SECOND))
    note = _note()
    confirm = Truth(
        load_default=False, metadata={"description": "true: also where that is more than 30 % of the fleet"}
    )

    @validates_schema
    def one_end(self, said: dict[str, Any], **_: Any) -> None:
        if said.get("endsAt") is not None and said.get("lastsSeconds") is not None:
            raise ValidationError("say endsAt or lastsSeconds, not both", "endsAt")


def span_of(said: Mapping[str, Any], now: Instant) -> tuple[Instant, Instant | None]:
    """The beginning and the end that were said."""
    begins_at = now if said["beginsAt"] is None else said["beginsAt"]
    if said["lastsSeconds"] is not None:
        return begins_at, begins_at + round(said["lastsSeconds"] * SECOND)
    return begins_at, said["endsAt"]


class NewSilenceSchema(_Span):
    """Which alerts nobody is told of: those of `where`, of one `rule` or of every one; or the one of `rule`, `hostname` and `subject`.

    A worse severity than `upTo` is told all the same; null: the worst severity of these alerts now.
    """

    where = Where(load_default=None, allow_none=True, metadata={"description": "a selector, such as `rack:R1`"})
    rule = Text(load_default=None, allow_none=True, validate=Length(1, 120))
    hostname = Hostname(load_default=None, allow_none=True)
    subject = Text(load_default=None, allow_none=True, validate=Length(1, 1_000))
    upTo = Text(load_default=None, allow_none=True, validate=OneOf(SEVERITIES))

    @validates_schema
    def whom(self, said: dict[str, Any], **_: Any) -> None:
        is_bound = said.get("hostname") is not None or said.get("subject") is not None
        if said.get("where") is not None:
            if is_bound:
                raise ValidationError("say where, or hostname and rule, not both", "where")
        elif said.get("hostname") is None or said.get("rule") is None:
            raise ValidationError("is required, or both hostname and rule are", "where")
        if said.get("endsAt") is None and said.get("lastsSeconds") is None:
            raise ValidationError("is required, or lastsSeconds is", "endsAt")


class NewMaintenanceSchema(_Span):
    """Work on the hosts of `where`: once, or `weekly` from `beginsAt` on; then `endsAt` may be null, for no end."""

    where = Where(required=True, metadata={"description": "a selector, such as `rack:R1`"})
    weekly = fields.Nested(WeeklySchema, load_default=None, allow_none=True)

    @validates_schema
    def has_end(self, said: dict[str, Any], **_: Any) -> None:
        if said.get("weekly") is None and said.get("endsAt") is None and said.get("lastsSeconds") is None:
            raise ValidationError("is required, or lastsSeconds or weekly is", "endsAt")


class ChangedMuteTimeSchema(WeeklySchema):
    """The hours of a mute time."""


class NewMuteTimeSchema(WeeklySchema):
    """A mute time, which routes name."""

    name = Text(required=True, validate=_name)


class QuietQuery(WireSchema):
    """`state`: only those; without it all that are not over. `at`: as they were at that time."""

    state = Text(load_default=None, validate=OneOf(STATES))
    at = InstantQuery(load_default=None)


class MeantQuery(WireSchema):
    """Which hosts, and which rule of theirs; without one, every rule."""

    where = Where(required=True, metadata={"description": "a selector, such as `rack:R1`"})
    rule = Text(load_default=None, validate=Length(1, 120))


class MeantSchema(WireSchema):
    """How many hosts of the `fleet`, and how many open alerts, are meant; whether a silence of them has to be confirmed."""

    hosts = fields.Integer(required=True)
    fleet = fields.Integer(required=True)
    alerts = fields.Integer(required=True)
    mustConfirm = fields.Boolean(required=True)


class _Version(WireSchema):
    """`by` made this version at `changedAt`. `state`: whether it counts at the moment. `source` file: it can be changed there only."""

    source = fields.String(required=True, validate=OneOf((HUD, FILE)))
    version = fields.Integer(required=True)
    by = fields.String(required=True)
    changedAt = instant()
    state = fields.String(required=True, validate=OneOf(STATES))


class SilenceSchema(_Version):
    """Either `where`, with one `rule` or (null) every rule; or `rule`, `hostname` and `subject` of an alert."""

    id = fields.String(required=True)
    where = nullable(fields.String)
    rule = nullable(fields.String)
    hostname = nullable(fields.String)
    subject = nullable(fields.String)
    upTo = fields.String(required=True, validate=OneOf(SEVERITIES))
    beginsAt = instant()
    endsAt = instant()
    note = fields.String(required=True)


class MaintenanceSchema(_Version):
    """`until`: when it is over at the moment, with the time that the hosts have to come back; null unless it is on.

    `nextAt`: when work begins, while it waits; null if that is more than eight days after `beginsAt` and now.
    """

    id = fields.String(required=True)
    where = fields.String(required=True)
    beginsAt = instant()
    endsAt = instant(allow_none=True)
    weekly = fields.Nested(WeeklySchema, required=True, allow_none=True)
    note = fields.String(required=True)
    until = instant(allow_none=True)
    nextAt = instant(allow_none=True)


class MuteTimeSchema(_Version):
    """`until`: when it ends, if it is on; null unless it is, or if it never ends. `nextAt`: when it begins, while it is not on."""

    name = fields.String(required=True)
    weekdays = fields.List(fields.String(validate=OneOf(WEEKDAYS)), required=True)
    from_ = fields.String(required=True, data_key="from")
    to = fields.String(required=True)
    zone = fields.String(required=True)
    until = instant(allow_none=True)
    nextAt = instant(allow_none=True)


class SilenceList(WireSchema):
    items = fields.List(fields.Nested(SilenceSchema), required=True)
    total = fields.Integer(required=True)


class MaintenanceList(WireSchema):
    items = fields.List(fields.Nested(MaintenanceSchema), required=True)
    total = fields.Integer(required=True)


class MuteTimeList(WireSchema):
    items = fields.List(fields.Nested(MuteTimeSchema), required=True)
    total = fields.Integer(required=True)


def on_wire(version: Version, at: Instant, grace: Instant) -> dict[str, Any]:
    """A SilenceSchema, MaintenanceSchema or MuteTimeSchema, with its state at an instant."""
    what, state = version.what, version.state(at, grace)
    head = {
        "source": version.source,
        "version": version.number,
        "by": version.by,
        "changedAt": to_text(version.at),
        "state": state,
    }
    if isinstance(what, MuteTime):
        until = what.ends_at(at) if state == ON else None
        begins = {"nextAt": to_optional_text(what.begins_at(at) if state == WAITING else None)}
        return {"name": version.id} | weekly_said(what) | head | {"until": to_optional_text(until)} | begins
    span = {"id": version.id, "where": None if what.where is None else what.where.text, "note": what.note}
    span |= {"beginsAt": to_text(what.begins_at), "endsAt": to_optional_text(what.ends_at)}
    if isinstance(what, Silence):
        bound = {"rule": what.rule, "hostname": what.hostname, "subject": what.subject, "upTo": what.up_to}
        return span | bound | head
    weekly = None if what.weekly is None else weekly_said(what.weekly)
    begins = {"nextAt": to_optional_text(what.begins_next(at) if state == WAITING else None)}
    return span | {"weekly": weekly, "until": to_optional_text(what.quiet_until(at, grace))} | begins | head


def silence_of(said: Mapping[str, Any], now: Instant) -> Silence:
    """The silence of a validated NewSilenceSchema; without `upTo` it is for every severity."""
    begins_at, ends_at = span_of(said, now)
    keys = (said["where"], said["rule"], said["hostname"], said["subject"])
    return Silence(*keys, said["upTo"] or SEVERITIES[-1], begins_at, ends_at or 0, said["note"])


def maintenance_of(said: Mapping[str, Any], now: Instant) -> Maintenance:
    """The maintenance of a validated NewMaintenanceSchema."""
    begins_at, ends_at = span_of(said, now)
    weekly = None if said["weekly"] is None else weekly_of(said["weekly"])
    return Maintenance(said["where"], begins_at, ends_at, weekly, said["note"])
