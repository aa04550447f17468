"""The OpenAPI schemas of the twin. `encode.py` encodes the frames; a test compares it with these schemas."""

from __future__ import annotations

from typing import Any

from marshmallow import fields
from marshmallow.validate import OneOf

from mirror_stage.history.domain import RESOLUTIONS
from mirror_stage.metrics.measures import OF_SAMPLE
from mirror_stage.web.schemas import InstantQuery, InstantText, Text, WireSchema

_STATUSES = ("online", "stale", "offline")


def _number() -> fields.Float:
    return fields.Float(required=True, allow_none=True)


def _whole() -> fields.Integer:
    return fields.Integer(required=True, allow_none=True)


def _text() -> fields.String:
    return fields.String(required=True, allow_none=True)


class PointSchema(WireSchema):
    x = fields.Float(required=True)
    y = fields.Float(required=True)
    z = fields.Float(required=True)


_METRICS: dict[str, fields.Field[Any]] = {
    one.wire: _whole() if one.is_whole else _number() for one in OF_SAMPLE if one.is_in_host
}
_DAYS = fields.Float(
    required=True,
    allow_none=True,
    metadata={"description": "in how many days the first of its disks is full, by the last forecast; null: none fills"},
)
MetricsSchema = WireSchema.from_dict(
    _METRICS | {"netThroughputGbps": _number(), "diskDaysToFull": _DAYS}, name="MetricsSchema"
)


class HostSchema(WireSchema):
    """A host of the twin."""

    hostname = fields.String(required=True)
    displayName = fields.String(required=True)
    label = fields.String(required=True)
    role = fields.String(required=True, validate=OneOf(("hub", "ego", "host")))
    ip = _text()
    status = fields.String(required=True, validate=OneOf(_STATUSES))
    severity = fields.String(required=True, allow_none=True, validate=OneOf(("info", "warning", "critical", None)))
    isSynthetic = fields.Boolean(required=True)
    lastSeen = InstantText(required=True, allow_none=True)
    agentVersion = fields.String(required=True)
    platform = fields.String(required=True)
    rack = _text()
    room = _text()
    tier = _text()
    uplink = _text()
    position = fields.Nested(PointSchema, required=True)
    positionSource = fields.String(required=True, validate=OneOf(("sample", "computed")))
    metrics = fields.Nested(MetricsSchema, required=True)
    unverified = fields.Boolean(
        metadata={"description": "true: nothing but its address says who it is; left out of all other hosts"}
    )


class LinkSchema(WireSchema):
    """The link from a host's uplink to the host, and its load. An unmeasured link has 0 and `measured: false`."""

    id = fields.String(required=True)
    source = fields.String(required=True)
    target = fields.String(required=True)
    throughputGbps = fields.Float(required=True)
    rxGbps = fields.Float(required=True)
    txGbps = fields.Float(required=True)
    utilization = fields.Float(required=True)
    capacityGbps = _number()
    measured = fields.Boolean(required=True)


class SnapshotSchema(WireSchema):
    """The whole twin at one tick, or as it was at a moment."""

    type = fields.String(required=True)
    twinId = fields.String(required=True)
    epoch = fields.String(required=True)
    revision = fields.Integer(required=True)
    generatedAt = InstantText(required=True)
    at = InstantText(
        metadata={
            "description": "the moment that the query named; `at`, `resolution` and `alerts` are there only if it named one"
        }
    )
    resolution = fields.String(validate=OneOf([one.name for one in RESOLUTIONS]))
    alerts = fields.List(
        fields.Nested("AlertSchema"), metadata={"description": "the alerts that were active at that moment"}
    )
    hosts = fields.List(fields.Nested(HostSchema), required=True)
    links = fields.List(fields.Nested(LinkSchema), required=True)


class MomentQuery(WireSchema):
    at = InstantQuery(metadata={"description": "the moment to show; the live twin, if it is left out"})
    after = InstantQuery(
        metadata={"description": "wait, at most 2 s, for the samples that EGO acknowledged with this receivedAt"}
    )


class HardwareSchema(WireSchema):
    systemManufacturer = _text()
    systemModel = _text()
    biosVersion = _text()
    cpuModel = _text()
    cpuPhysicalCores = _whole()
    cpuLogicalCores = _whole()
    memoryTotalBytes = _whole()
    osDistro = _text()
    osRelease = _text()
    osKernel = _text()


class DiskSchema(WireSchema):
    device = _text()
    mountpoint = fields.String(required=True)
    fstype = _text()
    totalBytes = _whole()
    usedBytes = _whole()
    usedPercent = _number()


class InterfaceSchema(WireSchema):
    name = fields.String(required=True)
    bytesSent = _whole()
    bytesRecv = _whole()
    packetsSent = _whole()
    packetsRecv = _whole()
    errIn = _whole()
    errOut = _whole()
    dropIn = _whole()
    dropOut = _whole()
    speedMbps = _number()
    isUp = fields.Boolean(required=True, allow_none=True)


class ProcessSchema(WireSchema):
    pid = _whole()
    name = fields.String(required=True)
    username = _text()
    cpuPercent = _number()
    memoryPercent = _number()


class DiagnosticsSchema(WireSchema):
    cpuPerCore = fields.List(fields.Float(), required=True, allow_none=True)
    swapUsedPercent = _number()
    disks = fields.List(fields.Nested(DiskSchema), required=True, allow_none=True)
    interfaces = fields.List(fields.Nested(InterfaceSchema), required=True, allow_none=True)
    topProcesses = fields.List(fields.Nested(ProcessSchema), required=True, allow_none=True)
    temperatures = fields.Dict(keys=fields.String(), values=fields.Float(), required=True, allow_none=True)
    tags = fields.Dict(keys=fields.String(), values=fields.String(), required=True)


class HostDetailSchema(HostSchema):
    """A host with its hardware and diagnostics."""

    hardware = fields.Nested(HardwareSchema, required=True)
    diagnostics = fields.Nested(DiagnosticsSchema, required=True)
    firstSeen = InstantText(required=True, allow_none=True)
    reportedAt = InstantText(required=True, allow_none=True)
    commandPolicy = _text()
    lastPollAt = InstantText(required=True, allow_none=True)
    pinned = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "what an admin has pinned: `rack`, names of tags; the rest is what the agent says"},
    )


class HostQuery(WireSchema):
    status = fields.String(validate=OneOf(_STATUSES))
    rack = Text()
    tag = Text(metadata={"description": "`name` or `name:value`"})
    takesCommands = fields.Boolean(
        metadata={"description": "whether the host's agent takes commands: it has polled, and its policy is not off"}
    )
    search = Text(
        metadata={"description": "a part of the hostname, the display name or the address, in upper or lower case"}
    )


class HostList(WireSchema):
    items = fields.List(fields.Nested(HostSchema), required=True)
    total = fields.Integer(required=True)
