"""People and tokens, with a real EGO that asks everybody for a credential, on each kind of database."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import socketio

from tests.builders import make_sample
from tests.contract.clients import Listener, listening
from tests.faults import short_and_full
from tests.security.credentials import COOKIE, PASSWORD, Browser, bearer, by_link, run, signed_in, token_of
from tests.servers import EgoServer, running_ego

CUT_SECONDS = 5.0  # the promise


@pytest.fixture(scope="module", params=short_and_full("sqlite", "postgresql"))
def ego(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO that trusts nobody without a credential."""
    settings = {"MIRROR_STAGE_SECURITY": "strict"}
    if request.param == "postgresql":
        settings["MIRROR_STAGE_DB_URL"] = request.getfixturevalue("postgresql").new_database()
    with running_ego(tmp_path_factory.mktemp("ego"), settings) as server:
        yield server


@pytest.fixture(scope="module")
def admin(ego: EgoServer) -> Browser:
    return by_link(ego)


def has_agent(admin: Browser, hostname: str) -> None:
    """Give a host a token: EGO takes no command for a host that it does not know."""
    assert admin.ask("POST", "/api/tokens", json={"hostname": hostname}).status_code == 201


def audited(admin: Browser, what: str) -> list[dict[str, Any]]:
    """The newest rows of the audit of one kind, newest first."""
    items: list[dict[str, Any]] = admin.ask("GET", "/api/audit?pageSize=100").json()["items"]
    return [row for row in items if row["what"] == what]


def test_without_a_credential_nobody_gets_data_and_everybody_is_told_how_to_sign_in(ego: EgoServer) -> None:
    for method, path in (("GET", "/api/twin/state"), ("POST", "/api/commands"), ("GET", "/api/tokens")):
        answer = requests.request(method, ego.url + path, json={}, timeout=30)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "mirror-stage admin link" in answer.json()["detail"]
    assert ego.post_samples(make_sample("nobody-01")).status_code == 401
    assert ego.get("/api/health").text == "ok"
    assert ego.get("/api/health/ready").json() == {"ready": True, "checks": {}}
    nobody = ego.get("/api/me").json()
    assert nobody == {
        "name": None,
        "role": "nobody",
        "permissions": [],
        "signIn": ["link", "password"],
        "isSignedIn": False,
        "isLocal": False,
        "security": "strict",
    }


def test_a_link_signs_in_once(ego: EgoServer) -> None:
    secret = run(ego, "admin link --name once").partition("#k=")[2].strip()
    answer = ego.post("/api/session", json={"link": secret})
    assert answer.status_code == 201
    assert answer.json()["me"] | {"permissions": []} == {
        "name": "once",
        "role": "admin",
        "permissions": [],
        "signIn": ["link", "password"],
        "isSignedIn": True,
        "isLocal": False,
        "security": "strict",
    }
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    again = ego.post("/api/session", json={"link": secret})
    assert (again.status_code, "used already" in again.json()["detail"]) == (401, True)


def test_a_link_is_over_after_15_minutes(ego: EgoServer) -> None:
    secret = run(ego, "admin link").partition("#k=")[2].strip()
    ego.rows("UPDATE credentials SET expires_at = expires_at - 900001 WHERE id = ?", secret.split("_")[2])
    assert ego.post("/api/session", json={"link": secret}).status_code == 401


def test_neither_half_of_a_session_counts_alone(ego: EgoServer, admin: Browser) -> None:
    assert admin.ask("GET", "/api/twin/state").status_code == 200
    other = by_link(ego)
    for headers in (
        {"Cookie": f"{COOKIE}={admin.cookie}"},
        {"X-Mirror-Stage-Page": admin.page},
        {"Cookie": f"{COOKIE}={admin.cookie}", "X-Mirror-Stage-Page": other.page},
        {"Cookie": f"{COOKIE}={admin.cookie}x", "X-Mirror-Stage-Page": admin.page},
        {"Cookie": f"{COOKIE}=", "X-Mirror-Stage-Page": ""},
    ):
        assert ego.get("/api/twin/state", headers=headers).status_code == 401
        assert ego.post("/api/commands", json={"hostname": "a", "command": "w"}, headers=headers).status_code == 401
    assert ego.rows("SELECT count(*) FROM commands WHERE hostname = 'a'") == [(0,)]


