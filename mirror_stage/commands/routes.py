"""REST: `/api/commands`, and `/api/field/commands` for agents that are in the field already."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from mirror_stage.access.domain import MANAGE
from mirror_stage.access.gate import actor, admit, refuse_unless
from mirror_stage.commands import domain
from mirror_stage.commands.domain import RUNNING, Chunk, Command, NewCommand, Outcome
from mirror_stage.commands.schemas import (
    CommandPage,
    CommandQuery,
    CommandSchema,
    DispatchSchema,
    EventList,
    FieldPendingSchema,
    FieldResultSchema,
    HeartbeatSchema,
    LeaseSchema,
    NewCommandSchema,
    NewDispatchSchema,
    OutputSchema,
    PendingQuery,
    PendingSchema,
    ResultSchema,
    dispatch_on_wire,
    event_on_wire,
    field_item_on_wire,
    lease_on_wire,
    pending_on_wire,
)
from mirror_stage.commands.service import CommandService
from mirror_stage.commands.waiters import is_connected
from mirror_stage.core.problems import Forbidden, Invalid, NotFound
from mirror_stage.web.http import Blueprint, bounded_page, hostname_in_path, json_response
from mirror_stage.web.services import service
from mirror_stage.web.walls import browser_mark

KEY_MAX = 255

blp = Blueprint(
    "commands", __name__, url_prefix="/api/commands", description="What hosts are told to run, and what came of it"
)
field_blp = Blueprint(
    "field", __name__, url_prefix="/api/field/commands", description="The same for agents that are in the field already"
)

dispatch_blp = Blueprint(
    "dispatch", __name__, url_prefix="/api/dispatch", description="The kill switch: whether any command is handed out"
)


@blp.post("")
@blp.arguments(NewCommandSchema())
@blp.response(201, CommandSchema)
@blp.alt_response(200, schema=CommandSchema, description="The command that this Idempotency-Key has created before")
def create(new: NewCommand) -> Response:
    """Queue a command for a host."""
    command, is_new = service(CommandService).create(new, actor(), _idempotency_key())
    return _answer(command, 201 if is_new else 200)


@blp.get("")
@blp.arguments(CommandQuery(), location="query")
@blp.response(200, CommandPage)
def list_commands(query: dict[str, Any]) -> Response:
    """Commands, newest first. `search` is a literal part of the command, in small or capital letters."""
    page, page_size = bounded_page(query)
    commands, total = service(CommandService).page(query, page, page_size, actor())
    items = [service(CommandService).on_wire(command) for command in commands]
    return json_response({"items": items, "total": total, "page": page, "pageSize": page_size})


@blp.get("/pending/<hostname>")
@blp.arguments(PendingQuery(), location="query")
@blp.response(200, PendingSchema(many=True))
def pending(query: dict[str, Any], hostname: str) -> Response:
    """What a host's agent shall run now, oldest first; each is `running` from here on. HEAD claims nothing."""
    note = None if "X-Reflector-Instance" in request.headers else domain.UNNAMED
    return _claimed([pending_on_wire(command) for command in _claim(hostname, query, note)])


@blp.get("/<id>")
@blp.response(200, CommandSchema)
def get_command(id: str) -> Response:
    """One command."""
    return _answer(service(CommandService).get(_id_in_path(id), actor()))


@blp.get("/<id>/events")
@blp.response(200, EventList)
def events(id: str) -> Response:
    """Every transition of a command, oldest first."""
    items = [event_on_wire(event) for event in service(CommandService).events_of(_id_in_path(id), actor())]
    return json_response({"items": items, "total": len(items)})


@blp.post("/<id>/result")
@blp.arguments(ResultSchema())
@blp.response(201, CommandSchema)
@blp.alt_response(200, schema=CommandSchema, description="This very result was reported before")
def result(outcome: Outcome, id: str) -> Response:
    """Report how a command ended. The first report wins."""
    return _reported(id, outcome)


@blp.post("/<id>/heartbeat")
@blp.arguments(HeartbeatSchema())
@blp.response(200, LeaseSchema)
def heartbeat(_phase: dict[str, Any], id: str) -> Response:
    """Show that a command runs: its lease is extended."""
    return json_response(lease_on_wire(service(CommandService).heartbeat(_id_in_path(id), actor())))


