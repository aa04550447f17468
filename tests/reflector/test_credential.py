"""The credential of an enrolled host: rotated by the running agent, and never lost, wherever it crashes or an answer is lost."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.reflector import credential
from mirror_stage.reflector.credential import FILE, ROTATE_AFTER_SECONDS, Enrolled, Enrolment, load, new_enrolment, save
from mirror_stage.reflector.uplink import ROTATE_PATH, Uplink
from tests.reflector.processes import running_agent
from tests.reflector.scripted_ego import Asked, Reply, ScriptedEgo, problem, scripted_ego
from tests.servers import wait_until

OLD = ROTATE_AFTER_SECONDS + 60


class Tokens:
    """What EGO does with the tokens of one agent: it suspends the agent if the old token is used after the new one."""

    def __init__(self, token: str = "ms_agent_1") -> None:
        self.valid, self.generation, self.is_suspended = [token], 1, False
        self.used: list[str] = []
        self.loses_answers = 0
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> Reply | None:
        with self._lock:
            token = asked.headers.get("Authorization", "").removeprefix("Bearer ")
            if self.is_suspended:
                return problem(401, "this agent is suspended: mirror-stage agents unlock titan-01")
            if token not in self.valid:
                self.is_suspended = token in self.used
                return problem(401, "this token is unknown")
            if asked.path == ROTATE_PATH:
                self.generation += 1
                made = f"ms_agent_{self.generation}"
                self.valid = [token, made]
                if self.loses_answers:
                    self.loses_answers -= 1
                    return Reply(504, b"", kind="text/html")
                return Reply(201, {"token": made, "generation": self.generation})
            self.used.append(token)
            self.valid = [token] if self.valid[0] != token else self.valid
        return None


@pytest.fixture
def scripted() -> Iterator[ScriptedEgo]:
    with scripted_ego() as ego:
        ego.decide = Tokens()
        yield ego


def enrolled(folder: Path, age_seconds: float = OLD, **members: object) -> Enrolment:
    """An enrolment in a folder, whose token is so old."""
    made = Enrolment("k" * 43, "http://ego", "titan-01", "a1", "ms_agent_1", 1, time.time() - age_seconds, **members)  # type: ignore[arg-type]
    save(folder, made)
    return made


def uplink(scripted: ScriptedEgo, folder: Path) -> Uplink:
    """The way to EGO of an agent that starts with what is in the folder."""
    kept = load(folder)
    assert kept is not None
    return Uplink(scripted.url, credential=Enrolled(folder, kept))


def test_an_old_token_is_rotated_and_the_former_forgotten_once_the_new_one_is_taken(
    scripted: ScriptedEgo, tmp_path: Path
) -> None:
    enrolled(tmp_path)
    way = uplink(scripted, tmp_path)
    way.renew_credential()
    kept = load(tmp_path)
    assert kept is not None
    assert (kept.token, kept.former, kept.generation) == ("ms_agent_2", "ms_agent_1", 2)
    assert way.get("/api/me").is_taken
    kept = load(tmp_path)
    assert kept is not None
    assert (kept.token, kept.former) == ("ms_agent_2", None)
    way.renew_credential()
    assert len(scripted.of(ROTATE_PATH)) == 1, "a young token was rotated"


@pytest.mark.parametrize("age_seconds", [0, ROTATE_AFTER_SECONDS - 60])
def test_a_young_token_is_kept(scripted: ScriptedEgo, tmp_path: Path, age_seconds: float) -> None:
    enrolled(tmp_path, age_seconds)
    uplink(scripted, tmp_path).renew_credential()
    assert not scripted.asked


def test_a_lost_answer_is_asked_for_again_later_and_the_old_token_goes_on(
    scripted: ScriptedEgo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = Tokens()
    tokens.loses_answers = 1
    scripted.decide = tokens
    enrolled(tmp_path)
    way = uplink(scripted, tmp_path)
    way.renew_credential()
    assert way.get("/api/me").is_taken
    assert len(scripted.of(ROTATE_PATH)) == 1
    way.renew_credential()
    assert len(scripted.of(ROTATE_PATH)) == 1, "it asks again at once"
    monkeypatch.setattr(credential, "RETRY_SECONDS", 0.0)
    way = uplink(scripted, tmp_path)
    way.renew_credential()
    assert way.get("/api/me").is_taken
    kept = load(tmp_path)
    assert kept is not None
    assert (kept.token, kept.former) == ("ms_agent_3", None)


@pytest.mark.parametrize("crash_before", ["save", "use", "forget"])
def test_a_crash_at_any_point_of_a_rotation_locks_nobody_out(
    scripted: ScriptedEgo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_before: str
) -> None:
    enrolled(tmp_path)
    way = uplink(scripted, tmp_path)
    with monkeypatch.context() as crash:
        if crash_before == "save":
            crash.setattr(credential, "save", _crash)
            with pytest.raises(SystemExit):
                way.renew_credential()
        else:
            way.renew_credential()
        if crash_before == "forget":
            crash.setattr(credential, "save", _crash)
            with pytest.raises(SystemExit):
                way.get("/api/me")
    again = uplink(scripted, tmp_path)  # the agent starts again, with what is on disk
    assert again.get("/api/me").is_taken
    assert again.get("/api/me").is_taken
    again.renew_credential()
    assert again.get("/api/me").is_taken
    kept = load(tmp_path)
    assert kept is not None
    assert kept.token != "ms_agent_1"
    assert kept.former is None


def _crash(*_: object) -> None:
    raise SystemExit("killed")


def test_a_new_token_that_ego_does_not_know_gives_way_to_the_old_one(scripted: ScriptedEgo, tmp_path: Path) -> None:
    enrolled(tmp_path)
    way = uplink(scripted, tmp_path)
    way.renew_credential()
    scripted.decide = Tokens()  # a backup from before the rotation was restored
    assert way.get("/api/me").status == 401
    assert way.get("/api/me").is_taken
    kept = load(tmp_path)
    assert kept is not None
    assert (kept.token, kept.former) == ("ms_agent_1", None)


def test_a_full_disk_keeps_the_old_token(
    scripted: ScriptedEgo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolled(tmp_path)
    way = uplink(scripted, tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(credential, "save", full)
        way.renew_credential()
    assert scripted.of(ROTATE_PATH)
    assert way.get("/api/me").is_taken
    assert scripted.asked[-1].headers["Authorization"] == "Bearer ms_agent_1"


def test_a_rotation_under_load_never_shows_the_old_token_after_the_new_one(
    scripted: ScriptedEgo, tmp_path: Path
) -> None:
    tokens = Tokens()
    scripted.decide = lambda asked: tokens(asked) or Reply(200, {}, delay_seconds=0.02)
    enrolled(tmp_path)
    way = uplink(scripted, tmp_path)
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            way.get("/api/me")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(tokens.used) > 20, 10, what="requests with the first token")
    way.renew_credential()
    wait_until(lambda: tokens.used.count("ms_agent_2") > 20, 10, what="requests with the second token")
    is_over.set()
    for thread in threads:
        thread.join()
    assert not tokens.is_suspended
    assert tokens.used == sorted(tokens.used)


def test_an_enrolment_that_root_has_made_anew_is_taken_over(scripted: ScriptedEgo, tmp_path: Path) -> None:
    way_folder = enrolled(tmp_path, 0)
    way = uplink(scripted, tmp_path)
    scripted.decide = Tokens("ms_agent_of_a_new_enrolment")
    save(tmp_path, Enrolment(way_folder.key, token="ms_agent_of_a_new_enrolment", generation=1, since=time.time()))
    assert way.get("/api/me").status == 401
    assert way.get("/api/me").is_taken


def test_the_file_is_for_its_owner_only_and_no_link_is_followed(tmp_path: Path) -> None:
    target = tmp_path / "victim"
    target.write_text("untouched")
    (tmp_path / f"{FILE}.new").symlink_to(target)
    (tmp_path / FILE).symlink_to(target)
    with pytest.raises(BadSetting):
        load(tmp_path)
    enrolled(tmp_path)
    assert target.read_text() == "untouched"
    assert not (tmp_path / FILE).is_symlink()
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 4321, 4322)
    enrolled(tmp_path)
    found = (tmp_path / FILE).stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (4321, 4322, 0o600)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"token": "x"}', '{"key": 3}', '{"key": "k", "token": "a b"}',
                                     '{"key": "k", "generation": "x"}'])  # fmt: skip
def test_a_file_that_is_no_enrolment_says_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(BadSetting, match="remove it and enrol this host again"):
        load(tmp_path)


def test_a_fingerprint_is_the_one_that_ego_shows() -> None:
    assert Enrolment("abc").fingerprint == "XJ4B-NP4P-AHH6-UQKB-IDPF"
    assert len(new_enrolment().key) == 43


@contextmanager
def agent_of(scripted: ScriptedEgo, folder: Path, age_seconds: float) -> Iterator[Path]:
    """A real agent whose host is enrolled; yields its state folder."""
    state = folder / "titan-01-state"
    state.mkdir(mode=0o700)
    enrolled(state, age_seconds)
    with running_agent(folder, scripted.url, "--interval-seconds", "1", hostname="titan-01") as agent:
        yield state
        agent.stop()
        (folder / "log").write_text(agent.log)


def test_a_running_agent_rotates_an_old_token_by_itself(scripted: ScriptedEgo, tmp_path: Path) -> None:
    with agent_of(scripted, tmp_path, OLD) as state:
        scripted.wait_for(ROTATE_PATH, seconds=15)
        wait_until(lambda: json.loads((state / FILE).read_text()).get("token") == "ms_agent_2", 8, what="the new token")
        scripted.wait_for("/batch", 3, seconds=15)
    assert not scripted.decide.is_suspended  # type: ignore[attr-defined]


def test_a_suspended_agent_says_so_once_and_keeps_its_samples(scripted: ScriptedEgo, tmp_path: Path) -> None:
    scripted.decide.is_suspended = True  # type: ignore[attr-defined]
    with agent_of(scripted, tmp_path, 0) as state:
        scripted.wait_for("/batch", 3, seconds=30)
        wait_until(lambda: [*(state / "spool").glob("*.samples")], 8, what="samples on disk")
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if "is suspended" in line]
    assert len(lines) == 1
    assert "mirror-stage agents unlock titan-01" in lines[0]
