"""Who somebody is taken for, and what that allows."""

from __future__ import annotations

import pytest

from mirror_stage.access.domain import (
    ADMIN,
    AGENT,
    ANONYMOUS,
    EGO,
    LOCAL,
    MANAGE,
    NOBODY,
    OPEN,
    OPERATE,
    OPERATOR,
    OWN_SESSIONS,
    PERMISSIONS,
    READ_COMMANDS,
    REPORT,
    REPORTER,
    ROLES,
    ROLES_OF_PEOPLE,
    VIEW,
    VIEWER,
    Actor,
    Connection,
    Trust,
    actor_of,
    actor_of_agent,
    actor_of_person,
    decide,
    job,
    shown_name,
)

OWN, USER, REFLECTOR, PROXY = 1000, 1001, 999, 33


def asks(
    *,
    uid: int | None = OWN,
    security: str = "auto",
    loopback: bool = True,
    proxied: bool = False,
    can_tell: bool = True,
) -> Actor:
    trust = Trust(security, loopback, frozenset({0, OWN}), users=frozenset({USER}), agents=frozenset({REFLECTOR}))
    return actor_of(Connection("127.0.0.1", proxied, can_tell, uid), trust)


@pytest.mark.parametrize(
    ("who", "kind", "role", "said"),
    [
        (asks(), LOCAL, ADMIN, None),
        (asks(uid=0), LOCAL, ADMIN, None),
        (asks(uid=USER), LOCAL, ADMIN, None),
        (asks(uid=REFLECTOR), LOCAL, REPORTER, "MIRROR_STAGE_LOCAL_AGENTS"),
        (asks(uid=PROXY), ANONYMOUS, NOBODY, "MIRROR_STAGE_LOCAL_USERS"),
        (asks(uid=None), ANONYMOUS, NOBODY, "keep the connection open"),
        (asks(proxied=True), ANONYMOUS, NOBODY, "MIRROR_STAGE_SECURITY=open"),
        (asks(uid=0, proxied=True), ANONYMOUS, NOBODY, "through a proxy"),
        (asks(uid=REFLECTOR, proxied=True), ANONYMOUS, NOBODY, "through a proxy"),
        (asks(uid=None, can_tell=False), LOCAL, ADMIN, None),  # a system that cannot tell trusts all its accounts
        (asks(uid=None, can_tell=False, proxied=True), ANONYMOUS, NOBODY, "through a proxy"),
        (asks(loopback=False), ANONYMOUS, NOBODY, "reached from the network: sign in"),
        (asks(security="strict"), ANONYMOUS, NOBODY, "strict"),
        (asks(security="open", uid=PROXY, proxied=True, loopback=False), ANONYMOUS, ADMIN, None),
    ],
)
def test_who_somebody_is_taken_for(who: Actor, kind: str, role: str, said: str | None) -> None:
    assert (who.kind, who.role, who.name, who.peer) == (kind, role, None, "127.0.0.1")
    assert said is None or said in who.because


def test_the_refusal_of_another_account_says_what_to_do_and_what_not() -> None:
    reason = decide(asks(uid=PROXY), OPERATE)
    assert reason is not None
    for part in ("uid 33", "uid 1000", "root", "LOCAL_USERS", "LOCAL_AGENTS", "proxy", "MIRROR_STAGE_SECURITY=open"):
        assert part in reason


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (NOBODY, {OPEN}),
        (REPORTER, {OPEN, REPORT, AGENT}),
        (VIEWER, {OPEN, VIEW, OWN_SESSIONS}),
        (OPERATOR, {OPEN, VIEW, OWN_SESSIONS, READ_COMMANDS, OPERATE}),
        (ADMIN, {OPEN, VIEW, OWN_SESSIONS, READ_COMMANDS, OPERATE, MANAGE, REPORT, AGENT}),
    ],
)
def test_what_a_role_allows(role: str, allowed: set[str]) -> None:
    who = Actor("user", "alice", role=role, because="not her")
    assert {one for one in PERMISSIONS if decide(who, one) is None} == allowed
    assert {decide(who, one) for one in PERMISSIONS if one not in allowed} <= {"not her"}


def test_every_role_is_in_the_table_above_and_made_of_known_permissions() -> None:
    assert set(ROLES) == {NOBODY, REPORTER, *ROLES_OF_PEOPLE}
    assert frozenset().union(*ROLES.values()) == set(PERMISSIONS) - {OPEN}


def test_each_role_of_people_may_what_the_smaller_one_may() -> None:
    viewer, operator, admin = (ROLES[role] for role in ROLES_OF_PEOPLE)
    assert viewer < operator < admin


def test_a_refusal_says_which_role_somebody_has_and_what_to_do() -> None:
    vera = actor_of_person("vera", VIEWER, None, credential="session:1", principal=1)
    assert decide(vera, OPERATE) == "vera has the role viewer, which does not allow this; ask an admin for a larger one"
    agent = actor_of_agent("titan-01", None, credential="token:1")
    assert "agent of titan-01" in (decide(agent, VIEW) or "")


@pytest.mark.parametrize(
    "who", [asks(uid=PROXY), asks(uid=None), asks(proxied=True), asks(loopback=False), asks(security="strict")]
)
def test_whoever_is_not_trusted_is_told_how_to_sign_in(who: Actor) -> None:
    assert "mirror-stage admin link" in who.because
    assert "mirror-stage tokens create" in who.because


@pytest.mark.parametrize("who", [EGO, job("sweep"), asks(), asks(security="open"), Actor(ANONYMOUS)])
def test_what_nobody_declared_nobody_may(who: Actor) -> None:
    reason = decide(who, None)
    assert reason is not None
    assert "declared" in reason


@pytest.mark.parametrize(
    ("host", "allowed"), [("titan-01", True), (None, True), ("titan-02", False), ("TITAN-01", False)]
)
def test_an_actor_that_is_bound_to_a_host_touches_that_one_only(host: str | None, allowed: bool) -> None:
    who = Actor("agent", "titan-01", role=REPORTER, hostname="titan-01")
    assert (decide(who, AGENT, host) is None) == allowed
    assert decide(who, OPEN, host) is None


@pytest.mark.parametrize(
    ("who", "recorded", "shown"),
    [
        (asks(), "local", None),
        (Actor(ANONYMOUS), "anonymous", None),
        (EGO, "ego", "ego"),
        (job("watch_over_commands"), "job:watch_over_commands", "ego"),
        (Actor("user", "alice"), "alice", "alice"),
    ],
)
def test_how_an_actor_is_recorded_and_what_clients_see_of_it(who: Actor, recorded: str, shown: str | None) -> None:
    assert who.recorded_as == recorded
    assert shown_name(recorded) == shown
    assert shown_name(None) is None