@blp.post("/<id>/output")
@blp.arguments(OutputSchema())
@blp.response(200, LeaseSchema)
def output(chunk: Chunk, id: str) -> Response:
    """Pass on what a command prints while it runs; a `seq` that is not above the newest is ignored."""
    return json_response(lease_on_wire(service(CommandService).append_output(_id_in_path(id), chunk, actor())))


@blp.post("/<id>/cancel")
@blp.response(200, CommandSchema)
@blp.alt_response(202, schema=CommandSchema, description="It runs; its agent is asked to stop it")
def cancel(id: str) -> Response:
    """Cancel a command, ask for its end, or close a lost one."""
    command = service(CommandService).cancel(_id_in_path(id), actor())
    return _answer(command, 202 if command.status == RUNNING else 200)


@field_blp.get("/pending/<hostname>", endpoint="pending")
@field_blp.arguments(PendingQuery(), location="query")
@field_blp.response(200, FieldPendingSchema)
def field_pending(query: dict[str, Any], hostname: str) -> Response:
    """What a host's agent shall run now, in the form that agents in the field read."""
    return _claimed({"items": [field_item_on_wire(command) for command in _claim(hostname, query)]})


@field_blp.post("/result/<id>", endpoint="result")
@field_blp.arguments(FieldResultSchema())
@field_blp.response(201, CommandSchema)
@field_blp.alt_response(200, schema=CommandSchema, description="This very result was reported before")
def field_result(outcome: Outcome, id: str) -> Response:
    """Report how a command ended, in the words of agents in the field."""
    return _reported(id, outcome)


@dispatch_blp.get("")
@dispatch_blp.response(200, DispatchSchema)
def get_dispatch() -> Response:
    """Whether EGO takes and hands out commands."""
    return json_response(dispatch_on_wire(service(CommandService).dispatch()))


@dispatch_blp.put("")
@dispatch_blp.arguments(NewDispatchSchema())
@dispatch_blp.response(200, DispatchSchema)
def put_dispatch(wanted: dict[str, Any]) -> Response:
    """Stop all commands, or let an admin resume. A stop cancels what waits and ends what runs."""
    commands = service(CommandService)
    if wanted["stopped"]:
        state = commands.stop_dispatch(wanted["reason"], actor())
    else:
        refuse_unless(actor(), MANAGE)
        state = commands.resume_dispatch(actor())
    commands.keep_stopped(actor())
    return json_response(dispatch_on_wire(state))


def _claim(hostname: str, query: dict[str, Any], note: str | None = None) -> list[Command]:
    mark = browser_mark(request.environ)
    if mark is not None:
        raise Forbidden(f"only an agent may claim commands, and this came from a browser ({mark})")
    name = hostname_in_path(hostname)
    if request.method == "HEAD" or not actor().takes_commands:
        return []
    environ = request.environ

    def is_there() -> bool:
        """Whether the agent is still connected. Raises Forbidden if it has lost its permission."""
        admit()
        return is_connected(environ)

    return service(CommandService).claim(
        name,
        actor(),
        limit=query["limit"],
        wait=query["wait"],
        instance=_instance(),
        note=note,
        is_there=is_there,
    )


def _claimed(body: Any) -> Response:
    response = json_response(body)
    response.headers["Cache-Control"] = "no-store"
    return response


def _reported(id: str, outcome: Outcome) -> Response:
    command, is_first = service(CommandService).report(_id_in_path(id), outcome, actor())
    return _answer(command, 201 if is_first else 200)


def _answer(command: Command, status: int = 200) -> Response:
    return json_response(service(CommandService).on_wire(command), status)


def _id_in_path(id: str) -> str:
    normalised = domain.normalise_id(id)
    if normalised is None:
        raise NotFound(f"there is no command {id[:40]!a}")
    return normalised


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= KEY_MAX:
        raise Invalid(f"Idempotency-Key has {len(key)} characters; 1 to {KEY_MAX} are allowed")
    return key


def _instance() -> str | None:
    """The agent's instance, if it keeps a journal of what it is handed."""
    text = request.headers.get("X-Reflector-Instance")
    if text is None or request.headers.get("X-Reflector-Journal") != "1":
        return None
    instance = domain.normalise_id(text)
    if instance is None:
        raise Invalid("X-Reflector-Instance must be a UUID")
    return instance
