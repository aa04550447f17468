"""Codes, tokens and their generations over REST, clones, limits, labels, and what the readiness says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gevent
import pytest
from flask import Flask
from flask.testing import FlaskClient

from mirror_stage.access.domain import ADMIN, LOCAL, Actor
from mirror_stage.access.service import People
from mirror_stage.app import create_app
from mirror_stage.commands.domain import NewCommand
from mirror_stage.commands.service import CommandService
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.instants import HOUR, MINUTE, SECOND
from mirror_stage.core.problems import Conflict, Unavailable
from mirror_stage.enrolment import domain
from mirror_stage.enrolment import service as enrolment
from mirror_stage.enrolment.service import Enrolment
from mirror_stage.storage.db import Storage
from tests.builders import make_sample

ADA = Actor(LOCAL, "ada", role=ADMIN)
KEY, OTHER = "k" * 43, "o" * 43


@dataclass
class Ego:
    """An EGO that trusts nobody without a credential, with a clock that the test sets."""

    app: Flask
    client: FlaskClient
    enrolment: Enrolment
    now: int = 1_800_000_000_000

    def ask(self, path: str, body: Any = None, token: str | None = None, **headers: str) -> Any:
        return self.client.post(path, json=body, headers=headers | bearer(token))

    def enrol(self, hostname: str, code: str | None = None, key: str = KEY, token: str | None = None) -> Any:
        return self.ask("/api/agents/enroll", {"code": code, "hostname": hostname, "key": key}, token)

    def code(self, **options: Any) -> str:
        wanted: dict[str, Any] = {"uses": 1, "lasts": HOUR, "host_pattern": "*", "labels": {}} | options
        return self.enrolment.create_code(ADA, **wanted)[0]

    def enrolled(self, hostname: str = "db-01", **options: Any) -> str:
        """The token of a new agent."""
        answer = self.enrol(hostname, self.code(**options))
        assert answer.status_code == 201
        return str(answer.json["token"])

    def rotated(self, token: str) -> str:
        answer = self.ask("/api/agents/self/rotate", token=token)
        assert answer.status_code == 201
        return str(answer.json["token"])

    def poll(self, token: str, hostname: str = "db-01", instance: str | None = None) -> tuple[int, str]:
        """The status and the detail of a poll."""
        headers = bearer(token) | ({} if instance is None else {"X-Reflector-Instance": instance})
        answer = self.client.get(f"/api/commands/pending/{hostname}", headers=headers)
        return answer.status_code, "" if answer.status_code == 200 else answer.json["detail"]

    def audited(self) -> list[tuple[str, str | None]]:
        return [(row.what, row.detail) for row in self.app.extensions["mirror_stage"][People].whole_audit()]


def bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


@pytest.fixture
def ego() -> Iterator[Ego]:
    app = create_app(Config(testing=True, security="strict"))
    services = app.extensions["mirror_stage"]
    one = Ego(app, app.test_client(), services[Enrolment])
    services[Clock].now = lambda: one.now
    yield one


def test_an_enrolled_agent_is_an_actor_of_its_host(ego: Ego) -> None:
    token = ego.enrolled()
    assert ego.client.get("/api/me", headers=bearer(token)).json["name"] == "agent:db-01"
    assert ego.poll(token) == (200, "")
    assert ego.poll(token, "db-02")[0] == 403
    assert ego.ask("/api/metrics/batch", {"samples": [make_sample("db-01")]}, token).status_code == 202
    assert ego.ask("/api/metrics/batch", {"samples": [make_sample("db-02")]}, token).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"hostname": "db-01"},
        {"hostname": "db-01", "key": "short"},
        {"hostname": "a/b", "key": KEY},
        {"hostname": "db-01", "key": KEY, "code": 7},
        {"hostname": "db-01", "key": KEY, "instance": "x" * 65},
        {"hostname": "db-01", "key": KEY, "instance": "\x1b[2J"},
    ],
)
def test_a_host_says_who_it_is_in_the_form_of_the_contract(ego: Ego, body: dict[str, Any]) -> None:
    assert ego.ask("/api/agents/enroll", body).status_code == 400


@pytest.mark.parametrize(
    ("code", "said"), [("ms_enroll_cut", "mistyped or cut"), ("hello", "mistyped or cut"), ("a token", "no code")]
)
def test_what_is_no_code_is_named(ego: Ego, code: str, said: str) -> None:
    code = ego.enrolled("db-09") if code == "a token" else code
    answer = ego.enrol("db-01", code)
    assert (answer.status_code, said in answer.json["detail"]) == (401, True)


def test_a_code_is_no_token(ego: Ego) -> None:
    answer = ego.client.get("/api/hosts", headers=bearer(ego.code()))
    assert (answer.status_code, "a code with which a host enrols" in answer.json["detail"]) == (401, True)


def test_ten_thousand_guesses_get_nowhere(ego: Ego, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused after ten, whatever they guess; and the audit has few rows of them."""
    real, at = ego.code(), [0.0]
    monkeypatch.setattr(enrolment, "elapsed_seconds", lambda: at[0])
    statuses = []
    for number in range(10_000):
        guess = domain.Asked("db-01", "0" * 64, "10.0.0.66", None)
        try:
            ego.enrolment.enrol(guess, f"{real[:-7]}{number:07}", ADA)
        except Exception as why:
            statuses.append(why.status.value)  # type: ignore[attr-defined]
        at[0] += 0.001
    assert (statuses.count(401), statuses.count(429)) == (11, 9_989)
    assert len(ego.audited()) == 2
    answer = ego.enrol("db-01", real)  # from another address
    assert answer.status_code == 201


