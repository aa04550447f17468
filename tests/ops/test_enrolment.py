"""Enrolment with a real EGO that trusts nobody without a credential, on each kind of database, and at the command line."""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

import mirror_stage.app  # noqa: F401  # each command is a fork, and need not import it again
from tests.builders import make_sample, unique_hostname
from tests.command_line import forked
from tests.servers import EgoServer, running_ego, wait_until

CUT_SECONDS = 5.0  # the promise


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def ego(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    settings = {"MIRROR_STAGE_SECURITY": "strict"}
    if request.param == "postgresql":
        settings["MIRROR_STAGE_DB_URL"] = request.getfixturevalue("postgresql").new_database()
    with running_ego(tmp_path_factory.mktemp("ego"), settings) as server:
        yield server


def run(ego: EgoServer, words: str, status: int = 0) -> str:
    """What a command prints, at EGO's own machine."""
    ended = forked(words.split(), cwd=ego.folder, env=ego.environment)
    assert ended.returncode == status, ended.stderr
    return ended.stdout + ended.stderr if status else ended.stdout


def new_code(ego: EgoServer, words: str = "") -> str:
    return str(json.loads(run(ego, f"enroll code --json {words}"))["code"])


def new_key() -> str:
    return secrets.token_urlsafe(32)


def enrol(ego: EgoServer, hostname: str, code: str | None = None, key: str | None = None) -> requests.Response:
    """The answer to a host. One address may try ten times at once, then has to wait as it is told."""
    body = {"code": code, "hostname": hostname, "key": key or new_key()}
    while True:
        answer = ego.post("/api/agents/enroll", json=body)
        if answer.status_code != 429:
            return answer
        assert "from this address" in answer.text
        time.sleep(float(answer.headers["Retry-After"]))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def poll(ego: EgoServer, hostname: str, token: str, **query: Any) -> requests.Response:
    return ego.get(f"/api/commands/pending/{hostname}", headers=bearer(token), params=query)


def agents(ego: EgoServer, hostname: str) -> list[dict[str, Any]]:
    return [each for each in json.loads(run(ego, "agents list --json")) if each["hostname"] == hostname]


def audited(ego: EgoServer, subject: str) -> list[str]:
    rows = json.loads(run(ego, "audit list --rows 200 --json"))
    return [row["what"] for row in reversed(rows) if row["subject"] == subject]


def test_of_hosts_that_race_for_the_last_uses_as_many_win_as_there_are(ego: EgoServer) -> None:
    """Six at once, two uses: fewer than the ten tries that an address has, so that all of them reach the code."""
    code, names = new_code(ego, "--uses 2"), [unique_hostname() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda name: enrol(ego, name, code), names))
    assert Counter(each.status_code for each in answers) == {201: 2, 401: 4}
    assert all("as often as it may be" in each.text for each in answers if each.status_code == 401)
    assert sum(len(agents(ego, name)) for name in names) == 2


def test_of_hosts_that_race_for_a_name_one_wins_and_the_others_spend_nothing(ego: EgoServer) -> None:
    made = json.loads(run(ego, "enroll code --json --uses 5"))
    name = unique_hostname()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: enrol(ego, name, made["code"]), range(4)))
    assert Counter(each.status_code for each in answers) == {201: 1, 409: 3}
    left = next(each for each in json.loads(run(ego, "enroll codes --json")) if each["id"] == made["id"])
    assert left["usesLeft"] == 4


def test_a_host_races_with_itself_and_is_enrolled_once(ego: EgoServer) -> None:
    """A script that is started twice, or an answer that was slow: the last token counts."""
    code, name, key = new_code(ego), unique_hostname(), new_key()
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: enrol(ego, name, code, key), range(3)))
    assert {each.status_code for each in answers} == {201}
    by_generation = {each.json()["generation"]: each.json()["token"] for each in answers}
    assert sorted(by_generation) == [1, 2, 3]
    assert [poll(ego, name, by_generation[each]).status_code for each in (1, 2, 3)] == [401, 401, 200]


def test_from_waiting_to_revoked_at_the_command_line(ego: EgoServer) -> None:
    name, key = unique_hostname(), new_key()
    waiting = enrol(ego, name, key=key)
    assert waiting.status_code == 202
    assert [(each["state"], each["fingerprint"]) for each in agents(ego, name)] == [
        ("waiting", waiting.json()["fingerprint"])
    ]
    run(ego, f"agents approve {name}")
    token = enrol(ego, name, key=key).json()["token"]
    run(ego, f"agents unlock {name}", 1)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(poll, ego, name, token, wait=30)
        wait_until(lambda: agents(ego, name)[0]["lastUsedAt"], what="EGO has let the poll in")
        assert not waits.done()
        run(ego, f"agents revoke {name}")
        revoked_at = time.monotonic()
        answer = waits.result(40)
    assert time.monotonic() - revoked_at < CUT_SECONDS
    assert (answer.status_code, "was revoked" in answer.text) == (401, True)
    assert enrol(ego, name, key=key).status_code == 403
    assert audited(ego, name) == ["agent-approved", "agent-enrolled", "agent-revoked"]
    assert "whole" in run(ego, "audit verify")