def test_only_hashes_are_stored(ego: EgoServer, admin: Browser) -> None:
    _, token = token_of(ego, "--role viewer")
    stored = str(ego.rows("SELECT * FROM sessions") + ego.rows("SELECT * FROM credentials"))
    for secret in (admin.cookie.partition(".")[2], admin.page, token, token.split("_")[3]):
        assert secret not in stored


def test_a_password_signs_in_and_a_wrong_one_does_not(ego: EgoServer, admin: Browser) -> None:
    assert "12 to 1024 characters" in run(ego, "users add olaf --role operator --password", 2, typed="short\n")
    assert "no user olaf" in run(ego, "users password olaf", 1, typed=f"{PASSWORD}\n")
    run(ego, "users add olaf --role operator")
    run(ego, "users password olaf", typed=f"{PASSWORD}\n")
    olaf = signed_in(ego, {"name": "Olaf", "password": PASSWORD})
    assert (olaf.me["name"], olaf.me["role"]) == ("olaf", "operator")
    for shown in ({"name": "olaf", "password": "wrong horse battery"}, {"name": "nobody-here", "password": PASSWORD}):
        answer = ego.post("/api/session", json=shown)
        assert (answer.status_code, answer.json()["detail"]) == (401, "the name or the password is wrong")
    failed = audited(admin, "sign-in-failed")
    assert failed[0]["peer"] == "127.0.0.1"
    has_agent(admin, "olaf-01")
    queued = olaf.ask("POST", "/api/commands", json={"hostname": "olaf-01", "command": "w"})
    assert queued.json()["requestedBy"] == "olaf"
    assert [row["actor"] for row in audited(admin, "command-created")][:1] == ["olaf"]
    assert olaf.ask("GET", "/api/tokens").status_code == 403
    assert "role operator" in olaf.ask("GET", "/api/audit").json()["detail"]


def test_too_many_tries_are_refused_with_the_time_to_wait(ego: EgoServer) -> None:
    shown = {"name": "guessed", "password": "wrong horse battery"}
    answers = [ego.post("/api/session", json=shown) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 20
    assert "account" in answers[-1].json()["detail"]


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("ms_user_short", "no whole token"),
        ("ms_user_0123456789_" + "a" * 40 + "000000", "mistyped"),
    ],
)
def test_a_mistyped_token_is_told_apart_from_an_unknown_one(ego: EgoServer, token: str, said: str) -> None:
    answer = ego.get("/api/twin/state", headers=bearer(token))
    assert (answer.status_code, said in answer.json()["detail"]) == (401, True)
    id, known = token_of(ego, "--role viewer")
    ego.rows("DELETE FROM credentials WHERE id = ?", id)
    answer = ego.get("/api/twin/state", headers=bearer(known))
    assert (answer.status_code, "does not know this token" in answer.json()["detail"]) == (401, True)


def test_a_viewer_sees_hosts_but_neither_commands_nor_their_output(ego: EgoServer, admin: Browser) -> None:
    made = admin.ask("POST", "/api/tokens", json={"role": "viewer", "note": "wall", "expiresInSeconds": 3600})
    assert made.status_code == 201
    viewer = bearer(made.json()["token"])
    assert ego.get("/api/twin/state", headers=viewer).status_code == 200
    for path in ("/api/commands", "/api/tokens", "/api/audit"):
        assert ego.get(path, headers=viewer).status_code == 403
    assert ego.post("/api/commands", json={"hostname": "a", "command": "w"}, headers=viewer).status_code == 403
    with listening(ego, "/digital-twin", auth={"token": made.json()["token"]}) as twin:
        twin.wait_for("twin-state")
    with pytest.raises(socketio.exceptions.ConnectionError):
        Listener(ego, "/commands", auth={"token": made.json()["token"]})
    listed = admin.ask("GET", "/api/tokens").json()["items"]
    assert [(each["note"], "token" in each) for each in listed if each["id"] == made.json()["id"]] == [("wall", False)]


