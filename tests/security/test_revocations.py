"""What was revoked stays so when an older database comes back, on each kind of database."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.builders import make_sample
from tests.command_line import forked
from tests.faults import on_postgresql_in_full
from tests.servers import EgoServer, running_ego, wait_until


def run(ego: EgoServer, words: str, typed: str = "") -> str:
    """What `mirror-stage` prints with the settings of this EGO."""
    ended = forked(words.split(), cwd=ego.folder, env=ego.environment, typed=typed)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def token(ego: EgoServer, note: str) -> tuple[str, str]:
    """The id and the text of a new token."""
    made = json.loads(run(ego, f"tokens create --role viewer --note {note} --json"))
    return made["id"], made["token"]


def states(ego: EgoServer) -> dict[str, bool]:
    """Whether each token is revoked, by its note."""
    listed = json.loads(run(ego, "tokens list --json"))
    return {each["note"]: each["revokedAt"] is not None for each in listed if each["note"] is not None}


def status(ego: EgoServer, text: str) -> int:
    """How EGO answers a request with this token."""
    return ego.get("/api/twin/state", headers={"Authorization": f"Bearer {text}"}).status_code


@dataclass
class Session:
    """A session: the cookie, and the half that the page keeps."""

    cookies: dict[str, str]
    page: str

    @classmethod
    def of(cls, ego: EgoServer) -> Session:
        """A new one, by a new link."""
        link = json.loads(run(ego, "admin link --json"))["link"].partition("#k=")[2]
        answer = ego.post("/api/session", json={"link": link})
        assert answer.status_code == 201, answer.text
        return cls(dict(answer.cookies), answer.json()["page"])

    def status(self, ego: EgoServer) -> int:
        """How EGO answers a request in this session."""
        headers = {"X-Mirror-Stage-Page": self.page}
        return ego.get("/api/twin/state", cookies=self.cookies, headers=headers).status_code


def enrolled(ego: EgoServer, hostname: str) -> str:
    """The token of the agent of a host that has enrolled with a code of its own."""
    code = json.loads(run(ego, f"enroll code --host {hostname} --json"))["code"]
    asked = {"code": code, "hostname": hostname, "key": "k" * 43, "instance": None}
    answer = ego.post("/api/agents/enroll", json=asked)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


@pytest.fixture
def ego(database_settings: dict[str, str], tmp_path: Path) -> EgoServer:
    """An EGO that asks everybody for a credential; it does not run yet."""
    return EgoServer(tmp_path, database_settings | {"MIRROR_STAGE_SECURITY": "strict"})


@on_postgresql_in_full
def test_a_restored_backup_brings_back_nothing_that_was_revoked_since(ego: EgoServer) -> None:
    with running_ego(ego.folder, ego.settings) as running:
        run(ego, "users add olaf --role operator")
        run(ego, "users add vera --role viewer --password", typed="the first password\n")
        (early, _), (late, late_text), (_, kept_text) = (token(ego, note) for note in ("early", "late", "kept"))
        run(ego, f"tokens revoke {early}")
        session = Session.of(running)
        kept_agent, late_agent = (enrolled(running, name) for name in ("kept-01", "late-01"))
        run(ego, "enroll code --uses 9")
        run(ego, "db backup before.backup")
        run(ego, "agents revoke late-01")
        run(ego, f"tokens revoke {late}")
        run(ego, "users disable olaf")
        run(ego, "users password vera", typed="the second password\n")
    said = run(ego, "db restore before.backup --force")
    assert "1 tokens revoked, 1 people disabled, 1 passwords removed, 1 sessions and links ended" in said
    assert "1 agents revoked, 0 agents suspended, 3 codes ended" in said
    assert states(ego) == {"early": True, "late": True, "kept": False}
    with running_ego(ego.folder, ego.settings) as again:
        found = status(again, late_text), status(again, kept_text), session.status(again)
        assert found == (401, 200, 401)
        posted = [
            again.post_samples(make_sample(name), headers={"Authorization": f"Bearer {text}"}).status_code
            for name, text in (("kept-01", kept_agent), ("late-01", late_agent))
        ]
        assert posted == [202, 401]
        for password in ("the first password", "the second password"):
            answer = again.post("/api/session", json={"name": "vera", "password": password})
            assert answer.status_code == 401
    assert "the newer audit stood at row" in run(ego, "audit list")
    run(ego, "audit verify")
    run(ego, "db restore before.backup --force")  # the same once more
    assert states(ego) == {"early": True, "late": True, "kept": False}


def test_a_restored_backup_brings_back_no_token_that_its_agent_has_replaced_since(tmp_path: Path) -> None:
    """Somebody may have copied it from the host before it was replaced."""
    ego = EgoServer(tmp_path, {"MIRROR_STAGE_SECURITY": "strict"})
    with running_ego(ego.folder, ego.settings) as running:
        tokens = {name: enrolled(running, name) for name in ("kept-01", "rotated-01")}
        headers = {name: {"Authorization": f"Bearer {text}"} for name, text in tokens.items()}

        def posted(server: EgoServer, name: str) -> int:
            return server.post_samples(make_sample(name), headers=headers[name]).status_code

        assert [posted(running, name) for name in tokens] == [202, 202]
        run(ego, "db backup before.backup")
        rotated = running.post("/api/agents/self/rotate", headers=headers["rotated-01"]).json()["token"]
        used = {"Authorization": f"Bearer {rotated}"}
        assert running.post_samples(make_sample("rotated-01"), headers=used).status_code == 202
    assert "1 former tokens of agents ended" in run(ego, "db restore before.backup --force")
    with running_ego(ego.folder, ego.settings) as again:
        assert {name: posted(again, name) for name in tokens} == {"kept-01": 202, "rotated-01": 401}
        taken = {"code": None, "hostname": "rotated-01", "key": "x" * 43, "instance": None}
        assert again.post("/api/agents/enroll", json=taken).status_code == 409  # the name is still its own


def test_a_database_file_that_is_put_back_by_hand_brings_back_nothing_either(tmp_path: Path) -> None:
    settings = {"MIRROR_STAGE_SECURITY": "strict"}
    with running_ego(tmp_path, settings) as ego:
        id, text = token(ego, "first")
        session = Session.of(ego)
        assert (status(ego, text), session.status(ego)) == (200, 200)
    shutil.copy(tmp_path / "ego.db", tmp_path / "ego.old")
    with running_ego(tmp_path, settings) as ego:
        assert session.status(ego) == 200  # the same database: nothing has ended
        run(ego, f"tokens revoke {id}")
        wait_until(lambda: status(ego, text) == 401, 5, what="the token is refused")
    shutil.copy(tmp_path / "ego.old", tmp_path / "ego.db")
    assert EgoServer(tmp_path).rows(
        "SELECT count(*) FROM credentials WHERE revoked_at IS NOT NULL AND kind = 'user'"
    ) == [(0,)]
    with running_ego(tmp_path, settings) as ego:
        assert (status(ego, text), session.status(ego)) == (401, 401)


def stopped(ego: EgoServer) -> bool:
    """Whether commands are stopped, as the command line says."""
    return bool(json.loads(run(ego, "dispatch status --json"))["stopped"])


@on_postgresql_in_full
def test_a_restored_backup_does_not_let_commands_run_again(ego: EgoServer) -> None:
    with running_ego(ego.folder, ego.settings) as running:
        agent = {"Authorization": f"Bearer {enrolled(running, 'titan-01')}"}
        run(ego, "db backup before.backup")
        run(ego, "dispatch stop --reason drill")
        run(ego, "db backup stopped.backup")
    assert "1 stops of all commands repeated" in run(ego, "db restore before.backup --force")
    with running_ego(ego.folder, ego.settings) as again:
        assert stopped(ego)
        refused = again.get("/api/commands/pending/titan-01", headers=agent)
        assert (refused.status_code, "an older database was restored" in refused.text) == (503, True)
        run(ego, "dispatch resume")
    assert "0 stops of all commands repeated" in run(ego, "db restore before.backup --force")
    assert not stopped(ego), "an admin has resumed since"
    run(ego, "db restore stopped.backup --force")
    assert stopped(ego), "no restore lets commands run"


def test_a_database_file_that_is_put_back_by_hand_does_not_let_commands_run_again_either(tmp_path: Path) -> None:
    settings = {"MIRROR_STAGE_SECURITY": "strict"}
    with running_ego(tmp_path, settings) as ego:
        _, text = token(ego, "viewer")
    shutil.copy(tmp_path / "ego.db", tmp_path / "ego.old")
    with running_ego(tmp_path, settings) as ego:
        admin = Session.of(ego)
        stop = {"json": {"stopped": True, "reason": "drill"}, "headers": {"X-Mirror-Stage-Page": admin.page}}
        assert requests.put(f"{ego.url}/api/dispatch", cookies=admin.cookies, timeout=30, **stop).status_code == 200
        file = tmp_path / "ego.revoked"
        wait_until(lambda: file.exists() and "dispatch-stopped" in file.read_text(), 5, what="the line")
    shutil.copy(tmp_path / "ego.old", tmp_path / "ego.db")
    with running_ego(tmp_path, settings) as ego:
        state = ego.get("/api/dispatch", headers={"Authorization": f"Bearer {text}"}).json()
        assert (state["stopped"], state["by"]) == (True, "ego")


@on_postgresql_in_full
def test_ego_notes_within_seconds_what_was_revoked_also_after_a_line_that_a_crash_cut_off(ego: EgoServer) -> None:
    file = ego.folder / "ego.revoked"
    ids = []
    with running_ego(ego.folder, ego.settings) as running:
        for note in ("one", "two"):
            id, _ = token(running, note)
            admin = Session.of(running)
            ids.append(id)
            headers = {"X-Mirror-Stage-Page": admin.page}
            revoked = requests.delete(
                f"{running.url}/api/tokens/{id}", timeout=30, cookies=admin.cookies, headers=headers
            )
            assert revoked.status_code == 204
            wait_until(lambda id=id: file.exists() and id in file.read_text(), 5, what="the line")
            with file.open("a") as opened:
                opened.write('{"twin": "project5-')
    assert file.stat().st_mode & 0o777 == 0o600
    found = [json.loads(line)["subject"] for line in file.read_text().splitlines() if line.endswith("}")]
    assert found == ids


def test_a_link_in_the_place_of_the_file_is_refused_and_not_followed(tmp_path: Path) -> None:
    ego = EgoServer(tmp_path)
    run(ego, "db upgrade")
    (tmp_path / "ego.revoked").symlink_to(tmp_path / "victim")
    refused = forked(["users", "list"], cwd=tmp_path, env=ego.environment)
    assert (refused.returncode, "ego.revoked" in refused.stderr) == (1, True), refused.stderr
    assert not (tmp_path / "victim").exists()
