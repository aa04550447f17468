"""T21: no secret is found where it does not belong: logs, database, answers, the arguments of processes.

The secrets are canaries: tokens, passwords also wrong ones, a link, both halves of a session, and the database's password.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.access.test_matrix import MATRIX
from tests.contract.clients import listening
from tests.security.credentials import PASSWORD, bearer, by_link, run, signed_in, token_of
from tests.servers import EgoServer, free_port, running_ego, wait_until

CANARY = "canary-7f3b"
WRONG = f"{CANARY}-wrong-password"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> tuple[EgoServer, dict[str, str], list[str]]:
    """An EGO after a life with many credentials (it has ended), the secrets, and all that it answered."""
    with running_ego(tmp_path_factory.mktemp("ego"), {"MIRROR_STAGE_SECURITY": "strict", "LOG_LEVEL": "debug"}) as ego:
        secrets, answers = live(ego)
    return ego, secrets, answers


def live(ego: EgoServer) -> tuple[dict[str, str], list[str]]:
    """Make, use, misuse and end credentials. Returns the secret part of each, and all answers but those that hand one out."""
    link = run(ego, "admin link --name ada").strip().partition("#k=")[2]
    unused = run(ego, "admin link --name ada").strip().partition("#k=")[2]
    ada = signed_in(ego, {"link": link})
    run(ego, "users add vera --role viewer --password", typed=f"{PASSWORD}\n")
    vera = signed_in(ego, {"name": "vera", "password": PASSWORD})
    token_id, token = token_of(ego, "--role admin")
    _, agent = token_of(ego, "--agent web-01")
    answers = [
        ego.post("/api/session", json=shown).text
        for shown in (
            {"link": link},
            {"link": link[:-1]},
            {"name": "vera", "password": WRONG},
            {"name": WRONG, "password": WRONG},
        )
    ]
    for headers in (ada.headers, vera.headers, bearer(token), bearer(agent), bearer(token[:-1] + "x"), bearer(unused)):
        for name in MATRIX:
            method, _, path = name.partition(" ")
            if method == "GET" and "pending" not in path:
                path = path.replace("<hostname>", "web-01").replace("<id>", token_id).replace("<name>", "x")
                answer = ego.get(path, headers=headers)
                answers.append(f"{answer.headers} {answer.text}")
    for auth in ({"token": token}, {"page": ada.page}):
        with listening(ego, "/commands", auth=auth, headers={"Cookie": ada.headers["Cookie"]}):
            pass
    for malformed in (f"/api/twin/state?access_token={token}", f"/api/me?token={token}&page={ada.page}"):
        answers.append(ego.get(malformed).text)
    answers.append(ego.post("/api/commands", data=f"{{{token}", headers=bearer(token)).text)
    arguments = [Path(f"/proc/{pid}/cmdline").read_text() for pid in ego.pids()]
    answers += [run(ego, words) for words in ("tokens list", "sessions list", "users list", "audit export")]
    ada.ask("DELETE", f"/api/tokens/{token_id}")
    secrets = {
        "link": link, "link that was not used": unused, "token": token, "token of an agent": agent,
    }  # fmt: skip
    secrets = {name: text.split("_")[3] for name, text in secrets.items()}
    secrets |= {
        "cookie": ada.cookie.partition(".")[2],
        "half of the page": ada.page,
        "password": PASSWORD,
        "wrong": WRONG,
    }
    return secrets, answers + arguments


def test_no_secret_is_in_a_log_an_answer_or_an_argument(guarded: tuple[EgoServer, dict[str, str], list[str]]) -> None:
    ego, secrets, answers = guarded
    assert len(answers) > 100
    for name, secret in secrets.items():
        assert secret not in ego.log, name
        assert not [each[:300] for each in answers if secret in each], name


def test_no_secret_is_in_a_file_beside_the_database(guarded: tuple[EgoServer, dict[str, str], list[str]]) -> None:
    """`WRONG` was given as a name, too, and the audit tells the names of who failed to sign in."""
    ego, secrets, _ = guarded
    files = [path for path in ego.folder.rglob("*") if path.is_file()]
    assert {"ego.db", "ego.log"} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        for name, secret in secrets.items():
            assert name == "wrong" or secret.encode() not in content, (path, name)


def test_the_password_of_a_database_that_is_away_is_in_no_log_and_no_answer(tmp_path: Path) -> None:
    url = f"postgresql://ego:{CANARY}@127.0.0.1:{free_port()}/ego"
    ego = EgoServer(tmp_path, {"MIRROR_STAGE_DB_URL": url})
    try:
        ego.start(wait=False)
        wait_until(lambda: "127.0.0.1" in ego.log and answers(ego), 40, what="EGO answers, and says what is wrong")
        told = [ego.get(path) for path in ("/api/health/ready", "/api/twin/state", "/api/commands", "/api/info")]
        assert 503 in {answer.status_code for answer in told}
        assert not [answer.text for answer in told if CANARY in answer.text]
        assert not [pid for pid in ego.pids() if CANARY in Path(f"/proc/{pid}/cmdline").read_text()]
    finally:
        ego.stop()
    assert CANARY not in ego.log
    for words, status in (("doctor", 1), ("doctor --json", 1), ("tokens list", 1), ("db stats", 1)):
        assert CANARY not in run(ego, words, status), words


def answers(ego: EgoServer) -> bool:
    try:
        return ego.get("/api/health", timeout=2).status_code == 200
    except OSError:
        return False


def test_a_restarted_ego_says_nothing_of_what_it_knows(tmp_path: Path) -> None:
    """The file of revocations names tokens by their ids only."""
    with running_ego(tmp_path, {"MIRROR_STAGE_SECURITY": "strict"}) as ego:
        admin = by_link(ego)
        id, token = token_of(ego, "--role viewer")
        admin.ask("DELETE", f"/api/tokens/{id}")
        noted = tmp_path / "ego.revoked"
        wait_until(lambda: noted.exists() and id in noted.read_text(), 5, what="the line")
        assert token.split("_")[3] not in noted.read_text()
        assert {"twin", "seq", "hash", "what", "subject"} == set(json.loads(noted.read_text().splitlines()[0]))