def test_an_agent_touches_its_own_host_only(ego: EgoServer, admin: Browser) -> None:
    own = bearer(token_of(ego, "--agent agent-01")[1])
    assert ego.post_samples(make_sample("agent-01"), headers=own).status_code == 202
    for headers in (own, own | {"Content-Type": "application/json; charset=utf-8"}):  # the direct way, and the route
        body = json.dumps({"samples": [make_sample("agent-01"), make_sample("agent-02")]})
        refused = ego.post("/api/metrics/batch", data=body, headers={"Content-Type": "application/json"} | headers)
        assert refused.status_code == 403
        assert "for agent-01 only, not for agent-02" in refused.json()["detail"]
    assert "agent-02" not in admin.ask("GET", "/api/hosts").text
    has_agent(admin, "agent-02")
    ids = {
        host: admin.ask("POST", "/api/commands", json={"hostname": host, "command": "w"}).json()["id"]
        for host in ("agent-01", "agent-02")
    }
    assert ego.get("/api/commands/pending/agent-02", headers=own).status_code == 403
    claimed = ego.get("/api/commands/pending/agent-01", headers=own).json()
    assert [each["id"] for each in claimed] == [ids["agent-01"]]
    result = {"status": "succeeded"}
    assert ego.post(f"/api/commands/{ids['agent-02']}/result", json=result, headers=own).status_code == 404
    assert ego.post(f"/api/commands/{ids['agent-01']}/result", json=result, headers=own).status_code == 201
    for path in ("/api/twin/state", "/api/commands", f"/api/commands/{ids['agent-01']}"):
        assert ego.get(path, headers=own).status_code == 403
    events = admin.ask("GET", f"/api/commands/{ids['agent-01']}/events").json()["items"]
    assert [event["actor"] for event in events] == ["admin", "agent:agent-01", "agent:agent-01"]


def test_a_session_needs_both_halves_at_socketio_too(ego: EgoServer, admin: Browser) -> None:
    has_agent(admin, "socket-01")
    headers = {"Cookie": f"{COOKIE}={admin.cookie}"}
    with listening(ego, "/commands", auth={"page": admin.page}, headers=headers) as heard:
        admin.ask("POST", "/api/commands", json={"hostname": "socket-01", "command": "w"})
        heard.wait_for("command-update", lambda update: update["hostname"] == "socket-01")
    for auth, sent in (({"page": admin.page}, {}), (None, headers), ({"page": "x"}, headers)):
        with pytest.raises(socketio.exceptions.ConnectionError):
            Listener(ego, "/commands", auth=auth, headers=sent)


def test_a_revoked_token_cuts_its_sockets_and_its_waiting_poll(ego: EgoServer) -> None:
    """It is revoked by another process, through the database."""
    operator_id, operator = token_of(ego, "--role operator")
    agent_id, agent = token_of(ego, "--agent waits-01")
    poll = http.client.HTTPConnection("127.0.0.1", ego.port, timeout=40)
    poll.request("GET", "/api/commands/pending/waits-01?wait=30", headers=bearer(agent))
    with listening(ego, "/commands", auth={"token": operator}) as heard:
        run(ego, f"tokens revoke {operator_id}")
        assert heard.disconnected.wait(CUT_SECONDS)
        assert ego.get("/api/commands", headers=bearer(operator)).status_code == 401
    assert select.select([poll.sock], [], [], 0)[0] == [], "the poll did not wait"
    run(ego, f"tokens revoke {agent_id}")
    revoked_at = time.monotonic()
    assert poll.getresponse().status == 401
    assert time.monotonic() - revoked_at < CUT_SECONDS


