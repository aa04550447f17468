"""The fields of a sample on the wire. This schema decides what is valid; the fast decoder is compiled from it."""

from __future__ import annotations

from typing import Any

from marshmallow import fields
from marshmallow.validate import Length, OneOf, Range, Regexp

from mirror_stage.metrics.measures import REPORTED, Measure
from mirror_stage.web.schemas import SAFE_WHOLE, InstantText, Number, Text, Truth, Whole, WireSchema

SAMPLES_MAX = 1_000
IPV4 = Regexp(
    r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\Z",
    error="must be an IPv4 address",
)


def _text(least: int, most: int) -> Text:
    return Text(required=True, validate=Length(least, most))


def _optional_text(most: int | None = None) -> Text:
    return Text(allow_none=True, load_default=None, validate=Length(max=most) if most else None)


def _optional_number(least: float | None = None, most: float | None = None) -> Number:
    bounded = least is not None or most is not None
    return Number(allow_none=True, load_default=None, validate=Range(least, most) if bounded else None)


def _optional_whole(most: int = SAFE_WHOLE) -> Whole:
    return Whole(allow_none=True, load_default=None, validate=Range(0, most))


def _reading(measure: Measure) -> fields.Field[Any]:
    """The field of a measure. Even a required one may be null here, because `normalise` checks it against `unknown`."""
    if measure.is_whole:
        return _optional_whole()
    bounds = Range(measure.least, measure.most)
    about = {"description": "required; see `unknown`"} if measure.is_needed else None
    return Number(allow_none=True, load_default=None, validate=bounds if measure.is_bounded else None, metadata=about)


class PositionReading(WireSchema):
    x = _optional_number()
    y = _optional_number()
    z = _optional_number()


class DiskReading(WireSchema):
    device = _optional_text()
    mountpoint = Text(required=True)
    fstype = _optional_text()
    total_bytes = _optional_whole()
    used_bytes = _optional_whole()
    used_percent = _optional_number()
    is_read_only = Truth(allow_none=True, load_default=None)


class InterfaceReading(WireSchema):
    name = Text(required=True)
    bytes_sent = _optional_whole()
    bytes_recv = _optional_whole()
    packets_sent = _optional_whole()
    packets_recv = _optional_whole()
    errin = _optional_whole()
    errout = _optional_whole()
    dropin = _optional_whole()
    dropout = _optional_whole()
    speed_mbps = _optional_number()
    is_up = Truth(allow_none=True, load_default=None)


class ProcessReading(WireSchema):
    pid = _optional_whole()
    name = Text(required=True)
    username = _optional_text()
    cpu_percent = _optional_number()
    memory_percent = _optional_number()


_Readings: Any = WireSchema.from_dict({one.name: _reading(one) for one in REPORTED}, name="ReadingsSchema")


class SampleSchema(_Readings):  # type: ignore[misc]
    """One host at one instant, as an agent reports it. See `docs/contract.md` section 1, Metrics."""

    hostname = Text(required=True)
    timestamp = Text(required=True, metadata={"description": "ISO 8601; a time without a zone is UTC"})
    agent_version = _text(1, 200)
    platform = _text(1, 200)
    ip = Text(allow_none=True, load_default=None, validate=IPV4)
    ipv4 = Text(allow_none=True, load_default=None, validate=IPV4)
    rack = _optional_text(64)
    position = fields.Nested(PositionReading, allow_none=True, load_default=None)
    system_manufacturer = _optional_text(160)
    system_model = _optional_text(160)
    bios_version = _optional_text(160)
    cpu_model = _optional_text(160)
    os_distro = _optional_text(160)
    os_release = _optional_text(160)
    os_kernel = _optional_text(160)
    cpu_physical_cores = _optional_whole()
    cpu_logical_cores = _optional_whole()
    primary_interface_speed_mbps = _optional_number(0)
    tags = fields.Dict(keys=Text(), values=Text(), allow_none=True, load_default=None, validate=Length(max=64))
    cpu_per_core = fields.List(Number(), allow_none=True, load_default=None, validate=Length(max=1024))
    disks = fields.List(fields.Nested(DiskReading), allow_none=True, load_default=None, validate=Length(max=64))
    interfaces = fields.List(
        fields.Nested(InterfaceReading), allow_none=True, load_default=None, validate=Length(max=64)
    )
    temperatures = fields.Dict(
        keys=Text(), values=Number(), allow_none=True, load_default=None, validate=Length(max=256)
    )
    top_processes = fields.List(
        fields.Nested(ProcessReading), allow_none=True, load_default=None, validate=Length(max=50)
    )
    unknown = fields.List(  # type: ignore[assignment]  # marshmallow has an option of this name
        Text(),
        allow_none=True,
        load_default=None,
        validate=Length(max=8),
        metadata={"description": "required fields that cannot be read on this machine"},
    )
    agent_instance = _optional_text(64)
    primary_interface = _optional_text(64)
    interval_seconds = Number(
        allow_none=True,
        load_default=None,
        validate=Range(0, min_inclusive=False),
        metadata={"description": "seconds between two samples of this host"},
    )
    command_policy = Text(allow_none=True, load_default=None, validate=OneOf(("off", "allow_list", "all")))


class BatchSchema(WireSchema):
    """1 to 1,000 samples, at most 4 MiB."""

    samples = fields.List(fields.Nested(SampleSchema), required=True, validate=Length(1, SAMPLES_MAX))


class SampleErrorSchema(WireSchema):
    index = fields.Integer(required=True)
    field = fields.String(required=True)
    message = fields.String(required=True)


class DroppedSchema(WireSchema):
    """Entries of a diagnostic list that were left out of a sample: malformed ones, or more than fit."""

    index = fields.Integer(required=True)
    field = fields.String(required=True)
    count = fields.Integer(required=True)


class ReceiptSchema(WireSchema):
    """How many samples are stored. Duplicates were stored before and count as accepted."""

    accepted = fields.Integer(required=True)
    receivedAt = InstantText(required=True, metadata={"type": "string", "format": "date-time"})
    duplicates = fields.Integer()
    rejected = fields.Integer()
    errors = fields.List(fields.Nested(SampleErrorSchema))
    dropped = fields.List(fields.Nested(DroppedSchema))
    moreDropped = fields.Integer()
    moreErrors = fields.Integer()
