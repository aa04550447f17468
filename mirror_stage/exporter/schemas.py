"""Targets on the wire, as Prometheus wants them."""

from __future__ import annotations

from marshmallow import fields
from marshmallow.validate import Range

from mirror_stage.web.schemas import WireSchema


class TargetsQuery(WireSchema):
    port = fields.Integer(
        validate=Range(1, 65_535), metadata={"description": "of a program on the hosts, such as node_exporter's 9100"}
    )


class TargetsSchema(WireSchema):
    """Addresses, and the labels of all that is scraped there."""

    targets = fields.List(fields.String(), required=True)
    labels = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
