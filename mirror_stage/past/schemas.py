"""The queries of the past and their answers on the wire."""

from __future__ import annotations

import math
from typing import Any

from marshmallow import Schema, ValidationError, fields
from marshmallow.validate import OneOf, Range

from mirror_stage.history.domain import RESOLUTIONS
from mirror_stage.past.availability import PERIODS
from mirror_stage.past.domain import THRESHOLDS
from mirror_stage.twin.schemas import PointSchema
from mirror_stage.web.schemas import InstantQuery, InstantText, WireSchema

BUCKETS_MAX = 1_000


class ThresholdsText(fields.Field[dict[str, float]]):
    """Thresholds by metric, as in `cpuLoad:5,utilization:0.1`, or one number for all metrics."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, float]:
        if ":" not in value:
            return dict.fromkeys(THRESHOLDS, self._number(value))
        found: dict[str, float] = {}
        for part in value.split(","):
            name, _, number = part.partition(":")
            if name.strip() not in THRESHOLDS:
                raise ValidationError(f"{name.strip()[:40]!r} is not one of {', '.join(THRESHOLDS)}")
            found[name.strip()] = self._number(number)
        return found

    @staticmethod
    def _number(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            raise ValidationError(
                f"{text[:40]!r} is not a number of at least 0; write 10, or cpuLoad:5,utilization:0.1"
            )
        return number


class DiffQuery(WireSchema):
    start = InstantQuery(required=True, data_key="from")
    end = InstantQuery(data_key="to", metadata={"description": "now, if it is left out"})
    threshold = ThresholdsText(
        load_default=dict,
        metadata={
            "description": "`cpuLoad:5,utilization:0.1` replaces the defaults of these metrics, one number all defaults"
        },
    )


class TimelineQuery(WireSchema):
    start = InstantQuery(data_key="from", metadata={"description": "a day before `to`, if it is left out"})
    end = InstantQuery(data_key="to", metadata={"description": "now, if it is left out"})
    buckets = fields.Integer(load_default=120, validate=Range(1, BUCKETS_MAX))


PeriodSchema = Schema.from_dict(
    {
        "period": fields.String(required=True, validate=OneOf([name for name, _ in PERIODS])),
        "from": InstantText(required=True),
        "onlineSeconds": fields.Float(required=True),
        "offlineSeconds": fields.Float(required=True),
        "unknownSeconds": fields.Float(
            required=True, metadata={"description": "the host was not in the twin, or EGO was not running"}
        ),
        "outages": fields.Integer(required=True),
        "availability": fields.Float(
            required=True,
            allow_none=True,
            metadata={"description": "online / (online + offline); null: nothing is known"},
        ),
    },
    name="PeriodSchema",
)


class AvailabilitySchema(WireSchema):
    hostname = fields.String(required=True)
    to = InstantText(required=True)
    periods = fields.List(fields.Nested(PeriodSchema), required=True)


class WhereaboutsSchema(WireSchema):
    rack = fields.String(required=True, allow_none=True)
    uplink = fields.String(required=True, allow_none=True)
    position = fields.Nested(PointSchema, required=True)


class MoveSchema(WireSchema):
    hostname = fields.String(required=True)
    before = fields.Nested(WhereaboutsSchema, required=True)
    after = fields.Nested(WhereaboutsSchema, required=True)


class StatusChangeSchema(WireSchema):
    hostname = fields.String(required=True)
    before = fields.String(required=True)
    after = fields.String(required=True)


class MetricChangeSchema(WireSchema):
    hostname = fields.String(required=True)
    metric = fields.String(required=True, validate=OneOf(tuple(THRESHOLDS)))
    before = fields.Float(required=True)
    after = fields.Float(required=True)
    change = fields.Float(required=True)


DiffSchema = Schema.from_dict(
    {
        "from": InstantText(required=True),
        "to": InstantText(required=True),
        "resolutions": fields.List(
            fields.String(validate=OneOf([resolution.name for resolution in RESOLUTIONS])),
            required=True,
            metadata={"description": "the tiers of the history that the two moments were read from"},
        ),
        "thresholds": fields.Dict(keys=fields.String(), values=fields.Float(), required=True),
        "came": fields.List(fields.String(), required=True),
        "went": fields.List(fields.String(), required=True),
        "moved": fields.List(fields.Nested(MoveSchema), required=True),
        "status": fields.List(fields.Nested(StatusChangeSchema), required=True),
        "metrics": fields.List(fields.Nested(MetricChangeSchema), required=True),
    },
    name="DiffSchema",
)


def _counts() -> fields.List:
    return fields.List(fields.Integer(), required=True)


class BySeveritySchema(WireSchema):
    info = _counts()
    warning = _counts()
    critical = _counts()


class AlertsTimelineSchema(WireSchema):
    fired = fields.Nested(BySeveritySchema, required=True)
    active = fields.Nested(BySeveritySchema, required=True)
    resolved = fields.Nested(BySeveritySchema, required=True)


class CommandsTimelineSchema(WireSchema):
    created = _counts()
    finished = _counts()
    failed = _counts()


class HostsTimelineSchema(WireSchema):
    online = fields.List(fields.Float(), required=True)


TimelineSchema = Schema.from_dict(
    {
        "from": InstantText(required=True),
        "to": InstantText(required=True),
        "bucketSeconds": fields.Float(required=True),
        "t": fields.List(InstantText(), required=True),
        "alerts": fields.Nested(AlertsTimelineSchema, required=True),
        "commands": fields.Nested(CommandsTimelineSchema, required=True),
        "hosts": fields.Nested(HostsTimelineSchema, required=True),
    },
    name="TimelineSchema",
)
