"""REST: `/api/silences`, `/api/maintenance`, `/api/mute-times`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Response

from mirror_stage.access.gate import actor
from mirror_stage.core.clock import Clock
from mirror_stage.quiet.domain import MAINTENANCE, MUTE_TIME, SILENCE, Silence, Version
from mirror_stage.quiet.schemas import (
    ChangedMuteTimeSchema,
    MaintenanceList,
    MaintenanceSchema,
    MeantQuery,
    MeantSchema,
    MuteTimeList,
    MuteTimeSchema,
    NewMaintenanceSchema,
    NewMuteTimeSchema,
    NewSilenceSchema,
    QuietQuery,
    SilenceList,
    SilenceSchema,
    maintenance_of,
    on_wire,
    silence_of,
    weekly_of,
)
from mirror_stage.quiet.service import Quiet
from mirror_stage.web.http import Blueprint, json_response
from mirror_stage.web.services import service

blp = Blueprint("quiet", __name__, url_prefix="/api", description="When nobody is told although something is wrong")


@blp.get("/silences")
@blp.arguments(QuietQuery(), location="query")
@blp.response(200, SilenceList)
def list_silences(query: dict[str, Any]) -> Response:
    """The silences, newest first."""
    return _listed(SILENCE, query)


@blp.post("/silences")
@blp.arguments(NewSilenceSchema())
@blp.response(201, SilenceSchema)
def create_silence(said: dict[str, Any]) -> Response:
    """Tell nobody of some alerts for some time, at most 30 days."""
    made = service(Quiet).create(SILENCE, _silence(said), actor(), is_confirmed=said["confirm"])
    return _shown(made, 201)


@blp.get("/selection")
@blp.arguments(MeantQuery(), location="query")
@blp.response(200, MeantSchema)
def selection(query: dict[str, Any]) -> Response:
    """How many hosts and open alerts a selector means now: what a silence of it would cover."""
    found = service(Quiet).meant(query["where"], query["rule"])
    answer = {"hosts": found.hosts, "fleet": found.fleet, "alerts": found.alerts, "mustConfirm": found.must_confirm}
    return json_response(answer)


@blp.put("/silences/<id>")
@blp.arguments(NewSilenceSchema())
@blp.response(200, SilenceSchema)
def change_silence(said: dict[str, Any], id: str) -> Response:
    """Change a silence that is not over. What has begun stays begun."""
    return _shown(service(Quiet).change(SILENCE, id, _silence(said), actor(), is_confirmed=said["confirm"]))


@blp.delete("/silences/<id>")
@blp.response(200, SilenceSchema)
def end_silence(id: str) -> Response:
    """End a silence now. What is still wrong is told at once."""
    return _shown(service(Quiet).end(SILENCE, id, actor()))


@blp.get("/maintenance")
@blp.arguments(QuietQuery(), location="query")
@blp.response(200, MaintenanceList)
def list_maintenance(query: dict[str, Any]) -> Response:
    """The maintenance, newest first."""
    return _listed(MAINTENANCE, query)


@blp.post("/maintenance")
@blp.arguments(NewMaintenanceSchema())
@blp.response(201, MaintenanceSchema)
def create_maintenance(said: dict[str, Any]) -> Response:
    """Plan work on some hosts, once or weekly. Their samples are kept; nobody is told of their alerts."""
    what = maintenance_of(said, service(Clock).now())
    return _shown(service(Quiet).create(MAINTENANCE, what, actor(), is_confirmed=said["confirm"]), 201)


@blp.put("/maintenance/<id>")
@blp.arguments(NewMaintenanceSchema())
@blp.response(200, MaintenanceSchema)
def change_maintenance(said: dict[str, Any], id: str) -> Response:
    """Change maintenance that is not over."""
    what = maintenance_of(said, service(Clock).now())
    return _shown(service(Quiet).change(MAINTENANCE, id, what, actor(), is_confirmed=said["confirm"]))


@blp.delete("/maintenance/<id>")
@blp.response(200, MaintenanceSchema)
def end_maintenance(id: str) -> Response:
    """End maintenance now. The hosts still have some minutes to come back."""
    return _shown(service(Quiet).end(MAINTENANCE, id, actor()))


@blp.get("/mute-times")
@blp.arguments(QuietQuery(), location="query")
@blp.response(200, MuteTimeList)
def list_mute_times(query: dict[str, Any]) -> Response:
    """The mute times, newest first. They count only where a route names them."""
    return _listed(MUTE_TIME, query)


@blp.post("/mute-times")
@blp.arguments(NewMuteTimeSchema())
@blp.response(201, MuteTimeSchema)
def create_mute_time(said: dict[str, Any]) -> Response:
    """Make a mute time."""
    return _shown(service(Quiet).create(MUTE_TIME, weekly_of(said), actor(), id=said["name"]), 201)


@blp.put("/mute-times/<name>")
@blp.arguments(ChangedMuteTimeSchema())
@blp.response(200, MuteTimeSchema)
def change_mute_time(said: dict[str, Any], name: str) -> Response:
    """Change the hours of a mute time."""
    return _shown(service(Quiet).change(MUTE_TIME, name, weekly_of(said), actor()))


@blp.delete("/mute-times/<name>")
@blp.response(200, MuteTimeSchema)
def end_mute_time(name: str) -> Response:
    """Remove a mute time. Its name is free again."""
    return _shown(service(Quiet).end(MUTE_TIME, name, actor()))


def _silence(said: dict[str, Any]) -> Silence:
    silence = silence_of(said, service(Clock).now())
    return silence if said["upTo"] is not None else replace(silence, up_to=service(Quiet).worst_now(silence))


def _listed(kind: str, query: dict[str, Any]) -> Response:
    at = query["at"]
    moment = service(Clock).now() if at is None else at
    items = [on_wire(one, moment, service(Quiet).grace) for one in service(Quiet).listed(kind, query["state"], at)]
    return json_response({"items": items, "total": len(items)})


def _shown(version: Version, status: int = 200) -> Response:
    return json_response(on_wire(version, service(Clock).now(), service(Quiet).grace), status)
