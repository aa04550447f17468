"""All SQL of people, credentials, sessions and the audit, as functions of a transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields

from sqlalchemy import ColumnElement, Connection, Table, Update, and_, delete, func, insert, or_, select, text, update

from mirror_stage.access.chain import Event, Head, Row, linked
from mirror_stage.access.domain import ADMIN, Actor
from mirror_stage.access.models import Audit, Credential, Principal, Session
from mirror_stage.access.people import CredentialRow, Known, Person, SessionRow, key_of_session, key_of_token
from mirror_stage.core.instants import DAY, Instant
from mirror_stage.core.problems import Conflict, NotFound, Refused
from mirror_stage.storage import notes

SESSIONS_OF_PERSON_MAX = 20  # the oldest ends when one more begins
CREDENTIALS_MAX = 30_000  # that are valid: a token for each of 10,000 hosts, and as many again while they are exchanged
ADDRESSES_MAX = 100  # of the newest sessions of a person
SESSIONS_KEPT: Instant = 30 * DAY  # after their end
CREDENTIALS_KEPT: Instant = 90 * DAY  # after they were revoked, or expired
AUDIT_KEPT: Instant = 400 * DAY

_PEOPLE: Table = Principal.__table__  # type: ignore[assignment]
_CREDENTIALS: Table = Credential.__table__  # type: ignore[assignment]
_SESSIONS: Table = Session.__table__  # type: ignore[assignment]
_AUDIT: Table = Audit.__table__  # type: ignore[assignment]
_C, _S, _P = _CREDENTIALS.c, _SESSIONS.c, _PEOPLE.c
_ROW = tuple(_AUDIT.c[field.name] for field in fields(Row))
_TURN_OF_AUDIT = 3  # the kinds 1 and 2 of advisory locks are the commands'


# ------------------------------------------------------------------ who a credential belongs to


def known(tx: Connection, keys: Sequence[str]) -> dict[str, Known]:
    """What is known of these tokens and sessions, by key; those that do not exist are left out."""
    found: dict[str, Known] = {}
    tokens = [key.partition(":")[2] for key in keys if key.startswith("token:")]
    if tokens:
        of_token = (_C.id, _C.kind, _C.sha256, _C.principal, _C.hostname, _C.role, _C.expires_at, _C.revoked_at)
        of_agent = (_C.agent, _C.generation, _C.replaced_by, _C.suspended_at, _C.last_used_at)
        query = select(*of_token, _P.name, _P.disabled_at, *of_agent).outerjoin(_PEOPLE, _P.id == _C.principal)
        for row in tx.execute(query.where(_C.id.in_(tokens))):
            found[key_of_token(row.id)] = Known(
                row.kind, row.sha256, None, row.principal, row.name, row.role, row.hostname,
                row.expires_at, row.revoked_at, row.disabled_at,
                row.agent, row.generation, row.replaced_by, row.suspended_at, row.last_used_at,
            )  # fmt: skip
    sessions = [key.partition(":")[2] for key in keys if key.startswith("session:")]
    if sessions:
        of_session = (_S.id, _S.sha256, _S.page_sha256, _S.principal, _S.expires_at)
        query = select(*of_session, _P.name, _P.role, _P.disabled_at).join(_PEOPLE, _P.id == _S.principal)
        for one in tx.execute(query.where(_S.id.in_(sessions))):
            found[key_of_session(one.id)] = Known(
                "session", one.sha256, one.page_sha256, one.principal, one.name, one.role, None,
                one.expires_at, None, one.disabled_at,
            )  # fmt: skip
    return found


def note_use(tx: Connection, used_at_by_key: Mapping[str, Instant]) -> None:
    """Store when tokens and sessions were last used."""
    for key, at in used_at_by_key.items():
        kind, _, id = key.partition(":")
        if kind == "token":
            tx.execute(update(_CREDENTIALS).where(_C.id == id).values(last_used_at=at))
        else:
            tx.execute(update(_SESSIONS).where(_S.id == id).values(last_seen_at=at))


# ------------------------------------------------------------------ people


def person(tx: Connection, name: str) -> Person | None:
    """The person of a name; None if there is none."""
    row = tx.execute(select(*_PERSON).where(_P.name == name)).first()
    return None if row is None else Person(*row)


_PERSON = tuple(_P[field.name] for field in fields(Person))


def people(tx: Connection) -> list[Person]:
    """Everybody, by name."""
    return [Person(*row) for row in tx.execute(select(*_PERSON).order_by(_P.name))]


def add_person(tx: Connection, name: str, role: str, password_hash: str | None, actor: Actor, now: Instant) -> Person:
    """The new person. Raises Conflict if the name is taken."""
    former = person(tx, name)
    if former is not None:
        state = "is disabled, and keeps the name in the audit" if former.disabled_at is not None else "is there already"
        raise Conflict(f"{name} {state}; choose another name")
    values = {"name": name, "role": role, "password_hash": password_hash, "created_at": now}
    row = tx.execute(insert(_PEOPLE).values(values).returning(*_PERSON)).one()
    record(tx, actor, Event("user-added", name, role), now)
    return Person(*row)


def person_for_link(tx: Connection, name: str, role: str | None, actor: Actor, now: Instant) -> Person:
    """The person of a name; a new one with `role` (admin if None) if there is none.

    Raises Conflict for one that is disabled or has another role.
    """
    found = person(tx, name)
    if found is None:
        return add_person(tx, name, role or ADMIN, None, actor, now)
    if found.disabled_at is not None:
        raise Conflict(f"{name} is disabled; choose another name with --name")
    if role not in {None, found.role}:
        raise Conflict(f"{name} has the role {found.role}; leave --role out, or choose another name with --name")
    return found


def set_password(tx: Connection, name: str, password_hash: str, actor: Actor, now: Instant) -> None:
    """Set a password, and end the sessions of that person. Raises NotFound."""
    changed = tx.execute(
        update(_PEOPLE)
        .where(_P.name == name, _P.disabled_at.is_(None))
        .values(password_hash=password_hash)
        .returning(_P.id)
    ).first()
    if changed is None:
        raise NotFound(f"there is no user {name} who may sign in; mirror-stage users list shows all")
    end = update(_SESSIONS).where(_S.principal == changed.id, _S.expires_at > now).values(expires_at=now)
    tx.execute(end)
    record(tx, actor, Event("user-password", name), now)


def disable(tx: Connection, name: str, actor: Actor, now: Instant) -> None:
    """Disable a person: their sessions, tokens and links stop working. Raises NotFound."""
    changed = update(_PEOPLE).where(_P.name == name, _P.disabled_at.is_(None)).values(disabled_at=now)
    if not tx.execute(changed).rowcount:
        raise NotFound(f"there is no user {name} who may sign in; mirror-stage users list shows all")
    record(tx, actor, Event("user-disabled", name), now)


# ------------------------------------------------------------------ tokens and links

_CREDENTIAL = (*(_C[field.name] for field in fields(CredentialRow) if field.name != "name"), _P.name)


def add_credential(tx: Connection, new: CredentialRow, sha256: str, actor: Actor, now: Instant) -> None:
    """Store a token or a link, and record that. Raises Refused if there are too many."""
    insert_credential(tx, new, sha256, now)
    what = "link-created" if new.kind == "link" else "token-created"
    whose = new.hostname or new.name
    record(tx, actor, Event(what, new.id, f"{new.role}{f' {whose}' if whose else ''}"), now)


def insert_credential(tx: Connection, new: CredentialRow, sha256: str, now: Instant) -> None:
    """Store a token or a link. Raises Refused if there are too many."""
    live = select(_C.id).where(_C.revoked_at.is_(None), or_(_C.expires_at.is_(None), _C.expires_at > now))
    if (
        tx.execute(select(func.count()).select_from(live.limit(CREDENTIALS_MAX).subquery())).scalar_one()
        >= CREDENTIALS_MAX
    ):
        raise Refused(f"there are {CREDENTIALS_MAX} valid tokens already; revoke those that nobody needs")
    values = {
        column.name: value for column, value in zip(_CREDENTIAL, astuple(new), strict=True) if column is not _P.name
    }
    tx.execute(insert(_CREDENTIALS).values(values | {"sha256": sha256}))


def tokens(tx: Connection) -> list[CredentialRow]:
    """Every token, also those that are revoked or expired and not yet pruned; newest first."""
    query = select(*_CREDENTIAL).outerjoin(_PEOPLE, _P.id == _C.principal).where(_C.kind != "link")
    return [CredentialRow(*row) for row in tx.execute(query.order_by(_C.created_at.desc(), _C.id))]


def revoke(tx: Connection, id: str, actor: Actor, now: Instant) -> None:
    """Revoke a token. One that is revoked already stays so. Raises NotFound."""
    wanted = and_(_C.id == id, _C.kind != "link")
    if tx.execute(update(_CREDENTIALS).where(wanted, _C.revoked_at.is_(None)).values(revoked_at=now)).rowcount:
        record(tx, actor, Event("token-revoked", id), now)
    elif not tx.execute(select(_C.id).where(wanted)).first():
        raise NotFound(f"there is no token {id[:40]!a}")


def _is_usable_link(id: str, sha256: str, now: Instant) -> ColumnElement[bool]:
    return and_(_C.id == id, _C.kind == "link", _C.sha256 == sha256, _C.revoked_at.is_(None), _C.expires_at > now)


def is_link(tx: Connection, id: str, sha256: str, now: Instant) -> bool:
    """Whether somebody can sign in with this link."""
    return tx.execute(select(_C.id).where(_is_usable_link(id, sha256, now))).first() is not None


def use_link(tx: Connection, id: str, sha256: str, now: Instant) -> Person | None:
    """The person who signs in with a link, which is used up then. None if it is unknown, used, or expired."""
    used = (
        update(_CREDENTIALS)
        .where(_is_usable_link(id, sha256, now))
        .values(revoked_at=now, last_used_at=now)
        .returning(_C.principal)
    )
    row = tx.execute(used).first()
    if row is None:
        return None
    found = tx.execute(select(*_PERSON).where(_P.id == row.principal, _P.disabled_at.is_(None))).first()
    return None if found is None else Person(*found)


# ------------------------------------------------------------------ sessions

_SESSION = (*(_S[field.name] for field in fields(SessionRow) if field.name not in {"name", "role"}), _P.name, _P.role)


def addresses_of(tx: Connection, name: str) -> list[str | None]:
    """The addresses from which somebody of this name has signed in lately; none for a name that does not exist."""
    query = (
        select(_S.address).join(_PEOPLE, _P.id == _S.principal).where(_P.name == name).order_by(_S.created_at.desc())
    )
    return list(tx.execute(query.limit(ADDRESSES_MAX)).scalars())


def begin_session(tx: Connection, new: SessionRow, sha256: str, page_sha256: str, actor: Actor, now: Instant) -> None:
    """Store a session. The oldest of this person end, so that at most SESSIONS_OF_PERSON_MAX are left."""
    newest = (
        select(_S.id)
        .where(_S.principal == new.principal, _S.expires_at > now)
        .order_by(_S.created_at.desc(), _S.id)
        .limit(SESSIONS_OF_PERSON_MAX - 1)
    )
    old = and_(_S.principal == new.principal, _S.expires_at > now, _S.id.not_in(newest.scalar_subquery()))
    tx.execute(update(_SESSIONS).where(old).values(expires_at=now))
    known = {
        column.name: value for column, value in zip(_SESSION, astuple(new), strict=True) if column.table is _SESSIONS
    }
    tx.execute(insert(_SESSIONS).values(known | {"sha256": sha256, "page_sha256": page_sha256}))
    record(tx, actor, Event("sign-in", new.name), now)


def sessions(tx: Connection, principal: int | None, now: Instant) -> list[SessionRow]:
    """The sessions that have not ended, of one person or, with None, of all; newest first."""
    query = select(*_SESSION).join(_PEOPLE, _P.id == _S.principal).where(_S.expires_at > now, _P.disabled_at.is_(None))
    if principal is not None:
        query = query.where(_S.principal == principal)
    return [SessionRow(*row) for row in tx.execute(query.order_by(_S.created_at.desc(), _S.id))]


def end_sessions(
    tx: Connection,
    actor: Actor,
    now: Instant,
    *,
    principal: int | None = None,
    only: str | None = None,
    but: str | None = None,
    what: str = "session-ended",
) -> list[str]:
    """End sessions: of one person or of all, `only` one or all `but` one. Returns their ids."""
    conditions = [_S.expires_at > now]
    conditions += [] if principal is None else [_S.principal == principal]
    conditions += [] if only is None else [_S.id == only]
    conditions += [] if but is None else [_S.id != but]
    ended = update(_SESSIONS).where(*conditions).values(expires_at=now).returning(_S.id, _S.principal)
    rows = tx.execute(ended).all()
    people = {row.principal for row in rows}
    names = dict(tx.execute(select(_P.id, _P.name).where(_P.id.in_(people))).tuples().all())
    for row in rows:
        record(tx, actor, Event(what, row.id, names.get(row.principal)), now)
    return [row.id for row in rows]


# ------------------------------------------------------------------ after a restore

RESTORED = "restored"
# What takes a right away from people. `revoke_again` does it anew, but for the ends of sessions: it ends every session.
REVOKES = frozenset({"token-revoked", "session-ended", "sign-out", "user-disabled", "user-password", RESTORED})


def revoke_again(tx: Connection, subjects_by_what: Mapping[str, set[str]], now: Instant) -> dict[str, int]:
    """Do again what a newer audit says that was revoked, and end all sessions and links. Returns how many of what."""
    is_valid, is_link = _C.revoked_at.is_(None), _C.kind == "link"
    revoke, disable = update(_CREDENTIALS).values(revoked_at=now), update(_PEOPLE).values(disabled_at=now)
    forget = update(_PEOPLE).values(password_hash=None)
    again = subjects_by_what.get
    ended = tx.execute(update(_SESSIONS).where(_S.expires_at > now).values(expires_at=now)).rowcount
    ended += tx.execute(revoke.where(is_link, is_valid, _C.expires_at > now)).rowcount
    return {
        "tokens revoked": _for_each(tx, revoke.where(is_valid), _C.id, again("token-revoked")),
        "people disabled": _for_each(tx, disable.where(_P.disabled_at.is_(None)), _P.name, again("user-disabled")),
        "passwords removed": _for_each(
            tx, forget.where(_P.password_hash.is_not(None)), _P.name, again("user-password")
        ),
        "sessions and links ended": ended,
    }


def _for_each(tx: Connection, change: Update, column: ColumnElement[str], wanted: set[str] | None) -> int:
    """Apply a change to the rows whose `column` is one of `wanted`. Returns how many changed."""
    values = sorted(wanted or ())
    pieces = (values[start : start + 500] for start in range(0, len(values), 500))
    return sum(tx.execute(change.where(column.in_(piece))).rowcount for piece in pieces)


# ------------------------------------------------------------------ the audit


def record(tx: Connection, actor: Actor, event: Event, now: Instant) -> None:
    """Append a row to the audit. Call it last in a transaction: on PostgreSQL others wait from here to its end."""
    if tx.dialect.name == "postgresql":
        tx.execute(text("SELECT pg_advisory_xact_lock(:kind, 0)"), {"kind": _TURN_OF_AUDIT})
    row = linked(head(tx), now, actor.recorded_as, actor.peer, event)
    tx.execute(insert(_AUDIT), {column.name: value for column, value in zip(_ROW, astuple(row), strict=True)})


def head(tx: Connection) -> Head:
    """The newest row of the audit, or the newest one that was pruned."""
    row = tx.execute(select(_AUDIT.c.seq, _AUDIT.c.hash).order_by(_AUDIT.c.seq.desc()).limit(1)).first()
    return audit_begin(tx) if row is None else Head(*row)


def audit_begin(tx: Connection) -> Head:
    """What the oldest row of the audit follows: the newest one that was pruned."""
    noted = notes.read(tx, notes.AUDIT_PRUNED)
    return Head() if noted is None else Head(*json.loads(noted))


def audit_has(tx: Connection, seq: int, hash: str) -> bool:
    """Whether the audit has this row, or had it before it was pruned."""
    found = tx.execute(select(_AUDIT.c.hash).where(_AUDIT.c.seq == seq)).scalar_one_or_none()
    return found == hash if found is not None else seq <= audit_begin(tx).seq


def audit_page(tx: Connection, offset: int, limit: int) -> tuple[list[Row], int]:
    """One page of the audit, newest first, and how many rows there are."""
    total = tx.execute(select(func.count()).select_from(_AUDIT)).scalar_one()
    newest = select(*_ROW).order_by(_AUDIT.c.seq.desc()).offset(offset).limit(limit)
    return [Row(*row) for row in tx.execute(newest)], total


def audit_rows(tx: Connection, after: int | None, most: int) -> list[Row]:
    """The next rows of the audit after a number, or with None the first that there are; oldest first."""
    query = select(*_ROW).order_by(_AUDIT.c.seq).limit(most)
    return [Row(*row) for row in tx.execute(query if after is None else query.where(_AUDIT.c.seq > after))]


# ------------------------------------------------------------------ what is old


def prune(tx: Connection, now: Instant, most: int) -> int:
    """Remove at most `most` rows of each kind whose time is over. Returns how many."""
    old_sessions = select(_S.id).where(_S.expires_at <= now - SESSIONS_KEPT).order_by(_S.expires_at).limit(most)
    removed = tx.execute(delete(_SESSIONS).where(_S.id.in_(old_sessions.scalar_subquery()))).rowcount
    for end in (_C.revoked_at, _C.expires_at):
        old = select(_C.id).where(end <= now - CREDENTIALS_KEPT).order_by(end).limit(most)
        removed += tx.execute(delete(_CREDENTIALS).where(_C.id.in_(old.scalar_subquery()))).rowcount
    return removed + _prune_audit(tx, now, most)


def _prune_audit(tx: Connection, now: Instant, most: int) -> int:
    """Remove the oldest rows of the audit, and note the last of them, so that the chain can still be verified."""
    columns = (_AUDIT.c.seq, _AUDIT.c.hash, _AUDIT.c.at)
    oldest = select(*columns).where(_AUDIT.c.seq > audit_begin(tx).seq).order_by(_AUDIT.c.seq).limit(most)
    last = None
    for row in tx.execute(oldest):
        if row.at > now - AUDIT_KEPT:
            break
        last = row
    if last is None:
        return 0
    notes.write(tx, notes.AUDIT_PRUNED, json.dumps([last.seq, last.hash]))
    return tx.execute(delete(_AUDIT).where(_AUDIT.c.seq <= last.seq)).rowcount
