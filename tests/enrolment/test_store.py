"""What the tables of agents and codes hold, and for how long, on both databases."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from mirror_stage.access import store as access
from mirror_stage.access import tokens
from mirror_stage.access.domain import ADMIN, ANONYMOUS, LOCAL, Actor, actor_of_agent
from mirror_stage.access.people import CredentialRow, Known, key_of_token
from mirror_stage.commands import store as commands
from mirror_stage.commands.domain import NewCommand
from mirror_stage.core.config import Config
from mirror_stage.core.instants import DAY, HOUR, MINUTE
from mirror_stage.core.problems import Conflict, Forbidden, NotFound, Refused, Unauthorized
from mirror_stage.core.signed import Recipient
from mirror_stage.enrolment import domain, store
from mirror_stage.enrolment.domain import Asked, CodeRow
from mirror_stage.enrolment.store import Enrolled, SpentCode
from mirror_stage.storage.db import Storage, Tx
from tests.builders import NoSigner
from tests.storages import migrated

NOW = 1_800_000_000_000
ADA = Actor(LOCAL, role=ADMIN, peer="127.0.0.1")
HOST = Actor(ANONYMOUS, peer="10.0.0.7")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """An open storage with the newest schema, for all tests of this file."""
    config = Config(sqlite_path=tmp_path_factory.mktemp("enrolment") / "ego.db")
    if request.param == "postgresql":
        config = Config(db_url=request.getfixturevalue("postgresql").new_database())
    with migrated(config) as storage:
        yield storage


@pytest.fixture
def storage(opened: Storage) -> Storage:
    """A storage with nothing in it."""

    def empty(tx: Tx) -> None:
        for table in ("agents", "enrol_codes", "credentials", "audit", "command_events", "commands"):
            tx.execute(text(f"DELETE FROM {table}"))

    opened.write(empty)
    return opened


def make_code(storage: Storage, uses: int = 1, lasts: int = HOUR, pattern: str = "*", **labels: str) -> tokens.Token:
    code = tokens.make(tokens.ENROL, secrets.choice)
    new = CodeRow(code.id, uses, NOW + lasts, pattern, labels, NOW, "ada")
    storage.write(lambda tx: store.add_code(tx, new, tokens.sha256(code.text), ADA, NOW))
    return code


def enrol(
    storage: Storage,
    hostname: str,
    code: tokens.Token | None = None,
    *,
    key: str = "k",
    actor: Actor = HOST,
    at: int = NOW,
    address: str | None = "10.0.0.7",
) -> Enrolled | None:
    asked = Asked(hostname, domain.sha256(key), address, None)
    fresh = tokens.make(tokens.AGENT, secrets.choice)
    id = "a" + tokens.random_text(10, secrets.choice)
    return storage.write(lambda tx: store.enrol(tx, asked, code, fresh, id, actor, at))


def enrolled(*arguments: Any, **options: Any) -> Enrolled:
    found = enrol(*arguments, **options)
    assert found is not None
    return found


def known(storage: Storage, one: Enrolled) -> Known:
    key = key_of_token(one.token.id)
    return storage.read(lambda tx: access.known(tx, [key]))[key]


def use(storage: Storage, one: Enrolled, at: int = NOW) -> None:
    agent = one.agent
    storage.write(lambda tx: store.note_first_use(tx, one.token.id, agent.id, agent.hostname, agent.generation, at))


def rotate(storage: Storage, one: Enrolled) -> Enrolled:
    fresh = tokens.make(tokens.AGENT, secrets.choice)
    actor = actor_of_agent(one.agent.hostname, None, credential=key_of_token(one.token.id))
    generation = storage.write(lambda tx: store.rotate(tx, one.token.id, one.agent.hostname, fresh, actor, NOW))
    return Enrolled(replace(one.agent, generation=generation), fresh)


def audited(storage: Storage) -> list[str]:
    return [row.what for row in storage.read(lambda tx: access.audit_rows(tx, 0, 1_000))]


def test_a_code_enrols_as_many_hosts_as_it_says(storage: Storage) -> None:
    code = make_code(storage, uses=2, pattern="db-*", rack="R1", room="Süd")
    with pytest.raises(Unauthorized, match="for hosts named db-"):
        enrol(storage, "web-01", code)
    one, two = enrolled(storage, "db-01", code), enrolled(storage, "db-02", code)
    assert (one.agent.generation, one.agent.labels) == (1, {"rack": "R1", "room": "Süd"})
    assert known(storage, two).actor("token:x", None).hostname == "db-02"
    with pytest.raises(SpentCode, match="as often as it may be"):
        enrol(storage, "db-03", code, key="other")
    assert audited(storage) == ["enrol-code-created", "agent-enrolled", "agent-enrolled"]
    assert [each.uses_left for each in storage.read(lambda tx: store.codes(tx, NOW))] == [0]


def test_a_code_that_is_unknown_or_has_ended_enrols_nobody(storage: Storage) -> None:
    code = make_code(storage, lasts=MINUTE)
    with pytest.raises(Unauthorized, match="does not know"):
        enrol(storage, "db-01", tokens.make(tokens.ENROL, secrets.choice))
    with pytest.raises(Unauthorized, match="does not know"):
        enrol(storage, "db-01", replace(code, text=code.text + "x"))
    with pytest.raises(Unauthorized, match="has ended"):
        enrol(storage, "db-01", code, at=NOW + MINUTE)
    storage.write(lambda tx: store.end_code(tx, code.id, ADA, NOW))
    storage.write(lambda tx: store.end_code(tx, code.id, ADA, NOW))
    with pytest.raises(Unauthorized, match="has ended"):
        enrol(storage, "db-01", code)
    with pytest.raises(NotFound):
        storage.write(lambda tx: store.end_code(tx, "none", ADA, NOW))
    assert audited(storage) == ["enrol-code-created", "enrol-code-ended"]


def test_a_host_that_lost_the_answer_asks_again_and_spends_nothing(storage: Storage) -> None:
    code = make_code(storage)
    first = enrolled(storage, "db-01", code)
    again = enrolled(storage, "db-01", code)
    assert (again.agent.id, again.agent.generation) == (first.agent.id, 2)
    again = enrolled(storage, "db-01", code, at=NOW + 2 * HOUR)  # no answer has arrived, although the code has ended
    assert "was revoked" in (known(storage, first).trouble(NOW) or "")
    use(storage, again)
    third = enrolled(storage, "db-01", code)  # within the life of the code also when the token was used
    assert "was revoked" in (known(storage, again).trouble(NOW) or "")
    use(storage, third)
    with pytest.raises(Conflict, match="enrolled already"):
        enrol(storage, "db-01", code, at=NOW + HOUR)
    with pytest.raises(Conflict, match="enrolled already"):
        enrol(storage, "db-01", make_code(storage))
    assert known(storage, third).trouble(NOW) is None


def test_a_name_that_is_enrolled_is_locked(storage: Storage) -> None:
    one = enrolled(storage, "db-01", make_code(storage))
    for code in (None, make_code(storage)):
        with pytest.raises(Conflict, match="agents revoke db-01"):
            enrol(storage, "db-01", code, key="other")
    stranger = actor_of_agent("db-02", None, credential="token:x")
    with pytest.raises(Conflict):
        enrol(storage, "db-01", key="other", actor=stranger)
    itself = actor_of_agent("db-01", None, credential=key_of_token(one.token.id))
    again = enrolled(storage, "db-01", key="new", actor=itself)
    assert (again.agent.id, again.agent.generation) == (one.agent.id, 2)
    assert known(storage, one).trouble(NOW) is None  # until the new token is used: the answer may be lost
    use(storage, again)
    assert "was replaced" in (known(storage, one).trouble(NOW + MINUTE) or "")


def test_a_host_with_a_token_that_an_admin_has_made_enrols_without_a_code(storage: Storage) -> None:
    row = CredentialRow("t1", "agent", None, "db-01", "agent", NOW, "ada", None, None, None, None)
    storage.write(lambda tx: access.add_credential(tx, row, "hash", ADA, NOW))
    itself = actor_of_agent("db-01", None, credential="token:t1")
    one = enrolled(storage, "db-01", actor=itself)
    assert (one.agent.enrolled_by, one.agent.generation) == ("agent:db-01", 1)
    with pytest.raises(Conflict, match="made by an admin"):
        storage.write(
            lambda tx: store.rotate(tx, "t1", "db-01", tokens.make(tokens.AGENT, secrets.choice), itself, NOW)
        )
    storage.write(lambda tx: store.revoke(tx, one.agent.id, ADA, NOW))
    assert [each.revoked_at for each in storage.read(access.tokens)] == [NOW, NOW]  # the host is out altogether


def test_a_host_without_a_code_waits_until_an_admin_approves_it(storage: Storage) -> None:
    assert enrol(storage, "db-01", key="right") is None
    assert enrol(storage, "db-01", key="squatter", address="10.0.0.66") is None
    with pytest.raises(Conflict, match="2 hosts wait as db-01"):
        storage.write(lambda tx: store.find(tx, "db-01"))
    right = next(each for each in storage.read(store.agents) if each.key_sha256 == domain.sha256("right"))
    storage.write(lambda tx: store.approve(tx, right.id, {"rack": "R2"}, ADA, NOW))
    with pytest.raises(Conflict, match="enrolled already"):
        enrol(storage, "db-01", key="squatter")
    one = enrolled(storage, "db-01", key="right")
    assert (one.agent.generation, one.agent.labels, one.agent.enrolled_by) == (1, {"rack": "R2"}, "local")
    again = enrolled(storage, "db-01", key="right")  # the answer was lost
    assert again.agent.generation == 2
    use(storage, again)
    with pytest.raises(Conflict):  # once it has arrived, this key is spent
        enrol(storage, "db-01", key="right")
    assert len(storage.read(store.agents)) == 1
    assert audited(storage) == ["agent-approved", "agent-enrolled", "agent-enrolled"]


def test_a_host_that_was_refused_waits_no_more_but_a_code_lets_it_in(storage: Storage) -> None:
    enrol(storage, "db-01")
    storage.write(lambda tx: store.revoke(tx, "db-01", ADA, NOW))
    with pytest.raises(Forbidden, match="refused"):
        enrol(storage, "db-01")
    assert enrol(storage, "db-01", key="another host") is None
    assert enrolled(storage, "db-01", make_code(storage)).agent.state == "enrolled"
    assert "agent-refused" in audited(storage)


def test_the_waiting_list_has_an_end_and_silent_hosts_leave_it(storage: Storage) -> None:
    for number in range(10):
        enrol(storage, f"squat-{number}")
    with pytest.raises(Refused, match="of this address"):
        enrol(storage, "db-01")
    assert enrol(storage, "squat-3") is None  # one that waits is not refused
    for network in range(1, 10):
        for number in range(10):
            enrol(storage, f"squat-{network}-{number}", address=f"10.0.{network}.7", at=NOW + 30 * MINUTE)
    with pytest.raises(Refused, match="100 hosts"):
        enrol(storage, "db-01", address="10.0.99.7", at=NOW + 59 * MINUTE)
    assert enrol(storage, "squat-3", at=NOW + 40 * MINUTE) is None  # it has asked again
    assert enrol(storage, "db-01", address="10.0.99.7", at=NOW + HOUR) is None
    left = {each.hostname for each in storage.read(store.agents)}
    assert {"squat-3", "db-01"} < left
    assert len(left) == 92
    assert storage.read(store.count_waiting) == 92


def test_addresses_of_one_network_of_ipv6_count_as_one(storage: Storage) -> None:
    for number in range(10):
        enrol(storage, f"squat-{number}", address=f"fd00::{number + 1}")
    with pytest.raises(Refused, match="of this address"):
        enrol(storage, "db-01", address="fd00::99")


def test_the_former_token_counts_until_the_new_one_was_used(storage: Storage) -> None:
    one = enrolled(storage, "db-01", make_code(storage))
    use(storage, one)
    lost, two = rotate(storage, one), rotate(storage, one)  # the first answer was lost
    assert (lost.agent.generation, two.agent.generation) == (2, 3)
    assert [known(storage, each).trouble(NOW) for each in (one, lost, two)] == [None, None, None]
    use(storage, two, NOW + 1)
    use(storage, two, NOW + 9)
    assert [known(storage, each).replaced_by for each in (one, lost, two)] == [3, 3, None]
    assert known(storage, one).trouble(NOW + 1) is None  # requests may be on their way
    assert "was replaced" in (known(storage, one).trouble(NOW + MINUTE) or "")
    assert known(storage, two).trouble(NOW + MINUTE) is None


def test_of_tokens_that_nobody_used_the_newest_three_count(storage: Storage) -> None:
    one = enrolled(storage, "db-01", make_code(storage))
    use(storage, one)
    many = [rotate(storage, one) for _ in range(6)]
    assert [known(storage, each).revoked_at for each in (one, *many)] == [None, NOW, NOW, NOW, None, None, None]


def test_a_suspended_agent_gets_in_again_by_unlock_with_its_newest_token_only(storage: Storage) -> None:
    one = enrolled(storage, "db-01", make_code(storage))
    use(storage, one)
    two = rotate(storage, one)
    use(storage, two)
    agent = one.agent
    assert storage.write(lambda tx: store.suspend(tx, agent.id, "db-01", "why", HOST, NOW))
    assert not storage.write(lambda tx: store.suspend(tx, agent.id, "db-01", "why", HOST, NOW))
    for each in (one, two):
        assert "agents unlock db-01" in (known(storage, each).trouble(NOW) or "")
    with pytest.raises(Conflict, match="is suspended"):
        enrol(storage, "db-01", make_code(storage))
    assert "is suspended" in (storage.read(lambda tx: store.stranger(tx, "db-01", NOW)) or "")
    storage.write(lambda tx: store.unlock(tx, "db-01", ADA, NOW))
    assert known(storage, two).trouble(NOW) is None
    assert "was revoked" in (known(storage, one).trouble(NOW + MINUTE) or "")
    with pytest.raises(Conflict, match="not suspended"):
        storage.write(lambda tx: store.unlock(tx, "db-01", ADA, NOW))
    assert audited(storage)[3:] == ["agent-suspended", "enrol-code-created", "agent-unlocked"]


def note_of(storage: Storage, id: str) -> str | None:
    """What the last event of a command says about it."""
    return storage.read(lambda tx: commands.events_of(tx, id, ADA))[-1].note


def test_a_revoke_frees_the_name_and_leaves_no_command_to_the_next_one(storage: Storage) -> None:
    code = make_code(storage, uses=2)
    one = enrolled(storage, "db-01", code)

    def queue(id: str) -> str:
        new = NewCommand("db-01", "reboot")
        made, _ = storage.write(
            lambda tx: commands.create(tx, new, ADA, NOW, NoSigner(), id=id, key=None, stranger=store.stranger)
        )
        return made.id

    queue("c1")
    agent, cancelled = storage.write(lambda tx: store.revoke(tx, one.agent.id, ADA, NOW))
    assert (agent.state, [each.id for each in cancelled]) == ("revoked", ["c1"])
    assert note_of(storage, "c1") == "agent revoked"
    assert storage.write(lambda tx: store.revoke(tx, one.agent.id, ADA, NOW))[1] == []
    assert "was revoked" in (known(storage, one).trouble(NOW) or "")
    with pytest.raises(Conflict, match="no agent is enrolled as db-01"):
        queue("c2")
    two = enrolled(storage, "db-01", code, key="next")
    assert two.agent.id != one.agent.id
    queue("c3")
    claimed = storage.write(lambda tx: commands.claim(tx, "db-01", HOST, NOW, instance=None, limit=9, note=None))
    assert [each.id for each in claimed[1]] == ["c3"]


def make_token(storage: Storage, hostname: str) -> None:
    """A token for the agent of a host, as an admin makes it."""
    row = CredentialRow("t1", "agent", None, hostname, "agent", NOW, "ada", None, None, None, None)
    storage.write(lambda tx: access.add_credential(tx, row, "hash", ADA, NOW))


def test_a_code_for_many_names_does_not_take_the_name_of_a_host_that_has_a_token(storage: Storage) -> None:
    make_token(storage, "db-01")
    code = make_code(storage, pattern="db-*")
    with pytest.raises(Conflict, match="enroll code --host db-01"):
        enrol(storage, "db-01", code)
    assert [each.uses_left for each in storage.read(lambda tx: store.codes(tx, NOW))] == [1]
    itself = actor_of_agent("db-01", None, credential="token:t1")
    assert enrolled(storage, "db-01", code, actor=itself).agent.code == code.id
    storage.write(lambda tx: store.revoke(tx, "db-01", ADA, NOW))
    assert enrolled(storage, "db-01", make_code(storage)).agent.state == "enrolled"  # the token has ended


def test_a_code_for_one_name_counts_although_its_host_has_a_token(storage: Storage) -> None:
    make_token(storage, "db-01")
    assert enrolled(storage, "db-01", make_code(storage, pattern="db-01")).agent.state == "enrolled"


@pytest.mark.parametrize("way", ["code", "approval"])
def test_a_new_agent_gets_no_command_that_waited_for_a_former_one(storage: Storage, way: str) -> None:
    make_token(storage, "db-01")
    new = NewCommand("db-01", "mysql -p secret")
    storage.write(lambda tx: commands.create(tx, new, ADA, NOW, NoSigner(), id="c1", key=None, stranger=store.stranger))
    storage.write(lambda tx: access.revoke(tx, "t1", ADA, NOW))
    if way == "code":
        cancelled = enrolled(storage, "db-01", make_code(storage)).cancelled
    else:
        assert enrol(storage, "db-01") is None
        _, cancelled = storage.write(lambda tx: store.approve(tx, "db-01", {}, ADA, NOW))
    assert [(each.id, each.reason) for each in cancelled] == [("c1", "cancelled")]
    assert note_of(storage, "c1") == "another agent was enrolled"
    assert storage.write(lambda tx: commands.claim(tx, "db-01", HOST, NOW, instance=None, limit=9, note=None)) == (
        [],
        [],
    )


def test_an_agent_of_another_make_is_admitted_by_name_and_address(storage: Storage) -> None:
    agent = storage.write(lambda tx: store.admit_field(tx, "a1", "titan-01", "10.0.0.10", True, ADA, NOW))
    assert (agent.kind, agent.state, agent.address, agent.generation) == ("field", "enrolled", "10.0.0.10", 0)
    assert "unverified" in (storage.read(lambda tx: store.stranger(tx, "titan-01", NOW)) or "")
    assert storage.read(lambda tx: store.stranger(tx, "titan-01", NOW, True)) is None
    assert storage.read(lambda tx: store.recipient(tx, "titan-01")) is None  # it checks no signature
    with pytest.raises(Conflict, match="without a credential"):
        enrol(storage, "titan-01", make_code(storage))
    with pytest.raises(Conflict, match=r"admitted at 10\.0\.0\.10 already"):
        storage.write(lambda tx: store.admit_field(tx, "a2", "titan-01", "10.0.0.11", True, ADA, NOW))
    with pytest.raises(Conflict, match="admitted as titan-01 already"):
        storage.write(lambda tx: store.admit_field(tx, "a3", "titan-02", "10.0.0.10", True, ADA, NOW))
    storage.write(lambda tx: store.revoke(tx, agent.id, ADA, NOW))
    one = enrolled(storage, "titan-01", make_code(storage)).agent
    assert one.kind == "reflector"
    assert storage.read(lambda tx: store.recipient(tx, "titan-01")) == Recipient("titan-01", one.id, 1)
    assert audited(storage)[0] == "agent-admitted"


def test_what_is_past_its_time_is_removed_in_small_steps(storage: Storage) -> None:
    for number in range(3):
        one = enrolled(storage, f"db-{number}", make_code(storage))
        if number:
            storage.write(lambda tx, one=one, at=NOW + number: store.revoke(tx, one.agent.id, ADA, at))
    make_code(storage, lasts=60 * DAY)
    later = NOW + store.AGENTS_KEPT
    removed = []
    while not removed or removed[-1]:
        removed.append(storage.write(lambda tx: store.prune(tx, later + 1, 1)))
    assert removed == [2, 1, 1, 1, 0]  # of the agents one is too young; of the codes all are too old
    assert {each.hostname for each in storage.read(store.agents)} == {"db-0", "db-2"}
    assert storage.read(lambda tx: tx.execute(text("SELECT count(*) FROM enrol_codes")).scalar()) == 0


def test_a_restore_ends_all_codes(storage: Storage) -> None:
    make_code(storage)
    code = make_code(storage)
    assert storage.write(lambda tx: store.end_all(tx, ADA, NOW)) == 2
    assert storage.write(lambda tx: store.end_all(tx, ADA, NOW)) == 0
    with pytest.raises(Unauthorized, match="has ended"):
        enrol(storage, "db-01", code)


def test_changes_are_read_in_order_and_none_is_left_out(storage: Storage) -> None:
    for number in range(5):
        enrolled(storage, f"db-{number}", make_code(storage), at=NOW + number // 2)
    seen: list[str] = []
    at, id = 0, ""
    while changed := storage.read(lambda tx, at=at, id=id: store.changed_since(tx, at, id, 2)):
        seen += [each.hostname for each in changed]
        at, id = changed[-1].changed_at, changed[-1].id
    assert sorted(seen) == [f"db-{number}" for number in range(5)]


def test_a_command_in_a_refusal_can_be_pasted_whatever_a_host_calls_itself(storage: Storage) -> None:
    name = "x; id > pwned"
    one = enrolled(storage, name, make_code(storage))
    with pytest.raises(Conflict, match=r"agents revoke 'x; id > pwned' on EGO"):
        enrol(storage, name, key="other")
    use(storage, one)
    two = rotate(storage, one)
    use(storage, two)
    assert "agents revoke 'x; id > pwned' on EGO" in (known(storage, one).trouble(NOW + MINUTE) or "")
    storage.write(lambda tx: store.suspend(tx, one.agent.id, name, "why", HOST, NOW))
    assert "agents unlock 'x; id > pwned' on EGO" in (known(storage, two).trouble(NOW) or "")
