"""The back-test on the wire."""

from __future__ import annotations

from marshmallow import fields
from marshmallow.validate import OneOf, Range

from mirror_stage.backtest.service import DAYS_MAX, UNKNOWN
from mirror_stage.web.schemas import InstantText, WireSchema


class BackTestQuery(WireSchema):
    days = fields.Integer(load_default=DAYS_MAX, validate=Range(1, DAYS_MAX))


class ForSchema(WireSchema):
    """How often a rule with this `for` would have fired: at least `certain`, at most `possible` stretches."""

    for_ = fields.String(required=True, data_key="for")
    certain = fields.Integer(required=True)
    possible = fields.Integer(required=True)
    brief = fields.Integer(
        required=True, metadata={"description": "of the possible ones, those shorter than 2 minutes"}
    )
    hosts = fields.Integer(required=True, metadata={"description": "how many hosts have a possible one"})


class MarkSchema(WireSchema):
    """A stretch in which the rule would have fired, perhaps or surely. `to` is null where it lasts."""

    hostname = fields.String(required=True)
    subject = fields.String(required=True, allow_none=True)
    from_ = InstantText(required=True, data_key="from")
    to = InstantText(required=True, allow_none=True)
    isCertain = fields.Boolean(required=True)


class BackTestSchema(WireSchema):
    """What a rule would have said. `marks`: the newest 500 of `total`, of the `for` that the rule has."""

    from_ = InstantText(required=True, data_key="from")
    to = InstantText(required=True)
    hosts = fields.Integer(required=True, metadata={"description": "how many hosts it was for"})
    complete = fields.Boolean(
        required=True, metadata={"description": "false: there was no time for the hosts of `unread`"}
    )
    unread = fields.List(fields.String(), required=True, metadata={"description": "at most 100 of `unreadTotal`"})
    unreadTotal = fields.Integer(required=True)
    byFor = fields.List(fields.Nested(ForSchema), required=True)
    messages = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "that all marks together would have been; null: no time to tell"},
    )
    total = fields.Integer(required=True)
    marks = fields.List(fields.Nested(MarkSchema), required=True)
    unknown_ = fields.List(
        fields.String(validate=OneOf(UNKNOWN)),
        required=True,
        data_key="unknown",
        metadata={"description": "what the history cannot tell"},
    )
