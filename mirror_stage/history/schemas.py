"""The queries of the history and their answers on the wire."""

from __future__ import annotations

import typing

from marshmallow import ValidationError, fields, validates_schema
from marshmallow.validate import Length, OneOf, Range

from mirror_stage.history.domain import METRICS_BY_NAME, RESOLUTIONS
from mirror_stage.history.service import GROUP_STATISTICS, HOST_STATISTICS
from mirror_stage.web.schemas import Hostname, InstantQuery, InstantText, WireSchema

GROUPINGS = ("rack", "room", "tier", "all")
HOSTS_MAX = 200


class MetricNames(fields.Field[list[str]]):
    """Names of metrics, separated by commas."""

    def _deserialize(self, value: typing.Any, attr: str | None, data: typing.Any, **kwargs: typing.Any) -> list[str]:
        names = [name.strip() for name in str(value).split(",") if name.strip()]
        unknown = [name for name in names if name not in METRICS_BY_NAME]
        if unknown:
            raise ValidationError(f"there is no metric {unknown[0][:40]!r}; there are {', '.join(METRICS_BY_NAME)}")
        if not names:
            raise ValidationError("name at least one metric")
        return list(dict.fromkeys(names))


class HistoryQuery(WireSchema):
    """Defaults: all `metrics`, `from` one hour before `to`, and a `stepSeconds` that gives about 500 points.

    `bom=1` begins a CSV with a byte order mark, for Excel.
    """

    metrics = MetricNames(load_default=list(METRICS_BY_NAME), metadata={"type": "string"})
    since = InstantQuery(data_key="from")
    until = InstantQuery(data_key="to")
    stepSeconds = fields.Integer(validate=Range(1, 31_536_000))
    format = fields.String(load_default="json", validate=OneOf(("json", "csv")))
    bom = fields.Boolean(load_default=False)

    @validates_schema
    def _only_a_csv_has_a_bom(self, query: dict[str, typing.Any], **kwargs: object) -> None:
        if query.get("bom") and query.get("format") != "csv":
            raise ValidationError("is for format=csv only", "bom")


class HistoriesQuery(HistoryQuery):
    """`hostname` names the hosts. With `groupBy` and no `hostname` the answer is about all hosts."""

    hostname = fields.List(Hostname(), load_default=list, validate=Length(max=HOSTS_MAX))
    groupBy = fields.String(validate=OneOf(GROUPINGS))


def _columns(statistics: tuple[str, ...]) -> type[WireSchema]:
    lists: dict[str, fields.Field[typing.Any]] = {
        name: fields.List(fields.Float(allow_none=True), required=True) for name in statistics
    }
    return typing.cast("type[WireSchema]", WireSchema.from_dict(lists, name=f"{statistics[0].title()}ColumnsSchema"))


HostColumnsSchema, GroupColumnsSchema = _columns(HOST_STATISTICS), _columns(GROUP_STATISTICS)


class WindowSchema(WireSchema):
    """Columns: the n-th value of a list belongs to the n-th instant of `t`."""

    since = InstantText(required=True, data_key="from")
    until = InstantText(required=True, data_key="to")
    stepSeconds = fields.Integer(required=True)
    resolution = fields.String(required=True, validate=OneOf([resolution.name for resolution in RESOLUTIONS]))
    t = fields.List(InstantText(), required=True)


class HistorySchema(WindowSchema):
    hostname = fields.String(required=True)
    metrics = fields.Dict(keys=fields.String(), values=fields.Nested(HostColumnsSchema), required=True)


class HostSeriesSchema(WireSchema):
    hostname = fields.String(required=True)
    metrics = fields.Dict(keys=fields.String(), values=fields.Nested(HostColumnsSchema), required=True)


class GroupSeriesSchema(WireSchema):
    group = fields.String(required=True, allow_none=True)
    hosts = fields.Integer(required=True)
    metrics = fields.Dict(keys=fields.String(), values=fields.Nested(GroupColumnsSchema), required=True)


class HistoriesSchema(WindowSchema):
    """Has `hosts`, or `groups` if the query has `groupBy`. `unknownHosts` were asked for, and there has never been one."""

    unknownHosts = fields.List(fields.String(), required=True)
    groupBy = fields.String(validate=OneOf(GROUPINGS))
    hosts = fields.List(fields.Nested(HostSeriesSchema))
    groups = fields.List(fields.Nested(GroupSeriesSchema))
