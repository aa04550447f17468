"""The forecasts of disks on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from mirror_stage.web.schemas import WireSchema


def _days(what: str) -> Any:
    return fields.Float(required=True, allow_none=True, metadata={"description": what})


class DiskForecastSchema(WireSchema):
    """In how many days a disk is full; null: not within ten years, or not enough is known (`isKnown` false)."""

    mountpoint = fields.String(required=True)
    usedBytes = fields.Integer(required=True)
    usableBytes = fields.Integer(required=True)
    isKnown = fields.Boolean(required=True)
    isSteady = fields.Boolean(
        required=True, metadata={"description": "the last day goes the same way as the last week"}
    )
    earliestDays = _days("at the earliest: four fifths of the slopes between two points of the week are flatter")
    likelyDays = _days("the median of these slopes")
    latestDays = _days("at the latest: a fifth of the slopes is flatter")


class DiskForecastList(WireSchema):
    hostname = fields.String(required=True)
    items = fields.List(fields.Nested(DiskForecastSchema), required=True)
    total = fields.Integer(required=True)