def test_a_disabled_account_loses_its_session_and_its_tokens(ego: EgoServer) -> None:
    dora = by_link(ego, "--name dora --role admin")
    token = dora.ask("POST", "/api/tokens", json={"role": "operator"}).json()["token"]
    headers = {"Cookie": f"{COOKIE}={dora.cookie}"}
    with listening(ego, "/digital-twin", auth={"page": dora.page}, headers=headers) as heard:
        run(ego, "users disable dora")
        assert heard.disconnected.wait(CUT_SECONDS)
    assert dora.ask("GET", "/api/twin/state").status_code == 401
    assert "disabled" in ego.get("/api/twin/state", headers=bearer(token)).json()["detail"]
    assert "choose another name" in run(ego, "admin link --name dora", 1)


def test_the_audit_stays_whole_when_many_act_at_once(ego: EgoServer, admin: Browser) -> None:
    def queue(_number: int) -> int:
        return admin.ask("POST", "/api/commands", json={"hostname": "many-01", "command": "w"}).status_code

    has_agent(admin, "many-01")

    before = len(ego.rows("SELECT seq FROM audit WHERE what = 'command-created'"))
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(queue, range(40))) == {201}
    assert len(ego.rows("SELECT seq FROM audit WHERE what = 'command-created'")) == before + 40
    assert "are whole" in run(ego, "audit verify")


def test_signing_out_ends_the_session(ego: EgoServer, admin: Browser) -> None:
    guest = by_link(ego, "--name guest --role viewer")
    answer = guest.ask("DELETE", "/api/session")
    assert (answer.status_code, answer.headers["Set-Cookie"].startswith(f"{COOKIE}=;")) == (204, True)
    assert guest.ask("GET", "/api/twin/state").status_code == 401
    assert audited(admin, "sign-out")[0]["actor"] == "guest"


def test_somebody_sees_and_ends_their_own_sessions_only_and_an_admin_those_of_all(
    ego: EgoServer, admin: Browser
) -> None:
    first, second = (by_link(ego, "--name vera --role viewer") for _ in range(2))
    own = first.ask("GET", "/api/sessions").json()["items"]
    assert [(each["name"], each["isThis"]) for each in own] == [("vera", False), ("vera", True)]
    of_admin = next(each["id"] for each in admin.ask("GET", "/api/sessions").json()["items"] if each["isThis"])
    assert first.ask("DELETE", f"/api/sessions/{of_admin}").status_code == 404
    assert first.ask("DELETE", "/api/sessions").status_code == 204
    assert (first.ask("GET", "/api/me").json()["role"], second.ask("GET", "/api/me").json()["role"]) == (
        "viewer",
        "nobody",
    )
    assert admin.ask("DELETE", f"/api/sessions/{own[1]['id']}").status_code == 204
    assert first.ask("GET", "/api/twin/state").status_code == 401


def test_the_audit_is_whole_until_somebody_changes_a_row(ego: EgoServer, admin: Browser) -> None:
    by_link(ego, "--name auditor --role viewer")
    assert "are whole" in run(ego, "audit verify")
    assert json.loads(run(ego, "audit verify --json"))["isWhole"] is True
    exported = [json.loads(line) for line in run(ego, "audit export").splitlines()]
    assert [row["seq"] for row in exported] == list(range(1, len(exported) + 1))
    victim = next(row["seq"] for row in exported if row["what"] == "user-added" and row["subject"] == "auditor")
    ego.rows("UPDATE audit SET subject = 'nobody' WHERE seq = ?", victim)
    assert f"row {victim} was changed" in run(ego, "audit verify", 1)
    ego.rows("UPDATE audit SET subject = 'auditor' WHERE seq = ?", victim)
    kept = ego.rows("SELECT hash FROM audit WHERE seq = ?", victim)
    ego.rows("UPDATE audit SET seq = -1 WHERE seq = ?", victim)
    assert run(ego, "audit verify", 1)
    ego.rows("UPDATE audit SET seq = ? WHERE hash = ?", victim, kept[0][0])
    assert "are whole" in run(ego, "audit verify")


