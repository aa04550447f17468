"""Reports about sessions and tokens of similar servers, tried on EGO. Each test names its report.

Other reports of this kind are tried elsewhere: a revoked token whose sockets stay open (home-assistant/core#56760,
mcdonc/klangk#3152) and an account that is disabled or has a new password (nuxsmin/sysPass#1181) in `test_authorization.py`;
a malformed Authorization that is a 500 (etsy/open-api#345) in `test_people.py`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from mirror_stage.access.passwords import hashed
from tests.security.credentials import PASSWORD, bearer, by_link, run, signed_in, token_of
from tests.servers import EgoServer, running_ego

SETTINGS = {"MIRROR_STAGE_SECURITY": "strict"}


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO that trusts nobody without a credential."""
    with running_ego(tmp_path_factory.mktemp("ego"), SETTINGS) as server:
        add_person(server, "vera", "viewer")
        yield server


def add_person(ego: EgoServer, name: str, role: str, password_hash: str | None = None) -> None:
    ego.rows(
        "INSERT INTO principals (name, role, password_hash, created_at) VALUES (?, ?, ?, 0)",
        *(name, role, password_hash or hashed(PASSWORD)),
    )


def statuses_of_many(ego: EgoServer, shown: dict[str, str], count: int, **headers: str) -> list[int]:
    """The statuses of sign-ins that are sent all at once."""

    def sign_in(number: int) -> int:
        sent = {name.replace("_", "-"): text.format(number) for name, text in headers.items()}
        return ego.post("/api/session", json=shown, headers=sent).status_code

    with ThreadPoolExecutor(count) as threads:
        return sorted(threads.map(sign_in, range(count)))


def test_a_link_that_is_used_ten_times_at_once_signs_in_once(
    start_ego: Callable[..., EgoServer], database_settings: dict[str, str]
) -> None:
    """goauthentik/authentik#19975: between the look at a token and its deletion others could use it, too."""
    ego = start_ego(SETTINGS | database_settings)
    link = run(ego, "admin link").strip().partition("#k=")[2]
    assert statuses_of_many(ego, {"link": link}, 10) == [201] + [401] * 9
    assert ego.rows("SELECT count(*) FROM sessions") == [(1,)]


def test_guesses_at_once_count_like_guesses_one_after_the_other(start_ego: Callable[..., EgoServer]) -> None:
    """Cacti/cacti#7683: parallel guesses read the same count of failures, and were more than the limit.

    ZerosAndOnesLLC/AiFw#308 and Gozargah/Marzban#2067: each guess named another address in X-Forwarded-For.
    """
    ego = start_ego(SETTINGS)
    wrong = {"name": "vera", "password": "wrong horse battery"}
    found = statuses_of_many(
        ego, wrong, 16, X_Forwarded_For="10.1.1.{}", Forwarded="for=10.2.2.{}", X_Real_IP="10.3.3.{}"
    )
    assert found.count(401) <= 6  # five at once, and perhaps one that the time has given back
    assert set(found) == {401, 429}
    assert ego.rows("SELECT DISTINCT peer FROM audit WHERE what = 'sign-in-failed'") == [("127.0.0.1",)]


@pytest.mark.parametrize("where", ["access_token", "token", "key", "auth", "page"])
def test_a_token_in_an_address_is_none(ego: EgoServer, where: str) -> None:
    """use-agent-os/agent-os#350, nebari-dev/nebi#449: addresses are kept in logs and histories."""
    _, token = token_of(ego, "--role admin")
    assert ego.get("/api/twin/state", params={where: token}).status_code == 401
    assert ego.get("/api/twin/state", cookies={where: token, "mirror-stage-session": token}).status_code == 401
    assert token not in ego.log


def test_no_list_hands_out_a_credential_of_somebody_else(ego: EgoServer) -> None:
    """songquanpeng/one-api#2425: the list of users had their tokens. RocketChat/Rocket.Chat#8814: one for an admin was made."""
    admin = by_link(ego)
    vera = signed_in(ego, {"name": "vera", "password": PASSWORD})
    _, token = token_of(ego, "--role admin")
    shown = "".join(admin.ask("GET", f"/api/{name}").text for name in ("tokens", "sessions", "audit", "me"))
    for secret in (token.split("_")[3], vera.cookie.partition(".")[2], vera.page):
        assert secret not in shown
    made = vera.ask("POST", "/api/tokens", json={"role": "admin"})
    assert made.status_code == 403


def test_a_session_that_was_ended_does_not_come_back(ego: EgoServer) -> None:
    """sanluan/PublicCMS#83: an account that was disabled and enabled again had its old session."""
    add_person(ego, "paula", "viewer")
    before = signed_in(ego, {"name": "paula", "password": PASSWORD})
    run(ego, "users password paula", typed="another horse battery\n")
    assert before.ask("GET", "/api/twin/state").status_code == 401
    again = signed_in(ego, {"name": "paula", "password": "another horse battery"})
    assert again.ask("GET", "/api/twin/state").status_code == 200
    assert before.ask("GET", "/api/twin/state").status_code == 401


def test_a_session_gets_new_secrets_when_somebody_signs_in(ego: EgoServer) -> None:
    """Session fixation: who signs in with a cookie already gets another one."""
    first = signed_in(ego, {"name": "vera", "password": PASSWORD})
    answer = requests.post(
        f"{ego.url}/api/session", json={"name": "vera", "password": PASSWORD}, headers=first.headers, timeout=30
    )
    assert answer.cookies["mirror-stage-session"] != first.cookie
    assert answer.json()["page"] != first.page


def test_a_name_that_does_not_exist_takes_as_long_as_a_wrong_password(start_ego: Callable[..., EgoServer]) -> None:
    """authelia/authelia#949, OpenIntegrationEngine/engine#439: no hash was computed for an unknown or locked account."""
    ego = start_ego(SETTINGS)  # its limits of sign-in are untouched
    took: dict[str, list[float]] = {"known": [], "unknown": [], "disabled": [], "without a password": []}
    for number in range(4):
        for kind, seconds in took.items():
            name = f"{kind.replace(' ', '-')}-{number}"
            if kind != "unknown":
                add_person(ego, name, "viewer")
            if kind == "disabled":
                ego.rows("UPDATE principals SET disabled_at = 1 WHERE name = ?", name)
            if kind == "without a password":
                ego.rows("UPDATE principals SET password_hash = NULL WHERE name = ?", name)
            began = time.perf_counter()
            answer = ego.post("/api/session", json={"name": name, "password": "wrong horse battery"})
            seconds.append(time.perf_counter() - began)
            assert (answer.status_code, answer.json()["detail"]) == (401, "the name or the password is wrong")
    medians = {kind: statistics.median(seconds) for kind, seconds in took.items()}
    assert max(medians.values()) < 3 * min(medians.values()), medians


def test_a_token_of_a_person_who_is_gone_is_gone(ego: EgoServer) -> None:
    """luckydye/vektor#158: a token kept the rights that its owner had lost."""
    add_person(ego, "olaf", "admin")
    olaf = signed_in(ego, {"name": "olaf", "password": PASSWORD})
    token = olaf.ask("POST", "/api/tokens", json={"role": "operator"}).json()["token"]
    assert ego.get("/api/commands", headers=bearer(token)).status_code == 200
    run(ego, "users disable olaf")
    time.sleep(1.1)  # the second for which EGO relies on what it has read
    assert ego.get("/api/commands", headers=bearer(token)).status_code == 401