def test_too_many_tries_are_told_when_to_come_again(ego: Ego) -> None:
    answers = [ego.enrol("db-01", "ms_enroll_x") for _ in range(11)]
    assert [each.status_code for each in answers] == [401] * 10 + [429]
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert "from this address" in answers[-1].json["detail"]


def test_a_host_that_waits_may_ask_again_and_again(ego: Ego, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolment, "elapsed_seconds", lambda: 0.0)
    answers = [ego.enrol("db-01") for _ in range(15)]
    assert {each.status_code for each in answers} == {202}
    statuses = [ego.enrol("db-01").status_code for _ in range(50)]
    assert statuses == [202] * 35 + [429] * 15  # but not so often that nobody else gets a turn
    assert answers[0].json == {
        "status": "waiting",
        "fingerprint": domain.fingerprint(domain.sha256(KEY)),
        "retryAfterSeconds": 5,
    }


def test_an_approved_host_fetches_its_token_until_it_has_used_it(ego: Ego) -> None:
    assert ego.enrol("db-01").status_code == 202
    ego.enrolment.approve("db-01", {"rack": "R7"}, ADA)
    ego.enrol("db-01")  # the answer is lost
    token = ego.enrol("db-01").json["token"]
    assert ego.poll(token) == (200, "")
    assert ego.enrol("db-01").status_code == 409


def test_who_was_revoked_reads_what_to_do(ego: Ego) -> None:
    token = ego.enrolled()
    ego.enrolment.revoke("db-01", ADA)
    status, detail = ego.poll(token)
    assert (status, "mirror-stage enroll code" in detail) == (401, True)


def test_a_spent_code_that_another_host_shows_is_an_alarm(ego: Ego, caplog: pytest.LogCaptureFixture) -> None:
    code = ego.code()
    assert ego.enrol("db-01", code).status_code == 201
    assert ego.enrolment.check()["ok"]
    assert ego.enrol("db-02", code, OTHER).status_code == 401
    assert "has shown a code that was spent, as db-02" in caplog.text
    assert "as db-02" in ego.enrolment.check()["detail"]
    assert not ego.enrolment.check()["ok"]
    what, detail = ego.audited()[-1]
    assert (what, "as db-02: this code was used as often as it may be" in (detail or "")) == ("enrol-refused", True)