def test_a_cookie_that_another_service_of_this_host_has_set_does_not_hide_the_session(
    ego: EgoServer, admin: Browser
) -> None:
    """Cookies ignore ports. A browser sends one with a longer path first."""
    planted = f"{COOKIE}={by_link(ego, '--name mallory').cookie}"
    for cookies in (
        f"{planted}; {COOKIE}={admin.cookie}",
        f"{COOKIE}=; {COOKIE}=x; {planted}; {COOKIE}={admin.cookie}",
    ):
        headers = admin.headers | {"Cookie": cookies}
        assert ego.get("/api/me", headers=headers).json()["name"] == "admin"
        with listening(ego, "/alerts", auth={"page": admin.page}, headers={"Cookie": cookies}):
            pass


@pytest.mark.parametrize(
    "cookie", [r'"\000bc.x"', r'"a\000.x"', r'"\355\240\200.x"', '"', ".", "é.x", "." * 4_000, "'; --.x"]
)
def test_a_cookie_that_ego_never_made_is_no_session_and_no_error(ego: EgoServer, admin: Browser, cookie: str) -> None:
    """Quotes and octal numbers are the escapes of cookies."""
    headers = {"Cookie": f"{COOKIE}={cookie}".encode(), "X-Mirror-Stage-Page": admin.page}
    answer = ego.get("/api/me", headers=headers)
    assert (answer.status_code, answer.json()["role"]) == (200, "nobody"), answer.text


@pytest.mark.parametrize("page", ["\ud800", "\0", "", [], {}, 7, True, "x" * 10_000])
def test_a_half_of_a_page_that_ego_never_made_is_refused_and_no_error(
    ego: EgoServer, admin: Browser, page: object
) -> None:
    headers = {"Cookie": f"{COOKIE}={admin.cookie}"}
    with pytest.raises(socketio.exceptions.ConnectionError):
        Listener(ego, "/alerts", auth={"page": page}, headers=headers)
    assert "Traceback" not in ego.log


@pytest.mark.parametrize("said", ["bearer {}", "BEARER {}", "Bearer  {}"])
def test_the_scheme_of_a_token_has_no_case(ego: EgoServer, said: str) -> None:
    """RFC 9110 section 11.1."""
    _, token = token_of(ego, "--role viewer")
    assert ego.get("/api/twin/state", headers={"Authorization": said.format(token)}).status_code == 200


@pytest.mark.parametrize(
    "said",
    ["Bearer", "Bearer ", "Bearer ms_", "Bearer \xff\xfe", "Bearer ms_user_\xe9", "Basic bXM6", "Digest x", "ms_user_"],
)
def test_a_malformed_authorization_is_a_401_and_no_error(ego: EgoServer, said: str) -> None:
    answer = ego.get("/api/twin/state", headers={"Authorization": said.encode("latin-1")})
    assert answer.status_code == 401
    assert "Traceback" not in ego.log


def test_whoever_guesses_keeps_nobody_out(ego: EgoServer, admin: Browser) -> None:
    run(ego, "users add victim --role viewer --password", typed=f"{PASSWORD}\n")
    victim = {"name": "victim", "password": PASSWORD}

    def status(shown: dict[str, str], address: str) -> int:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", ego.port, 30, (address, 0))) as client:
            client.request("POST", "/api/session", json.dumps(shown), {"Content-Type": "application/json"})
            return client.getresponse().status

    assert status(victim, "127.9.9.1") == 201
    link = run(ego, "admin link").strip().partition("#k=")[2]
    while status({"name": "victim", "password": "guessed"}, "127.8.8.1") != 429:
        pass
    assert status(victim, "127.9.9.1") == 201
    assert status({"link": link}, "127.8.1.1") == 201
