"""What can be done with people, tokens, sessions and the audit; and who a request comes from that shows a credential."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence

import gevent

from mirror_stage.access import people, store, tokens
from mirror_stage.access.attempts import Attempts, Failures, network_of
from mirror_stage.access.chain import Event, Head, Row, SignedHead, fault, fault_of_head
from mirror_stage.access.domain import ANONYMOUS, MANAGE, REPORTER, ROLES, Actor, actor_of_person
from mirror_stage.access.passwords import Passwords, hashed
from mirror_stage.access.people import CredentialRow, Known, Person, SessionRow
from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.core.instants import Instant
from mirror_stage.core.problems import NotFound, Refused, Unauthorized
from mirror_stage.storage.db import Storage, Tx

KNOWN_SECONDS = 1.0  # how long EGO relies on what it has read of a credential
KNOWN_MAX = 10_000
USE_NOTED_SECONDS = 60.0
PRUNE_AT_ONCE = 200
ROWS_AT_ONCE = 1_000
NOTED_AT_ONCE = 200

# Told of each request with the token of an enrolled agent: the key, what is known, the address, the instance. Returns why
# the agent may not go on, None if it may.
Watch = Callable[[str, Known, str | None, str | None], str | None]


_NO_TOKENS = {
    tokens.LINK: "this is the secret of a link, which is for signing in once, and no token",
    tokens.ENROL: "this is a code with which a host enrols, and no token",
}


class People:
    """Everybody who may ask, and what proves who they are."""

    def __init__(self, storage: Storage, clock: Clock):
        self._storage, self._clock = storage, clock
        self._passwords, self._attempts, self._failures = Passwords(), Attempts(), Failures()
        self._known: dict[str, tuple[float, Known | None]] = {}
        self._used: dict[str, Instant] = {}
        self._use_noted_at = elapsed_seconds()
        self._head: Head | None = None  # the one that was signed last
        self._watch: Watch = lambda *_: None

    def watch_agents(self, watch: Watch) -> None:
        """Let `watch` look at each use of the token of an enrolled agent."""
        self._watch = watch

    # ------------------------------------------------------------------ who asks

    def actor_of_token(
        self, text: str, peer: str | None, instance: str | None = None, *, is_new_use: bool = True
    ) -> Actor:
        """The actor of a request with this token. If the token is not valid, an anonymous one that says why.

        `instance` is what an agent calls itself. A request that is looked at again, because it waits, is no new use.
        """
        try:
            token = tokens.parse(text)
        except tokens.Mistyped as why:
            return people.refused(str(why), peer)
        if token.kind in _NO_TOKENS:
            return people.refused(_NO_TOKENS[token.kind], peer)
        key = people.key_of_token(token.id)
        known = self._look_up(key)
        if known is None or known.kind != token.kind or not _is(known.sha256, token.text):
            return people.refused("EGO does not know this token; ask an admin for another one", peer)
        if known.agent is not None and is_new_use:
            trouble = self._watch(key, known, peer, instance)
            if trouble is not None:
                return people.refused(trouble, peer)
        return self._actor(key, known, peer)

    def actor_of_session(self, cookie: str, page: str, peer: str | None) -> Actor | None:
        """The actor of a request with this cookie, from a page with this second half; None if they are no session.

        If the session has ended, an anonymous one that says so.
        """
        id = cookie.partition(".")[0]
        key = people.key_of_session(id)
        known = self._look_up(key) if tokens.is_id(id) else None
        if known is None or not (_is(known.sha256, cookie) and _is(known.page_sha256 or "", page)):
            return None
        return self._actor(key, known, peer)

    def _actor(self, key: str, known: Known, peer: str | None) -> Actor:
        trouble = known.trouble(self._clock.now())
        if trouble is not None:
            return people.refused(trouble, peer)
        self._used[key] = self._clock.now()
        return known.actor(key, peer)

    def trouble(self, actor: Actor) -> str | None:
        """Why the credential of an actor is not valid any more; None if it is, or if the actor has none."""
        if actor.credential is None:
            return None
        known = self._look_up(actor.credential)
        return "EGO does not know this credential any more" if known is None else known.trouble(self._clock.now())

    def ended(self, credentials: Iterable[str]) -> set[str]:
        """Those of the credentials that are not valid any more. It reads the database: another process may revoke, too."""
        wanted = sorted(credentials)
        if not wanted:
            return set()
        found = self._storage.read(lambda tx: store.known(tx, wanted))
        now, read_at = self._clock.now(), elapsed_seconds()
        for key in wanted:
            self._remember(key, read_at, found.get(key))
        return {key for key in wanted if key not in found or found[key].trouble(now) is not None}

    def _look_up(self, key: str) -> Known | None:
        """What is known of a credential; at most KNOWN_SECONDS old."""
        read_at, known = self._known.get(key, (0.0, None))
        now = elapsed_seconds()
        if now - read_at < KNOWN_SECONDS and key in self._known:
            return known
        known = self._storage.read(lambda tx: store.known(tx, [key])).get(key)
        self._remember(key, now, known)
        return known

    def _remember(self, key: str, read_at: float, known: Known | None) -> None:
        self._known.pop(key, None)
        self._known[key] = (read_at, known)
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]

    def forget(self) -> None:
        """Read every credential anew: something was changed."""
        self._known.clear()

    # ------------------------------------------------------------------ signing in and out

    def sign_in_by_link(self, secret: str, peer: str | None, user_agent: str | None) -> tuple[str, str, Actor]:
        """The cookie, the second half for the page, and the actor. Raises Unauthorized, Refused."""
        try:
            token = tokens.parse(secret)
        except tokens.Mistyped as why:
            self._attempts.take(elapsed_seconds(), peer, None)
            raise self._failed("a link", peer, str(why)) from why
        now = self._clock.now()
        if not self._storage.read(lambda tx: store.is_link(tx, token.id, tokens.sha256(token.text), now)):
            self._attempts.take(elapsed_seconds(), peer, None)  # the tries of others keep no good link out
        if token.kind != tokens.LINK:
            raise self._failed("a link", peer, "this is a token for scripts, and no link")
        person = self._storage.write(lambda tx: store.use_link(tx, token.id, tokens.sha256(token.text), now))
        if person is None:
            detail = "this link was used already, or it is older than 15 minutes; `mirror-stage admin link` makes another one"
            raise self._failed("a link", peer, detail)
        return self._begin(person, peer, user_agent, None)

    def sign_in_by_password(
        self, name: str, password: str, peer: str | None, user_agent: str | None
    ) -> tuple[str, str, Actor]:
        """The cookie, the second half for the page, and the actor. Raises Unauthorized, Refused.

        It takes as long for a name that does not exist as for a wrong password.
        """
        name = name.lower()
        self._count_try(name, peer)
        person = self._storage.read(lambda tx: store.person(tx, name))
        is_right = self._passwords.is_right(None if person is None else person.password_hash, password)
        if person is None or not is_right or person.disabled_at is not None:
            raise self._failed(name[:64], peer, "the name or the password is wrong")
        return self._begin(person, peer, user_agent, name)

    def _count_try(self, name: str, peer: str | None) -> None:
        """Count a try with a password. Raises Refused after too many, but not because of others where the account is at home."""
        try:
            self._attempts.take(elapsed_seconds(), peer, name)
        except Refused:
            addresses = self._storage.read(lambda tx: store.addresses_of(tx, name))
            if network_of(peer) not in map(network_of, addresses):
                raise
            self._attempts.take_at_home(elapsed_seconds(), peer, name)

    def _begin(
        self, person: Person, peer: str | None, user_agent: str | None, account: str | None
    ) -> tuple[str, str, Actor]:
        self._attempts.succeeded(peer, account)
        id = tokens.random_text(tokens.ID_LENGTH, secrets.choice)
        cookie = f"{id}.{tokens.random_text(tokens.SECRET_LENGTH, secrets.choice)}"
        page = tokens.random_text(tokens.SECRET_LENGTH, secrets.choice)
        now = self._clock.now()
        key = people.key_of_session(id)
        actor = actor_of_person(person.name, person.role, peer, credential=key, principal=person.id)
        new = SessionRow(
            id,
            person.id,
            now,
            now,
            now + people.SESSION_LASTS,
            peer,
            people.shortened(user_agent),
            person.name,
            person.role,
        )
        self._storage.write(
            lambda tx: store.begin_session(tx, new, tokens.sha256(cookie), tokens.sha256(page), actor, now)
        )
        return cookie, page, actor

    def _failed(self, name: str, peer: str | None, detail: str) -> Unauthorized:
        report = self._failures.note(elapsed_seconds(), peer, name)
        if report is not None:
            self._record_failure(peer, report)
        return Unauthorized(detail)

    def _record_failure(self, peer: str | None, report: str) -> None:
        now = self._clock.now()
        self._storage.write(
            lambda tx: store.record(tx, Actor(ANONYMOUS, peer=peer), Event("sign-in-failed", None, report), now)
        )

    def sign_out(self, actor: Actor) -> None:
        """End the session in which the actor asks, if it asks in one."""
        session = people.session_of(actor)
        if session is not None:
            now = self._clock.now()
            self._storage.write(lambda tx: store.end_sessions(tx, actor, now, only=session, what="sign-out"))
            self.forget()

    # ------------------------------------------------------------------ sessions, tokens, audit

    def sessions(self, actor: Actor) -> list[SessionRow]:
        """The sessions that the actor may see, newest first: an admin those of all, everybody else their own."""
        now = self._clock.now()
        return self._storage.read(lambda tx: store.sessions(tx, _whose(actor), now))

    def end_session(self, id: str, actor: Actor) -> None:
        """End a session that the actor may see. Raises NotFound."""
        now = self._clock.now()
        if not self._storage.write(lambda tx: store.end_sessions(tx, actor, now, principal=_whose(actor), only=id)):
            raise NotFound(f"there is no session {id[:40]!a}")
        self.forget()

    def end_other_sessions(self, actor: Actor) -> int:
        """End all sessions that the actor may see but the one in which it asks. Returns how many."""
        now, this = self._clock.now(), people.session_of(actor)
        ended = self._storage.write(lambda tx: store.end_sessions(tx, actor, now, principal=_whose(actor), but=this))
        self.forget()
        return len(ended)

    def tokens(self) -> list[CredentialRow]:
        """Every token, newest first."""
        return self._storage.read(store.tokens)

    def create_token(
        self, actor: Actor, *, role: str | None, hostname: str | None, note: str | None, lasts: Instant | None
    ) -> tuple[str, CredentialRow]:
        """The text of a new token, which nobody can see again, and its row. It has a role, or the hostname of an agent."""
        now = self._clock.now()
        token = tokens.make(tokens.USER if hostname is None else tokens.AGENT, secrets.choice)
        new = CredentialRow(
            token.id, token.kind, None if hostname else actor.principal, hostname, role or REPORTER, now, actor.recorded_as,
            None if lasts is None else now + lasts, None, None, note, name=None if hostname else actor.name,
        )  # fmt: skip
        self._storage.write(lambda tx: store.add_credential(tx, new, tokens.sha256(token.text), actor, now))
        return token.text, new

    def create_link(self, name: str, role: str | None, actor: Actor) -> str:
        """The secret of a new link for a person, who is added with this role if they are new. Raises Conflict."""
        now = self._clock.now()
        token = tokens.make(tokens.LINK, secrets.choice)

        def create(tx: Tx) -> None:
            person = store.person_for_link(tx, name, role, actor, now)
            new = CredentialRow(
                token.id, token.kind, person.id, None, person.role, now, actor.recorded_as,
                now + people.LINK_LASTS, None, None, None, name=person.name,
            )  # fmt: skip
            store.add_credential(tx, new, tokens.sha256(token.text), actor, now)

        self._storage.write(create)
        return token.text

    def revoke(self, id: str, actor: Actor) -> None:
        """Revoke a token. Raises NotFound."""
        now = self._clock.now()
        self._storage.write(lambda tx: store.revoke(tx, id, actor, now))
        self.forget()

    def audit(self, page: int, page_size: int) -> tuple[list[Row], int]:
        """One page of the audit, newest first, and how many rows there are."""
        return self._storage.read(lambda tx: store.audit_page(tx, (page - 1) * page_size, page_size))

    def whole_audit(self) -> Iterator[Row]:
        """All rows of the audit, oldest first."""
        after: int | None = None
        while rows := self._storage.own.read(lambda tx, after=after: store.audit_rows(tx, after, ROWS_AT_ONCE)):  # type: ignore[misc]
            yield from rows
            after = rows[-1].seq

    def verify_audit(self, actor: Actor, signed: Sequence[SignedHead] = ()) -> tuple[str | None, Head, int]:
        """What is wrong with the audit (None: nothing), the newest row that fits, and how many rows fit. The audit records this.

        `signed` are the heads that EGO has signed and kept elsewhere.
        """
        by_seq: dict[int, list[SignedHead]] = {}
        for one in signed:
            by_seq.setdefault(one.seq, []).append(one)
        head, count = self._storage.own.read(store.audit_begin), 0
        broken = _fault_of_heads(by_seq.get(head.seq, ()), head)
        for row in self.whole_audit() if broken is None else ():
            here = Head(row.seq, row.hash)
            broken = fault(head, [row]) or _fault_of_heads(by_seq.get(row.seq, ()), here)
            if broken is not None:
                break
            head, count = here, count + 1
        broken = broken or _fault_of_heads(signed, head)
        self.note_reading("audit verify", actor)
        return broken, head, count

    def sign_head(self, keep: Callable[[int, str], None]) -> None:
        """Let `keep` sign the number and hash of the newest row, unless it has signed that one before."""
        head = self._storage.own.read(store.head)
        if head != self._head and head.seq:
            keep(head.seq, head.hash)
            self._head = head

    def note_reading(self, what: str, actor: Actor) -> None:
        """Record that somebody has read something at the command line."""
        now = self._clock.now()
        self._storage.write(lambda tx: store.record(tx, actor, Event("read", what), now))

    # ------------------------------------------------------------------ people

    def people(self, actor: Actor) -> list[Person]:
        """Everybody, by name. The audit records that somebody has read it."""
        self.note_reading("users list", actor)
        return self._storage.read(store.people)

    def add(self, name: str, role: str, password: str | None, actor: Actor) -> Person:
        """Add a person. Raises Conflict if the name is taken."""
        now, password_hash = self._clock.now(), None if password is None else hashed(password)
        return self._storage.write(lambda tx: store.add_person(tx, name, role, password_hash, actor, now))

    def set_password(self, name: str, password: str, actor: Actor) -> None:
        """Set a password, and end the sessions of that person. Raises NotFound."""
        now, password_hash = self._clock.now(), hashed(password)
        self._storage.write(lambda tx: store.set_password(tx, name, password_hash, actor, now))

    def disable(self, name: str, actor: Actor) -> None:
        """Disable a person for good. Raises NotFound."""
        now = self._clock.now()
        self._storage.write(lambda tx: store.disable(tx, name, actor, now))

    # ------------------------------------------------------------------ jobs

    def keep_up(self) -> None:
        """Store the failures to sign in that have waited for a minute, and each minute when credentials were last used."""
        now = elapsed_seconds()
        for peer, report in self._failures.due(now):
            self._record_failure(peer, report)
        if self._used and now - self._use_noted_at >= USE_NOTED_SECONDS:
            self._use_noted_at = now
            used, self._used = list(self._used.items()), {}
            for start in range(0, len(used), NOTED_AT_ONCE):
                some = dict(used[start : start + NOTED_AT_ONCE])
                self._storage.own.write(lambda tx, some=some: store.note_use(tx, some))  # type: ignore[misc]

    def prune(self, now: Instant) -> None:
        """Remove what is past its time, in small steps."""
        while self._storage.own.write(lambda tx: store.prune(tx, now, PRUNE_AT_ONCE)):
            gevent.sleep(0)


def _fault_of_heads(signed: Iterable[SignedHead], stands: Head) -> str | None:
    return next((found for one in signed if (found := fault_of_head(one, stands)) is not None), None)


def _whose(actor: Actor) -> int | None:
    """Whose sessions an actor may see: one person's, or of all (None)."""
    if MANAGE in ROLES[actor.role]:
        return None
    return actor.principal if actor.principal is not None else 0  # 0 is nobody


def _is(stored_sha256: str, text: str) -> bool:
    return hmac.compare_digest(stored_sha256, tokens.sha256(text))