def test_labels_that_the_command_line_pins_are_in_force_within_seconds(ego: EgoServer) -> None:
    name, key = unique_hostname(), new_key()
    enrol(ego, name, key=key)
    run(ego, f"agents approve {name} --label rack=R1")
    headers = bearer(enrol(ego, name, key=key).json()["token"])
    viewer = bearer(run(ego, "tokens create --role viewer").strip())

    def is_pinned(rack: str) -> bool:
        ego.post("/api/metrics/batch", json={"samples": [make_sample(name, rack="R9")]}, headers=headers)
        host = ego.get(f"/api/hosts/{name}", headers=viewer).json()
        return (host.get("rack"), host.get("pinned")) == (rack, ["rack"])

    wait_until(lambda: is_pinned("R1"), 6, every=0.2, what="the rack is pinned")
    run(ego, f"agents label {name} rack=R2 room=A")
    run(ego, f"agents label {name} room=")
    assert "at most 32 labels" in run(ego, f"agents label {name} " + " ".join(f"t{n}=x" for n in range(32)), 1)
    wait_until(lambda: is_pinned("R2"), 6, every=0.2, what="the other rack is pinned")


def test_a_clone_is_suspended_and_unlocked(ego: EgoServer) -> None:
    name = unique_hostname()
    one = enrol(ego, name, new_code(ego)).json()["token"]
    assert poll(ego, name, one).status_code == 200
    two = ego.post("/api/agents/self/rotate", headers=bearer(one)).json()["token"]
    assert poll(ego, name, two).status_code == 200
    ego.rows("UPDATE credentials SET revoked_at = revoked_at - 60000 WHERE replaced_by IS NOT NULL")
    wait_until(lambda: poll(ego, name, one).status_code == 401, 5, what="the clone is refused")
    wait_until(lambda: poll(ego, name, two).status_code == 401, 5, what="the host is refused, too")
    assert f"the agent of {name} is suspended" in ego.log
    run(ego, f"agents unlock {name}")
    wait_until(lambda: poll(ego, name, two).status_code == 200, 5, what="the host is let in")
    assert poll(ego, name, one).status_code == 401
    assert audited(ego, name)[-2:] == ["agent-suspended", "agent-unlocked"]


def test_a_command_waits_for_nobody_whom_ego_does_not_know(ego: EgoServer) -> None:
    operator = bearer(run(ego, "tokens create --role operator").strip())
    name = unique_hostname()
    body = {"hostname": name, "command": "w"}
    refused = ego.post("/api/commands", json=body, headers=operator)
    assert (refused.status_code, "enroll code" in refused.json()["detail"]) == (409, True)
    token = enrol(ego, name, new_code(ego)).json()["token"]
    made = ego.post("/api/commands", json=body, headers=operator)
    assert made.status_code == 201
    assert [each["id"] for each in poll(ego, name, token).json()] == [made.json()["id"]]


def test_an_agent_of_another_make_is_admitted_at_the_command_line(ego: EgoServer) -> None:
    name = unique_hostname()
    made = json.loads(run(ego, f"enroll field {name} --address 10.0.0.10 --json"))
    assert (made["kind"], made["address"], made["state"]) == ("field", "10.0.0.10", "enrolled")
    assert "agents revoke" in run(ego, f"enroll field {name} --address 10.0.0.10", 1)


def test_the_line_has_the_pin_of_the_certificate_that_ego_shows(tmp_path: Path) -> None:
    """And no line without one: the host would trust whoever answers."""
    exposed = EgoServer(tmp_path, {"MIRROR_STAGE_BIND": "0.0.0.0", "EGO_PRIMARY_IP": "10.0.0.100"})
    run(exposed, "db upgrade")
    assert "there is no certificate yet" in run(exposed, "enroll code", 1)
    run(exposed, "tls renew")
    pin = json.loads(run(exposed, "tls show --json"))["certificate"]["pin"]
    line = run(exposed, "enroll code --host db-* --uses 2").strip()
    assert f"--pinnedpubkey '{pin}'" in line or f"--pinnedpubkey {pin} " in line
    assert "https://10.0.0.100:" in line
    elsewhere = run(exposed, "enroll code --url https://ego.example.org").strip()
    assert "https://ego.example.org/enroll.sh" in elsewhere


def test_a_restore_ends_the_codes_of_the_backup(tmp_path: Path) -> None:
    idle = EgoServer(tmp_path, {})
    run(idle, "db upgrade")
    run(idle, "enroll code")
    run(idle, "db backup ego.bak")
    assert len(json.loads(run(idle, "enroll codes --json"))) == 1
    assert "1 codes ended" in run(idle, "db restore ego.bak --force")
    assert json.loads(run(idle, "enroll codes --json")) == []
    assert "whole" in run(idle, "audit verify")


def test_over_https_a_host_gets_the_authority_and_the_line_has_the_pin(tmp_path: Path) -> None:
    """curl takes the line's pin for this EGO, and refuses another one."""
    with running_ego(tmp_path, {"MIRROR_STAGE_TLS": "on"}) as ego:
        made = ego.post("/api/enrol-codes", json={}).json()
        answer = enrol(ego, "db-01", made["code"])
        assert (answer.status_code, answer.json()["authority"]) == (201, ego.get("/api/tls/root.pem").text)
        words = shlex.split(made["line"].partition("; ")[2].partition("; }")[0])
        assert words[:3] == ["curl", "-fsSk", "--pinnedpubkey"]
        for pin, status in ((words[3], 0), (words[3].replace("//", "//A"), 90)):
            asked = [*words[:3], pin, f"{ego.url}/api/health"]
            assert subprocess.run(asked, capture_output=True, check=False, timeout=30).returncode == status
        assert words[4] == f"{ego.url}/enroll.sh"
