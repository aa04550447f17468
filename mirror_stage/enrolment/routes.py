"""REST: hosts enrol, agents change their tokens, admins look after both."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from mirror_stage.access.gate import actor
from mirror_stage.core.instants import SECOND
from mirror_stage.enrolment import domain
from mirror_stage.enrolment.domain import AgentRow, Asked
from mirror_stage.enrolment.schemas import (
    AgentList,
    AgentQuery,
    AgentSchema,
    ApproveSchema,
    CodeList,
    CreatedCodeSchema,
    EnrolledSchema,
    EnrolSchema,
    FieldSchema,
    LabelsSchema,
    NewCodeSchema,
    RotatedSchema,
    WaitingSchema,
    agent_on_wire,
    code_on_wire,
)
from mirror_stage.enrolment.service import Enrolment
from mirror_stage.tls.service import ServerCertificate
from mirror_stage.web.http import Blueprint, json_response
from mirror_stage.web.services import service

blp = Blueprint("enrolment", __name__, url_prefix="/api", description="Which hosts may take part")


@blp.post("/agents/enroll")
@blp.arguments(EnrolSchema())
@blp.response(201, EnrolledSchema)
@blp.alt_response(202, schema=WaitingSchema, description="An admin has to approve it; ask again")
def enrol(said: dict[str, Any]) -> Response:
    """Enrol a host: with a code, with the token that it has, or after an admin has approved it."""
    asked = Asked(said["hostname"], domain.sha256(said["key"]), actor().peer, said["instance"])
    enrolled = service(Enrolment).enrol(asked, said["code"], actor())
    if enrolled is None:
        waiting = {"status": domain.WAITING, "fingerprint": domain.fingerprint(asked.key_sha256)}
        return _private(json_response(waiting | {"retryAfterSeconds": domain.ASK_AGAIN_SECONDS}, 202))
    answer = {
        "agentId": enrolled.agent.id,
        "hostname": enrolled.agent.hostname,
        "token": enrolled.token.text,
        "generation": enrolled.agent.generation,
        "signingKey": service(Enrolment).signing_root(),
        "authority": service(ServerCertificate).authority_shown,
    }
    return _private(json_response(answer, 201))


@blp.post("/agents/self/rotate")
@blp.response(201, RotatedSchema)
def rotate() -> Response:
    """Take a new token. The former one counts until the new one is used."""
    token, generation = service(Enrolment).rotate(actor())
    return _private(json_response({"token": token, "generation": generation}, 201))


@blp.get("/agents")
@blp.arguments(AgentQuery(), location="query")
@blp.response(200, AgentList)
def list_agents(query: dict[str, Any]) -> Response:
    """Every agent, newest first, also those that were refused or revoked in the last 90 days."""
    items = [agent_on_wire(each) for each in service(Enrolment).agents(query["state"])]
    return _private(json_response({"items": items, "total": len(items)}))


@blp.post("/agents/field")
@blp.arguments(FieldSchema())
@blp.response(201, AgentSchema)
def admit_field(wanted: dict[str, Any]) -> Response:
    """Admit an agent of another make by the name of its host and its address."""
    agent = service(Enrolment).admit_field(
        wanted["hostname"], wanted["address"], actor(), takes_commands=wanted["takesCommands"]
    )
    return _private(json_response(agent_on_wire(agent), 201))


@blp.post("/agents/<id>/approve")
@blp.arguments(ApproveSchema(), required=False)
@blp.response(200, AgentSchema)
def approve(wanted: dict[str, Any], id: str) -> Response:
    """Let a host in that waits."""
    return _agent(service(Enrolment).approve(id, wanted["labels"], actor()))


@blp.post("/agents/<id>/labels")
@blp.arguments(LabelsSchema())
@blp.response(200, AgentSchema)
def label(wanted: dict[str, Any], id: str) -> Response:
    """Change the labels that are pinned to an enrolled host."""
    return _agent(service(Enrolment).label(id, wanted["labels"], actor()))


@blp.post("/agents/<id>/unlock")
@blp.response(200, AgentSchema)
def unlock(id: str) -> Response:
    """Let a suspended agent in again."""
    return _agent(service(Enrolment).unlock(id, actor()))


@blp.post("/agents/<id>/revoke")
@blp.response(200, AgentSchema)
def revoke(id: str) -> Response:
    """Keep an agent out, or refuse a host that waits. The name is free again."""
    return _agent(service(Enrolment).revoke(id, actor()))


@blp.get("/enrol-codes")
@blp.response(200, CodeList)
def list_codes() -> Response:
    """The codes that have not ended, without their secrets, newest first."""
    items = [code_on_wire(each) for each in service(Enrolment).codes()]
    return _private(json_response({"items": items, "total": len(items)}))


@blp.post("/enrol-codes")
@blp.arguments(NewCodeSchema())
@blp.response(201, CreatedCodeSchema)
def create_code(wanted: dict[str, Any]) -> Response:
    """Make a code with which hosts enrol. Nobody can see it again."""
    code, row = service(Enrolment).create_code(
        actor(),
        uses=wanted["uses"],
        lasts=int(wanted["expiresInSeconds"] * SECOND),
        host_pattern=wanted["hostPattern"],
        labels=wanted["labels"],
    )
    line = domain.line_to_paste(request.host_url, service(ServerCertificate).pin_shown, code)
    return _private(json_response(code_on_wire(row) | {"code": code, "line": line}, 201))


@blp.delete("/enrol-codes/<id>")
@blp.response(204)
def end_code(id: str) -> Response:
    """End a code: no host enrols with it any more."""
    service(Enrolment).end_code(id, actor())
    return Response(status=204)


def _agent(agent: AgentRow) -> Response:
    return _private(json_response(agent_on_wire(agent)))


def _private(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"
    return answer