def test_a_lost_answer_of_a_rotation_locks_nobody_out(ego: Ego) -> None:
    one = ego.enrolled()
    assert ego.poll(one) == (200, "")
    ego.rotated(one)  # the agent never gets this
    two = ego.rotated(one)
    assert ego.poll(one) == (200, "")
    assert ego.poll(two) == (200, "")
    ego.now += 5 * SECOND
    assert ego.poll(one) == (200, "")  # it was on its way
    assert ego.enrolment.check()["ok"]


def test_a_token_that_was_replaced_suspends_the_agent_until_somebody_unlocks_it(
    ego: Ego, caplog: pytest.LogCaptureFixture
) -> None:
    one = ego.enrolled()
    ego.poll(one)
    two = ego.rotated(one)
    ego.poll(two)
    ego.now += MINUTE
    status, detail = ego.poll(one)
    assert (status, "mirror-stage agents unlock db-01" in detail) == (401, True)
    for token in (one, two):
        assert ego.poll(token)[0] == 401
    assert ego.enrol("db-01", token=two).status_code == 409  # no way around it
    assert ego.enrol("db-01", ego.code()).status_code == 409
    assert "the agent of db-01 is suspended" in caplog.text
    assert "suspended: db-01" in ego.enrolment.check()["detail"]
    assert ("agent-suspended", "generation 1 of its token was used after generation 2") in ego.audited()
    ego.enrolment.unlock("db-01", ADA)
    assert ego.enrolment.check()["ok"]
    assert ego.poll(two) == (200, "")
    status, detail = ego.poll(one)
    assert (status, "was revoked" in detail) == (401, True)
    assert ego.poll(two) == (200, "")  # that was no new reason to suspend it


def test_a_poll_that_began_with_the_former_token_is_no_sign_of_a_clone(ego: Ego) -> None:
    one = ego.enrolled()
    ego.poll(one)
    two = ego.rotated(one)
    waiting = gevent.spawn(ego.client.get, "/api/commands/pending/db-01?wait=20", headers=bearer(one))
    commands = ego.app.extensions["mirror_stage"][CommandService]
    with gevent.Timeout(10):
        while not commands.credentials_waiting():
            gevent.sleep(0.01)
    ego.poll(two)
    ego.now += MINUTE
    people = ego.app.extensions["mirror_stage"][People]
    commands.look_again_for(people.ended(commands.credentials_waiting()))
    answer = waiting.get(timeout=10)
    assert (answer.status_code, "was replaced" in answer.json["detail"]) == (401, True)
    assert ego.poll(two) == (200, "")
    assert ego.enrolment.check()["ok"]


def test_a_second_machine_that_does_not_name_its_instance_suspends_the_agent_too(ego: Ego) -> None:
    token = ego.enrolled()
    turns = [ego.poll(token, instance=name)[0] for name in ("a", None, "a", None, "a", None)]
    assert turns == [200, 200, 200, 200, 401, 401]
    assert ("agent-suspended", "two machines use its token at the same time") in ego.audited()


def test_an_agent_that_never_names_its_instance_is_one_machine(ego: Ego) -> None:
    token = ego.enrolled()
    for _ in range(5):
        assert ego.poll(token)[0] == 200
        assert ego.ask("/api/metrics/batch", {"samples": [make_sample("db-01")]}, token).status_code == 202


def test_two_instances_in_turn_suspend_the_agent(ego: Ego) -> None:
    token = ego.enrolled()
    answers = [ego.poll(token, instance=each)[0] for each in "abababab"]
    assert answers == [200, 200, 200, 200, 401, 401, 401, 401]
    ego.enrolment.unlock("db-01", ADA)
    assert ego.poll(token, instance="a") == (200, "")


def test_an_agent_that_lost_its_folder_is_another_instance_and_no_clone(ego: Ego) -> None:
    token = ego.enrolled()
    answers = [ego.poll(token, instance=each)[0] for each in "aaabaabbbb"]
    assert answers == [200] * 10


