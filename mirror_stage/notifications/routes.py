"""REST: channels, routes, groups of alerts, and what was sent about them."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

from flask import Response, request

from mirror_stage.access.domain import MANAGE, decide
from mirror_stage.access.gate import actor
from mirror_stage.alerts.rulebook import RuleBook
from mirror_stage.alerts.schemas import NewAckSchema
from mirror_stage.alerts.service import AlertService
from mirror_stage.core.config import Config
from mirror_stage.core.instants import to_optional_text
from mirror_stage.core.problems import Invalid, NotFound
from mirror_stage.core.turns import in_turns
from mirror_stage.notifications.channels import Channel
from mirror_stage.notifications.directory import Directory
from mirror_stage.notifications.heartbeat import Heartbeat
from mirror_stage.notifications.labels import labels_of
from mirror_stage.notifications.on_wire import LISTED_MAX, delivery_on_wire, group_on_wire
from mirror_stage.notifications.reach import Survey, heard, kinds_of
from mirror_stage.notifications.schemas import (
    ChannelFields,
    ChannelList,
    ChannelSchema,
    DeliveryPage,
    DeliveryQuery,
    DeliverySchema,
    GroupPage,
    GroupQuery,
    GroupSchema,
    HeardList,
    HeardQuery,
    NewChannelSchema,
    ReachList,
    RoutesFields,
    RoutesSchema,
    SignOfLifeSchema,
    TestedSchema,
    channel_on_wire,
    route_of,
    route_on_wire,
    wanted,
)
from mirror_stage.notifications.sending import Sender
from mirror_stage.notifications.store import Routes
from mirror_stage.twin.service import TwinService
from mirror_stage.web.http import Blueprint, bounded_page, hostname_in_path, json_response
from mirror_stage.web.services import service

blp = Blueprint("notifications", __name__, url_prefix="/api", description="Who is told of which alerts")
_VERSION = re.compile(r'(?:W/)?"(\d{1,18})"')


@blp.get("/channels")
@blp.response(200, ChannelList)
def list_channels() -> Response:
    """Every channel, by name. Secrets are never shown."""
    items = [_on_wire(one) for one in service(Directory).all_channels()]
    return _private(json_response({"items": items, "total": len(items)}))


@blp.post("/channels")
@blp.arguments(NewChannelSchema())
@blp.response(201, ChannelSchema)
def create_channel(said: dict[str, Any]) -> Response:
    """Add a channel."""
    return _channel(service(Directory).create(wanted(said["name"], said), actor()), 201)


@blp.get("/channels/<name>")
@blp.response(200, ChannelSchema)
def get_channel(name: str) -> Response:
    """One channel."""
    return _channel(service(Directory).channel(name))


@blp.put("/channels/<name>")
@blp.arguments(ChannelFields())
@blp.response(200, ChannelSchema)
def put_channel(said: dict[str, Any], name: str) -> Response:
    """Change a channel, if it is still the one that If-Match names. Secrets that are left out stay."""
    return _channel(service(Directory).change(wanted(name, said), _expected(), actor()))


@blp.delete("/channels/<name>")
@blp.response(204)
def delete_channel(name: str) -> Response:
    """Remove a channel that no route names. What waits for it is given up."""
    service(Directory).remove(name, actor())
    return Response(status=204)


@blp.post("/channels/<name>/test")
@blp.response(200, TestedSchema)
def test_channel(name: str) -> Response:
    """Send a trial message at once, and say what the receiver answered."""
    outcome, latency_ms = service(Sender).test(name, str(uuid4()))
    answer = {
        "accepted": outcome.is_accepted,
        "status": outcome.status,
        "detail": outcome.detail,
        "latencyMs": latency_ms,
    }
    return _private(json_response(answer))


@blp.get("/routes")
@blp.response(200, RoutesSchema)
def get_routes() -> Response:
    """All routes in their order: the first that fits an alert counts, and those after it if it says `continue`."""
    return _routes(service(Directory).all_routes())


@blp.put("/routes")
@blp.arguments(RoutesFields())
@blp.response(200, RoutesSchema)
def put_routes(said: dict[str, Any]) -> Response:
    """Replace all routes, if they are still those that If-Match names."""
    routes = [route_of(one) for one in said["routes"]]
    return _routes(service(Directory).put_routes(routes, _expected(), actor()))


@blp.get("/routes/reach")
@blp.response(200, ReachList)
def reach() -> Response:
    """For how many hosts each rule is, and for how many of them nobody hears of it."""
    survey, book = Survey(service(Directory).routes), service(RuleBook)
    for host in in_turns(service(TwinService).shown().hosts()):
        if not host.is_synthetic:
            survey.add(labels_of(host.hostname, host), kinds_of(book.applied_to(host)))
    items = [
        {"rule": rule, "severity": severity, "hosts": one.hosts, "unheard": one.unheard, "example": one.example}
        for (rule, severity), one in survey.found.items()
    ]
    return json_response({"items": items, "total": len(items)})


@blp.get("/hosts/<hostname>/alert-routes")
@blp.arguments(HeardQuery(), location="query")
@blp.response(200, HeardList)
def who_hears(query: dict[str, Any], hostname: str) -> Response:
    """Who hears of the alerts that a host may have, and why."""
    name = hostname_in_path(hostname)
    host = service(TwinService).host(name)
    if host is None:
        raise NotFound(f"there is no host {name}; GET /api/hosts lists those that there are")
    kinds = [one for one in kinds_of(service(RuleBook).applied_to(host)) if query["rule"] in {None, one[0]}]
    told = [heard(service(Directory).routes, kind, labels_of(name, host)) for kind in kinds]
    items = [
        {
            "rule": one.rule,
            "severity": one.severity,
            "channels": list(one.channels),
            "routes": [{"name": route, "why": why} for route, why in one.routes],
        }
        for one in told
    ]
    return json_response({"hostname": name, "items": items, "total": len(items)})


@blp.get("/heartbeat")
@blp.response(200, SignOfLifeSchema)
def get_heartbeat() -> Response:
    """Whether EGO tells of alerts at all, and who is told that EGO lives."""
    heart, config = service(Heartbeat), service(Config)
    answer = {
        "notify": config.notify,
        "host": heart.host,
        "seconds": config.heartbeat_seconds,
        "acceptedAt": to_optional_text(heart.accepted_at),
        "detail": heart.trouble or None,
    }
    return json_response(answer)


@blp.get("/alert-groups")
@blp.arguments(GroupQuery(), location="query")
@blp.response(200, GroupPage)
def list_groups(query: dict[str, Any]) -> Response:
    """Groups of alerts, newest first, each with its worst problems."""
    page, page_size = bounded_page(query)
    groups, total, now = service(Sender).groups(query["open"], page, page_size)
    items = [group_on_wire(one, now, members_max=LISTED_MAX) for one in groups]
    return json_response({"items": items, "total": total, "page": page, "pageSize": page_size})


@blp.get("/alert-groups/<id>")
@blp.response(200, GroupSchema)
def get_group(id: str) -> Response:
    """One group of alerts."""
    return json_response(group_on_wire(*service(Sender).group(id)))


@blp.post("/alert-groups/<id>/ack")
@blp.arguments(NewAckSchema(), required=False)
@blp.response(200, GroupSchema)
def put_group_ack(wanted: dict[str, Any], id: str) -> Response:
    """Acknowledge every alert of a group that is active: somebody looks after all of it."""
    group, now = service(Sender).group(id)
    opened = {one.alert_id for one in group.open_members(now)}
    service(AlertService).acknowledge_all(opened, wanted["note"], wanted["until"], actor())
    return json_response(group_on_wire(group, now))


@blp.get("/deliveries")
@blp.arguments(DeliveryQuery(), location="query")
@blp.response(200, DeliveryPage)
def list_deliveries(query: dict[str, Any]) -> Response:
    """What was sent, what waits and what was given up, newest first."""
    page, page_size = bounded_page(query)
    filters = {"group_id" if name == "groupId" else name: value for name, value in query.items()}
    found, total = service(Sender).page(filters, page, page_size)
    items = [delivery_on_wire(one) for one in found]
    return json_response({"items": items, "total": total, "page": page, "pageSize": page_size})


@blp.post("/deliveries/<id>/retry")
@blp.response(200, DeliverySchema)
def retry_delivery(id: str) -> Response:
    """Send a message again that was given up, or one that waits at once."""
    return json_response(delivery_on_wire(service(Sender).try_again(id, actor())))


def _on_wire(channel: Channel) -> dict[str, Any]:
    is_whole = decide(actor(), MANAGE) is None
    return channel_on_wire(channel, service(Directory).host_of(channel), is_whole=is_whole)


def _channel(channel: Channel, status: int = 200) -> Response:
    answer = json_response(_on_wire(channel), status)
    answer.headers["ETag"] = f'"{channel.version}"'
    return _private(answer)


def _routes(routes: Routes) -> Response:
    shown = [route_on_wire(one) for one in routes.routes]
    answer = json_response({"routes": shown, "source": routes.source, "version": routes.version})
    answer.headers["ETag"] = f'"{routes.version}"'
    return _private(answer)


def _expected() -> int | None:
    """The version that If-Match names; None without it, or for `*`. Raises Invalid."""
    text = request.headers.get("If-Match", "*").strip()
    if text == "*":
        return None
    match = _VERSION.fullmatch(text)
    if match is None:
        raise Invalid("If-Match: must be the ETag of an earlier answer")
    return int(match[1])


def _private(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"
    return answer
