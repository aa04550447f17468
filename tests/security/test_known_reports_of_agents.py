"""Reports about enrolment, agents and sockets of similar servers, tried on EGO. Each test names its report.

Other reports of this kind are tried elsewhere: a code for one host that many use at once (Tr3kkR/Yuzu#827), and an answer that is
lost, so that a host is enrolled twice (elastic/fleet-server#2254), in `tests/ops/test_enrolment.py`; two rotations of which only
one counts (AgentWorkforce/relay#1542) in `tests/enrolment/`; a role that counts for REST and not for sockets
(open-webui/open-webui#27537) in `test_authorization.py`; a token that follows a redirect (apify/crawlee#4134) in
`test_hostile_ego.py`; groups that a command keeps of the agent (ClickHouse/ClickHouse#105247) in
`tests/reflector/test_account.py`.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.builders import make_sample
from tests.enrolment.test_service import ADA, OTHER, Ego, bearer, ego
from tests.security.credentials import bearer as header_of
from tests.security.credentials import token_of
from tests.security.raw import frame, open_websocket
from tests.servers import running_ego

__all__ = ["ego"]  # a fixture


@pytest.mark.parametrize("shown", ["fingerprint", "id"])
def test_what_a_list_shows_of_an_agent_proves_nothing(ego: Ego, shown: str) -> None:
    """forgekeep/nebula-mesh#70: the fingerprint of a public certificate was enough to poll, and to renew the certificate."""
    ego.enrolled()
    agent = ego.enrolment.agents()[0]
    known = {"fingerprint": agent.key_sha256 or "", "id": agent.id}[shown]
    for token in (known, f"ms_agent_{known}", f"ms_agent_{known}_{known}"):
        assert ego.poll(token)[0] == 401
    assert ego.enrol("db-01", key=known[:43].ljust(43, "A")).status_code == 409


def test_a_host_that_waits_or_was_refused_reports_nothing_and_gets_nothing(ego: Ego) -> None:
    """saltstack/salt#58005: minions whose keys nobody had accepted answered commands for all."""
    assert ego.enrol("db-01").status_code == 202
    samples = {"samples": [make_sample("db-01")]}
    for _ in ("waiting", "refused"):
        assert ego.ask("/api/metrics/batch", samples).status_code == 401
        assert ego.client.get("/api/commands/pending/db-01").status_code == 401
        assert ego.ask("/api/commands/0/result", {"status": "succeeded"}).status_code == 401
        ego.enrolment.revoke("db-01", ADA)
    assert ego.enrol("db-01").status_code == 403


def test_a_second_key_for_a_name_is_refused_and_somebody_can_see_that(ego: Ego) -> None:
    """saltstack/salt#22066: a minion that came with another key for an accepted name was not shown anywhere."""
    ego.enrolled()
    assert ego.enrol("db-01", key=OTHER).status_code == 409
    what, detail = ego.audited()[-1]
    assert (what, "db-01 is enrolled already, with another key" in (detail or "")) == ("enrol-refused", True)


def test_a_host_that_has_lost_its_token_comes_back_by_what_the_refusal_says(ego: Ego) -> None:
    """LanternOps/breeze#1028: the 409 named a way back that did not work for a host that was still active."""
    former = ego.enrolled()
    assert ego.poll(former)[0] == 200
    refused = ego.enrol("db-01", ego.code(), OTHER)
    assert (refused.status_code, "run mirror-stage agents revoke db-01" in refused.json["detail"]) == (409, True)
    ego.enrolment.revoke("db-01", ADA)
    again = ego.enrol("db-01", ego.code(), OTHER)
    assert again.status_code == 201
    assert ego.poll(again.json["token"]) == (200, "")
    assert ego.poll(former)[0] == 401


@pytest.mark.parametrize("name", ["ｄb-01", "DB-01", "db\u201001", "db\u00ad-01", "xdb-01", "ｄｂ－０１"])
def test_a_name_that_only_looks_like_the_pattern_of_a_code_does_not_match_it(ego: Ego, name: str) -> None:
    """hashgraph-online/hol-guard#2078: a name in fullwidth letters was made plain before it was compared."""
    answer = ego.enrol(name, ego.code(host_pattern="db-0?"))
    assert answer.status_code in {400, 401}, answer.json
    assert ego.enrolment.agents() == []
    ego.enrolled()
    token = ego.enrol("db-02", ego.code()).json["token"]
    assert ego.ask("/api/metrics/batch", {"samples": [make_sample(name)]}, token).status_code in {400, 403}
    assert ego.client.get(f"/api/commands/pending/{name}", headers=bearer(token)).status_code in {400, 403}


def test_a_client_that_a_namespace_has_refused_hears_nothing_of_it(tmp_path: Path) -> None:
    """facundoolano/socketio-auth#7: until it was cut, a client that was not authenticated heard and said everything.

    Security-Onion-Solutions/securityonion#9152: what was pushed to browsers was not filtered by role.
    """
    with running_ego(tmp_path, {"MIRROR_STAGE_SECURITY": "strict"}) as running:
        viewer, operator, agent = (
            token_of(running, words)[1] for words in ("--role viewer", "--role operator", "--agent titan-01")
        )
        with open_websocket(running) as client:
            for namespace in ("commands", "digital-twin"):
                client.sendall(frame(f'40/{namespace},{{"token":"{viewer}"}}'))
            client.sendall(frame('42/commands,["watch-command",{}]'))
            asked = {"hostname": "titan-01", "command": "echo s3cr3t"}
            made = running.post("/api/commands", json=asked, headers=header_of(operator)).json()
            claimed = running.get("/api/commands/pending/titan-01", headers=header_of(agent))
            assert "s3cr3t" in claimed.text
            running.post_samples(make_sample("titan-01"), headers=header_of(agent))
            heard, until = b"", time.monotonic() + 20
            while b"titan-01" not in heard and time.monotonic() < until:
                heard += client.recv(65536)
        assert b"44/commands," in heard
        assert b"titan-01" in heard, "it hears of the twin"
        assert b"s3cr3t" not in heard
        assert made["id"].encode() not in heard
