"""REST: `/api/alerts`, and the rules in `/api/alert-rules`."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from werkzeug.exceptions import MethodNotAllowed

from mirror_stage.access.gate import actor
from mirror_stage.alerts.rulebook import ROUTES, Entry, RuleBook, applied_on_wire, entry_on_wire, measures_on_wire
from mirror_stage.alerts.schemas import (
    AcksSchema,
    AlertPage,
    AlertQuery,
    AlertRuleList,
    AlertRuleSchema,
    AlertSchema,
    AppliedRuleList,
    NamedRuleBody,
    NewAckSchema,
    NewAcksSchema,
    NewRuleBody,
    PreviewSchema,
)
from mirror_stage.alerts.service import AlertService
from mirror_stage.core.problems import Invalid, NotFound
from mirror_stage.twin.service import TwinService
from mirror_stage.web.http import (
    BODY_MAX,
    Blueprint,
    bounded_page,
    hostname_in_path,
    json_response,
    parse_json,
    read_body,
)
from mirror_stage.web.services import service

blp = Blueprint("alerts", __name__, url_prefix="/api/alerts", description="What is wrong with which host")
rules_blp = Blueprint(
    "alert-rules", __name__, url_prefix="/api/alert-rules", description="When an alert fires, and for which hosts"
)
host_rules_blp = Blueprint("host-rules", __name__, url_prefix="/api/hosts", description="The alert rules of one host")


@blp.get("/active")
@blp.response(200, AlertSchema(many=True))
def active() -> Any:
    """The active alerts, newest first."""
    return service(AlertService).active()


@blp.get("")
@blp.arguments(AlertQuery, location="query")
@blp.response(200, AlertPage)
def list_alerts(query: dict[str, Any]) -> Any:
    """Alerts of the past and the present, newest first."""
    page, page_size = bounded_page(query)
    ended_by = query.pop("endedBy", None)
    items, total = service(AlertService).page(query, page, page_size, ended_by)
    return {"items": items, "total": total, "page": page, "pageSize": page_size}


@blp.post("/<id>/ack")
@blp.arguments(NewAckSchema(), required=False)
@blp.response(200, AlertSchema)
def put_ack(wanted: dict[str, Any], id: str) -> Any:
    """Acknowledge an active alert: somebody looks after it. It ends with the alert, a worse severity, or its time."""
    return service(AlertService).acknowledge(id, wanted["note"], wanted["until"], actor())


@blp.post("/acknowledge")
@blp.arguments(NewAcksSchema())
@blp.response(200, AcksSchema)
def put_acks(wanted: dict[str, Any]) -> Any:
    """Acknowledge those of these alerts that are active, in one step: of a place, of a selection, of a screen."""
    ids = list(dict.fromkeys(wanted["ids"]))
    taken = service(AlertService).acknowledge_all(ids, wanted["note"], wanted["until"], actor())
    return {"acknowledged": [id for id in ids if id in taken], "over": [id for id in ids if id not in taken]}


@blp.delete("/<id>/ack")
@blp.response(204)
def delete_ack(id: str) -> Response:
    """Acknowledge an alert no longer."""
    service(AlertService).withdraw(id, actor())
    return Response(status=204)


@rules_blp.get("")
@rules_blp.response(200, AlertRuleList)
def list_rules() -> Response:
    """Every alert rule, also those that are switched off: the built-in ones first; and what a rule may measure."""
    book = service(RuleBook)
    book.look()
    items = [entry_on_wire(entry) for entry in book.entries()]
    return json_response({"items": items, "total": len(items), "measures": measures_on_wire()})


@rules_blp.post("")
@rules_blp.documented_body(NamedRuleBody)
@rules_blp.response(201, AlertRuleSchema)
def create_rule() -> Response:
    """Make an alert rule. EGO judges by it within a second."""
    document = rule_document()
    name = document.get("name")
    if not isinstance(name, str):
        raise Invalid("name: is missing", errors=[{"field": "name", "message": "is missing"}])
    return _rule(service(RuleBook).create(name, document, actor()), 201)


@rules_blp.post("/preview")
@rules_blp.documented_body(NamedRuleBody)
@rules_blp.response(200, PreviewSchema)
def preview() -> Response:
    """Which hosts an alert rule is for, and where it would be breached now. Nothing is stored."""
    return json_response(service(RuleBook).preview(rule_document(), service(TwinService).shown().hosts()))


@rules_blp.get("/<name>")
@rules_blp.response(200, AlertRuleSchema)
def get_rule(name: str) -> Response:
    """One alert rule; its `ETag` is for If-Match."""
    return _rule(service(RuleBook).get(_named(name)))


@rules_blp.put("/<name>")
@rules_blp.documented_body(NewRuleBody)
@rules_blp.response(200, AlertRuleSchema)
@rules_blp.alt_response(412, description="It is not the rule of If-Match any more")
def put_rule(name: str) -> Response:
    """Change an alert rule: the whole of one's own, of a built-in one the members that are given."""
    return _rule(service(RuleBook).replace(_named(name), rule_document(), _if_match(), actor()))


@rules_blp.delete("/<name>")
@rules_blp.response(204)
@rules_blp.alt_response(412, description="It is not the rule of If-Match any more")
def delete_rule(name: str) -> Response:
    """Remove an alert rule, with its alerts. A built-in one is again as it was."""
    service(RuleBook).remove(_named(name), _if_match(), actor())
    return Response(status=204)


@host_rules_blp.get("/<hostname>/alert-rules")
@host_rules_blp.response(200, AppliedRuleList)
def of_host(hostname: str) -> Response:
    """The alert rules that are in force for a host, with the figures that count, and why."""
    name = hostname_in_path(hostname)
    host = service(TwinService).host(name)
    if host is None:
        raise NotFound(f"there is no host {name}; GET /api/hosts lists those that there are")
    items = [applied_on_wire(one) for one in service(RuleBook).applied_to(host)]
    return json_response({"hostname": name, "items": items, "total": len(items)})


def _named(name: str) -> str:
    """The name of a rule in a path. Raises MethodNotAllowed for the route that stands beside the rules."""
    if name in ROUTES:
        raise MethodNotAllowed(valid_methods=["POST"])
    return name


def rule_document() -> dict[str, Any]:
    """The body of a request about a rule. Raises Invalid."""
    document = parse_json(read_body(BODY_MAX))
    if not isinstance(document, dict):
        raise Invalid("the body must be an object")
    return document


def _if_match() -> str | None:
    """What If-Match says; None if the request has none."""
    return request.headers["If-Match"].strip().strip('"') if "If-Match" in request.headers else None


def _rule(entry: Entry, status: int = 200) -> Response:
    response = json_response(entry_on_wire(entry), status)
    response.set_etag(entry.etag)
    return response
