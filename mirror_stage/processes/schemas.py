"""The processes of a moment on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields
from marshmallow.validate import Length

from mirror_stage.processes.domain import NAME_MOST
from mirror_stage.web.schemas import Hostname, InstantQuery, Text, WireSchema, instant, nullable


class ProcessesQuery(WireSchema):
    """The processes of a host at a moment. With `name` the minutes of that process, whether it was there at that moment or not."""

    hostname = Hostname(required=True)
    at = InstantQuery(metadata={"description": "now, if it is left out"})
    since = InstantQuery(data_key="from", metadata={"description": "where `t` begins; three hours before `at`"})
    name = Text(validate=Length(1, NAME_MOST))


class ProcessSinceSchema(WireSchema):
    """Since when a process uses at least half of what it uses now. `isExact` false: at least since then."""

    at = instant()
    isExact = fields.Boolean(required=True)


def _minutes(what: str) -> Any:
    return fields.List(fields.Float(allow_none=True), required=True, metadata={"description": what})


class ProcessMinutesSchema(WireSchema):
    """The processes of one name and user together. Null: they were not among the busiest."""

    name = fields.String(required=True)
    username = nullable(fields.String)
    count = nullable(fields.Integer, metadata={"description": "how many processes they are"})
    cpuPercent = nullable(fields.Float, metadata={"description": "of one core"})
    memoryPercent = nullable(fields.Float)
    cpuSince = fields.Nested(ProcessSinceSchema, required=True, allow_none=True)
    memorySince = fields.Nested(ProcessSinceSchema, required=True, allow_none=True)
    cpu = _minutes("the CPU percent in each minute of `t`")
    memory = _minutes("the memory percent in each minute of `t`")


ProcessHistorySchema = Schema.from_dict(
    {
        "hostname": fields.String(required=True),
        "at": instant(),
        "minute": fields.String(
            required=True,
            allow_none=True,
            metadata={
                "format": "date-time",
                "description": "the minute that was noted; null: nothing is known of `at`",
            },
        ),
        "from": instant(),
        "t": fields.List(instant(), required=True, metadata={"description": "the minutes of which something is known"}),
        "items": fields.List(fields.Nested(ProcessMinutesSchema), required=True),
        "total": fields.Integer(required=True),
    },
    name="ProcessHistorySchema",
)