def test_a_token_that_an_admin_has_made_does_not_rotate(ego: Ego) -> None:
    people = ego.app.extensions["mirror_stage"][People]
    made, _ = people.create_token(ADA, role=None, hostname="db-01", note=None, lasts=None)
    assert ego.ask("/api/agents/self/rotate", token=made).status_code == 409
    admin, _ = people.create_token(ADA, role=ADMIN, hostname=None, note=None, lasts=None)
    assert ego.ask("/api/agents/self/rotate", token=admin).status_code == 409
    assert ego.enrol("db-01", token=made).status_code == 201


def test_one_host_cannot_ask_for_tokens_without_end(ego: Ego) -> None:
    token = ego.enrolled()
    answers = [ego.ask("/api/agents/self/rotate", token=token).status_code for _ in range(11)]
    assert answers == [201] * 10 + [429]


def test_while_the_database_takes_no_writes_a_new_token_is_not_used(ego: Ego, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else two generations could count at the same time."""
    token = ego.enrolled()
    storage = ego.app.extensions["mirror_stage"][Storage]

    def full(*_arguments: Any) -> Any:
        raise Unavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(storage, "write", full)
        assert ego.poll(token)[0] == 503
    assert ego.poll(token) == (200, "")


def test_what_is_pinned_counts_more_than_what_the_agent_says(ego: Ego) -> None:
    token = ego.enrolled(labels={"rack": "R1", "room": "A", "role": "primary"})
    sample = make_sample("db-01", rack="R9", tags={"room": "Z", "tier": "db"})
    assert ego.ask("/api/metrics/batch", {"samples": [sample]}, token).status_code == 202
    admin = ego.app.extensions["mirror_stage"][People].create_token(
        ADA, role=ADMIN, hostname=None, note=None, lasts=None
    )
    host = ego.client.get("/api/hosts/db-01", headers=bearer(admin[0])).json
    assert (host["rack"], host["room"], host["tier"]) == ("R1", "A", "db")
    assert host["diagnostics"]["tags"] == {"room": "A", "tier": "db", "role": "primary"}
    assert host["pinned"] == ["rack", "role", "room"]
    ego.enrolment.revoke("db-01", ADA)
    assert ego.enrolment.labels_of("db-01") == {}


def test_an_admin_changes_what_is_pinned_and_the_next_sample_shows_it(ego: Ego) -> None:
    token = ego.enrolled(labels={"rack": "R1", "room": "A", "role": "primary"})
    id = ego.enrolment.agents()[0].id
    admin, _ = ego.app.extensions["mirror_stage"][People].create_token(
        ADA, role=ADMIN, hostname=None, note=None, lasts=None
    )

    def label(labels: Any) -> Any:
        return ego.ask(f"/api/agents/{id}/labels", {"labels": labels}, admin)

    changed = label({"rack": "R2", "room": None, "zone": "north"})
    assert (changed.status_code, changed.json["labels"]) == (200, {"rack": "R2", "role": "primary", "zone": "north"})
    assert ego.audited()[-1] == ("agent-labelled", "rack = R2, room taken away, zone = north")
    sample = make_sample("db-01", rack="R9", tags={"room": "Z"})
    assert ego.ask("/api/metrics/batch", {"samples": [sample]}, token).status_code == 202
    host = ego.client.get("/api/hosts/db-01", headers=bearer(admin)).json
    assert (host["rack"], host["room"], host["pinned"]) == ("R2", "Z", ["rack", "role", "zone"])
    assert label({"rack": "R2"}).status_code == 200
    assert ego.audited()[-1][0] == "agent-labelled"
    for bad in ({"rack": " R2"}, {"": "x"}, {"rack": 2}, {"a b": None}, None):
        assert label(bad).status_code == 400, bad
    assert label({f"tag-{number}": "x" for number in range(30)}).status_code == 400
    assert ego.enrolment.labels_of("db-01") == {"rack": "R2", "role": "primary", "zone": "north"}
    ego.enrolment.revoke("db-01", ADA)
    assert label({"rack": "R3"}).status_code == 409
    assert ego.ask("/api/agents/none/labels", {"labels": {}}, admin).status_code == 404


def test_what_another_process_has_changed_is_learned(ego: Ego) -> None:
    """The command line works on the database; a start finds everything anew."""
    ego.enrolled(labels={"rack": "R1"})
    later = Enrolment(
        ego.app.extensions["mirror_stage"][Storage],
        ego.app.extensions["mirror_stage"][Clock],
        ego.app.extensions["mirror_stage"][People],
        tell_cancelled=lambda _commands: None,
        signing_root=lambda: None,
    )
    later.look()
    assert later.labels_of("db-01") == {"rack": "R1"}
    now, ego.now = ego.now, ego.now - HOUR  # the clock of the command line is behind
    ego.enrolment.revoke("db-01", ADA)
    ego.now = now
    ego.enrol("web-01")
    later.look()
    assert later.labels_of("db-01") == {}
    assert later.check() == {"ok": True, "detail": "waiting for approval: 1"}
    ego.now += HOUR
    later.look()
    assert later.check()["detail"] == "waiting for approval: 0"


@pytest.mark.parametrize(
    ("settings", "has_locks"),
    [
        ({}, False),
        ({"security": "strict"}, True),
        ({"bind": "0.0.0.0"}, True),
        ({"bind": "0.0.0.0", "security": "open"}, False),
    ],
)
def test_a_command_needs_an_enrolled_agent_where_nobody_is_trusted(settings: dict[str, str], has_locks: bool) -> None:
    app = create_app(Config(testing=True, **settings))  # type: ignore[arg-type]
    commands = app.extensions["mirror_stage"][CommandService]
    if not has_locks:
        assert commands.create(NewCommand("db-01", "w"), ADA)[1]
        return
    with pytest.raises(Conflict, match="no agent is enrolled as db-01"):
        commands.create(NewCommand("db-01", "w"), ADA)
    people: People = app.extensions["mirror_stage"][People]
    _, token = people.create_token(ADA, role=None, hostname="db-01", note=None, lasts=None)
    command, _ = commands.create(NewCommand("db-01", "w"), ADA, "key")
    people.revoke(token.id, ADA)
    with pytest.raises(Conflict):
        commands.create(NewCommand("db-01", "w"), ADA)
    assert commands.create(NewCommand("db-01", "w"), ADA, "key") == (command, False)  # it was queued before


def test_a_code_and_its_line_are_shown_once(ego: Ego) -> None:
    people = ego.app.extensions["mirror_stage"][People]
    admin, _ = people.create_token(ADA, role=ADMIN, hostname=None, note=None, lasts=None)
    made = ego.ask("/api/enrol-codes", {"uses": 3, "hostPattern": "db-*", "labels": {"rack": "R1"}}, admin)
    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "no-store"
    code = made.json["code"]
    assert f"echo code={code};" in made.json["line"]
    assert "http://localhost/enroll.sh" in made.json["line"]
    listed = ego.client.get("/api/enrol-codes", headers=bearer(admin)).json
    assert listed == {"items": [{k: v for k, v in made.json.items() if k not in {"code", "line"}}], "total": 1}
    assert ego.enrol("db-01", code).status_code == 201
    assert ego.client.delete(f"/api/enrol-codes/{made.json['id']}", headers=bearer(admin)).status_code == 204
    assert ego.enrol("db-02", code).status_code == 401
    agents = ego.client.get("/api/agents", headers=bearer(admin)).json["items"]
    assert all(each["createdAt"] for each in agents)
    for state in ("waiting", "enrolled"):
        some = ego.client.get(f"/api/agents?state={state}", headers=bearer(admin)).json["items"]
        assert some == [each for each in agents if each["state"] == state]
    assert [(each["hostname"], each["state"], each["labels"], each["generation"]) for each in agents] == [
        ("db-01", "enrolled", {"rack": "R1"}, 1)
    ]
    for what, state in (("revoke", "revoked"), ("revoke", "revoked")):
        answer = ego.ask(f"/api/agents/{agents[0]['id']}/{what}", token=admin)
        assert (answer.status_code, answer.json["state"]) == (200, state)
    assert ego.ask("/api/agents/none/approve", token=admin).status_code == 404
    assert ego.ask(f"/api/agents/{agents[0]['id']}/approve", {"labels": {"rack": ""}}, admin).status_code == 400
