"""`mirror-stage lock`: what is left to do before an open EGO can ask everybody for a credential, and who would be cut off."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mirror_stage.core.clock import Clock
from mirror_stage.core.findings import Finding, show
from mirror_stage.core.instants import DAY, HOUR, Instant

if TYPE_CHECKING:
    from mirror_stage.access.people import CredentialRow, Person
    from mirror_stage.core.config import Config

RECENT: Instant = DAY  # a host that has not reported for so long is not counted
IN_USE: Instant = HOUR  # EGO notes each minute which credentials were used
SHOWN = 20  # names in one line


def add_to(commands: Any) -> None:
    """Add `lock` to a parser's commands."""
    parser = commands.add_parser(
        "lock",
        help="say what to do before EGO asks everybody for a credential",
        description=(
            "Look at the settings, the people, and the hosts that reported in the last day. Say who would be cut off if EGO asked "
            "everybody for a credential, and what to do first. It changes nothing. Exit status 1: somebody would be cut off."
        ),
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=_lock, of_service=True)


def _lock(chosen: argparse.Namespace) -> int:
    from mirror_stage.runtime.db_commands import on_database

    findings: list[Finding] = []

    def step(app: Any) -> None:
        from mirror_stage.access import store
        from mirror_stage.core.config import Config
        from mirror_stage.enrolment import store as enrolment_store
        from mirror_stage.storage import revision
        from mirror_stage.storage.db import Storage, db
        from mirror_stage.twin import store as twin_store
        from mirror_stage.twin.domain import OWN_VERSIONS

        settings, storage = app.extensions["mirror_stage"][Config], app.extensions["mirror_stage"][Storage]
        revision.require_newest(settings)
        now = Clock().now()
        with app.app_context():
            storage.open(db.engine)
            heard = storage.read(lambda tx: twin_store.heard_since(tx, now - RECENT))
            hosts = [name for name, version in heard if not (version or "").startswith(OWN_VERSIONS)]
            if settings.field_bind is not None:
                admitted = storage.read(enrolment_store.admitted)
                hosts = [name for name in hosts if name not in admitted]
            findings.extend(examine(settings, storage.read(store.people), storage.read(store.tokens), hosts, now))

    status = on_database(step)
    return status if status != 0 else show(findings, as_json=chosen.json)


def examine(
    settings: Config, people: Sequence[Person], tokens: Sequence[CredentialRow], hosts: Sequence[str], now: Instant
) -> list[Finding]:
    """What stands in the way of the locks. `hosts` are the names that reported lately and need a credential."""
    valid = [each for each in tokens if each.revoked_at is None and (each.expires_at is None or each.expires_at > now)]
    found = [_https(settings), _admins(people), *_hosts(valid, hosts, now), _scripts(valid)]
    return [*found, _locks(settings, all(each.level != "problem" for each in found))]


def _https(settings: Config) -> Finding:
    if settings.has_tls:
        return Finding("https", "ok", "EGO speaks https")
    if settings.is_loopback:
        return Finding("https", "ok", "not needed: EGO listens on this machine only")
    return Finding(
        "https",
        "problem",
        "EGO speaks plain HTTP",
        "set MIRROR_STAGE_TLS=on and restart: while MIRROR_STAGE_SECURITY is open, plain HTTP works beside it on the same "
        "port, and clients can change to https:// one by one",
    )


def _admins(people: Sequence[Person]) -> Finding:
    admins = [each.name for each in people if each.role == "admin" and each.disabled_at is None]
    if admins:
        return Finding("people", "ok", f"who may do everything: {_names(admins)}")
    return Finding(
        "people", "problem", "nobody could sign in", "mirror-stage admin link, and open the link within 15 minutes"
    )


def _hosts(tokens: Sequence[CredentialRow], hosts: Sequence[str], now: Instant) -> list[Finding]:
    used = {each.hostname: each.last_used_at or 0 for each in sorted(tokens, key=lambda row: row.last_used_at or 0)}
    without = [name for name in hosts if name not in used]
    unused = [name for name in hosts if name in used and used[name] < now - IN_USE]
    ready = len(hosts) - len(without) - len(unused)
    found = [
        Finding("hosts", "ok", f"{ready} of the {len(hosts)} hosts that reported in the last day send a credential")
    ]
    if unused:
        advice = "put the token into the agent's settings (docs/agent.md), and restart it; look again after a minute"
        found.append(
            Finding("hosts", "problem", f"have a credential and did not send it for an hour: {_names(unused)}", advice)
        )
    if without:
        advice = "enrol them: mirror-stage enroll code; remove what is gone: mirror-stage hosts forget"
        found.append(Finding("hosts", "problem", f"would be cut off: {_names(without)}", advice))
    return found


def _scripts(tokens: Sequence[CredentialRow]) -> Finding:
    count = sum(each.hostname is None for each in tokens)
    seen = f"{count} tokens for scripts are valid; EGO cannot know which scripts ask it without one"
    return Finding("scripts", "ok", seen, "each script needs one: mirror-stage tokens create --role viewer")


def _locks(settings: Config, is_ready: bool) -> Finding:
    if settings.security != "open":
        where = "on this machine, for all but EGO's own account and root" if settings.is_loopback else "for everybody"
        return Finding("locks", "ok", f"on {where}: MIRROR_STAGE_SECURITY={settings.security}")
    if is_ready:
        return Finding(
            "locks", "ok", "open, and nobody here would be cut off", "set MIRROR_STAGE_SECURITY=auto and restart"
        )
    return Finding(
        "locks", "warning", "open: everybody who reaches EGO may do everything", "do what the lines above say first"
    )


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(sorted(names)[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
