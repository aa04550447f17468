"""REST: who asks, signing in and out, sessions, tokens, and the audit."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from mirror_stage.access import people
from mirror_stage.access.gate import actor, session_cookie
from mirror_stage.access.schemas import (
    AuditPage,
    CreatedTokenSchema,
    MeSchema,
    NewTokenSchema,
    SessionList,
    SignedInSchema,
    SignInSchema,
    TokenList,
    audit_on_wire,
    me_on_wire,
    session_on_wire,
    token_on_wire,
)
from mirror_stage.access.service import People
from mirror_stage.core.config import Config
from mirror_stage.core.instants import SECOND
from mirror_stage.web.http import Blueprint, bounded_page, json_response
from mirror_stage.web.schemas import PageQuery
from mirror_stage.web.services import service

blp = Blueprint("access", __name__, url_prefix="/api", description="Who may do what")


@blp.get("/me")
@blp.response(200, MeSchema)
def me() -> Response:
    """Who asks, and what they may do."""
    return _private(json_response(me_on_wire(actor(), service(Config).security)))


@blp.post("/session")
@blp.arguments(SignInSchema())
@blp.response(201, SignedInSchema)
def sign_in(shown: dict[str, Any]) -> Response:
    """Sign in. The cookie of the answer counts only together with `page`."""
    peer, user_agent = actor().peer, request.headers.get("User-Agent")
    if "link" in shown:
        cookie, page, who = service(People).sign_in_by_link(shown["link"], peer, user_agent)
    else:
        cookie, page, who = service(People).sign_in_by_password(shown["name"], shown["password"], peer, user_agent)
    answer = json_response({"page": page, "me": me_on_wire(who, service(Config).security)}, 201)
    return _private(_with_cookie(answer, cookie))


@blp.delete("/session")
@blp.response(204)
def sign_out() -> Response:
    """Sign out: end this session. Without one nothing happens."""
    service(People).sign_out(actor())
    return _with_cookie(Response(status=204), "")


@blp.get("/sessions")
@blp.response(200, SessionList)
def list_sessions() -> Response:
    """The sessions that have not ended, newest first: an admin sees those of all, everybody else their own."""
    this = people.session_of(actor())
    items = [session_on_wire(each, this) for each in service(People).sessions(actor())]
    return _private(json_response({"items": items, "total": len(items)}))


@blp.delete("/sessions")
@blp.response(204)
def end_sessions() -> Response:
    """End all sessions that `GET /api/sessions` shows but this one."""
    service(People).end_other_sessions(actor())
    return Response(status=204)


@blp.delete("/sessions/<id>")
@blp.response(204)
def end_session(id: str) -> Response:
    """End one session."""
    service(People).end_session(id, actor())
    return Response(status=204)


@blp.get("/tokens")
@blp.response(200, TokenList)
def list_tokens() -> Response:
    """Every token without its secret, newest first, also those that were revoked or expired in the last 90 days."""
    items = [token_on_wire(each) for each in service(People).tokens()]
    return _private(json_response({"items": items, "total": len(items)}))


@blp.post("/tokens")
@blp.arguments(NewTokenSchema())
@blp.response(201, CreatedTokenSchema)
def create_token(wanted: dict[str, Any]) -> Response:
    """Make a token for a script or for an agent. Nobody can see it again."""
    hostname, seconds = wanted.get("hostname"), wanted.get("expiresInSeconds")
    lasts = None if seconds is None else int(seconds * SECOND)
    if "expiresInSeconds" not in wanted and hostname is None:
        lasts = people.TOKEN_LASTS
    token, row = service(People).create_token(
        actor(), role=wanted.get("role"), hostname=hostname, note=wanted["note"], lasts=lasts
    )
    return _private(json_response(token_on_wire(row) | {"token": token}, 201))


@blp.delete("/tokens/<id>")
@blp.response(204)
def revoke_token(id: str) -> Response:
    """Revoke a token. Its clients are cut within 5 s."""
    service(People).revoke(id, actor())
    return Response(status=204)


@blp.get("/audit")
@blp.arguments(PageQuery(), location="query")
@blp.response(200, AuditPage)
def list_audit(query: dict[str, Any]) -> Response:
    """Who did what, newest first."""
    page, page_size = bounded_page(query)
    rows, total = service(People).audit(page, page_size)
    items = [audit_on_wire(row) for row in rows]
    return _private(json_response({"items": items, "total": total, "page": page, "pageSize": page_size}))


def _private(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _with_cookie(answer: Response, value: str) -> Response:
    """The answer with the cookie of a session, which no script can read; an empty value removes it."""
    name, is_secure = session_cookie(request.environ), request.environ["wsgi.url_scheme"] == "https"
    answer.set_cookie(
        name, value, max_age=None if value else 0, path="/", secure=is_secure, httponly=True, samesite="Strict"
    )
    return answer
