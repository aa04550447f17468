"""`mirror-stage reflector enroll`: a host becomes known to EGO, with a code or after approval, and its settings say so."""

from __future__ import annotations

import base64
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.reflector import check
from mirror_stage.reflector.credential import load
from mirror_stage.reflector.enrolling import ENROLL_PATH, NotEnrolled, Wish, enroll, understood
from mirror_stage.reflector.service_unit import with_settings
from mirror_stage.reflector.settings import settings_from
from tests.reflector.scripted_ego import Asked, Reply, ScriptedEgo, problem, scripted_ego
from tests.servers import ROOT

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
SIGNING_KEY = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="  # of RFC 8032, section 7.1


class Enrolment:
    """EGO's side, in small: a code of one use, a list of waiting hosts, a lock on each name."""

    def __init__(self) -> None:
        self.codes = {"ms_enroll_good": 1}
        self.key_of: dict[str, str] = {}
        self.code_of: dict[str, str] = {}
        self.token_of: dict[str, str] = {}
        self.approved: set[str] = set()
        self.lost = 0
        self.made = 0
        self.authority: str | None = PEM

    def __call__(self, asked: Asked) -> Reply | None:  # noqa: PLR0911
        shown = asked.headers.get("Authorization", "").removeprefix("Bearer ")
        if asked.path == "/api/me":
            name = next((name for name, token in self.token_of.items() if token == shown), None)
            return Reply(200, {"role": "agent", "name": f"agent:{name}"} if name else {"role": "nobody", "name": None})
        if asked.path != ENROLL_PATH:
            return None
        name, key, code = (asked.content[field] for field in ("hostname", "key", "code"))
        if self.key_of.get(name, key) != key:
            return problem(409, f"{name} is enrolled already: mirror-stage agents revoke {name}")
        if code is None:
            if name not in self.approved:
                return Reply(202, {"status": "waiting", "fingerprint": "ABCD", "retryAfterSeconds": 5})
            self.approved.discard(name)
        elif self.code_of.get(name) != code:
            if not self.codes.get(code):
                return problem(
                    401, "this code is unknown, spent or expired: make another with mirror-stage enroll code"
                )
            self.codes[code] -= 1
            self.code_of[name] = code
        self.key_of[name] = key
        self.made += 1
        self.token_of[name] = f"ms_agent_{self.made}"
        if self.lost:
            self.lost -= 1
            return Reply(504, b"", kind="text/html")
        return Reply(201, {"agentId": "a1", "hostname": name, "token": self.token_of[name], "generation": 1,
                           "signingKey": SIGNING_KEY, "authority": self.authority})  # fmt: skip


@pytest.fixture
def ego() -> Iterator[ScriptedEgo]:
    with scripted_ego() as scripted:
        scripted.decide = Enrolment()
        yield scripted


def wish(ego: ScriptedEgo, folder: Path, **members: Any) -> Wish:
    return Wish(ego.url, "titan-01", folder / "state", folder / "etc/reflector.toml", **members)


def said_by(wanted: Wish, naps: Any = None) -> str:
    said: list[str] = []
    enroll(wanted, said.append, naps or (lambda _seconds: None))
    return "\n".join(said)


def test_a_code_enrols_and_the_settings_and_the_token_are_written(ego: ScriptedEgo, tmp_path: Path) -> None:
    said = said_by(wish(ego, tmp_path, code="ms_enroll_good"))
    assert f"enrolled as titan-01 at {ego.url}" in said
    kept = load(tmp_path / "state")
    assert kept is not None
    assert (kept.token, kept.agent_id, kept.generation, kept.former) == ("ms_agent_1", "a1", 1, None)
    assert (tmp_path / "state/enrolment").stat().st_mode & 0o777 == 0o600
    settings = tomllib.loads((tmp_path / "etc/reflector.toml").read_text())
    authority = tmp_path / "etc/ego-root.pem"
    assert {"ego": ego.url, "hostname": "titan-01", "ego_ca": str(authority)}.items() <= settings.items()
    assert authority.read_text() == PEM
    assert "ms_agent" not in said
    assert "ms_enroll" not in said


def test_it_is_enrolled_once_and_a_second_time_changes_nothing(ego: ScriptedEgo, tmp_path: Path) -> None:
    said_by(wish(ego, tmp_path, code="ms_enroll_good"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert "enrolled already as titan-01" in said_by(wish(ego, tmp_path, code="ms_enroll_good"))
    assert len(ego.of(ENROLL_PATH)) == 1
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_lost_answers_are_asked_for_again_with_the_same_key(ego: ScriptedEgo, tmp_path: Path) -> None:
    ego.decide.lost = 3  # type: ignore[attr-defined]
    said_by(wish(ego, tmp_path, code="ms_enroll_good"))
    assert len({asked.content["key"] for asked in ego.of(ENROLL_PATH)}) == 1
    assert len(ego.of(ENROLL_PATH)) == 4
    kept = load(tmp_path / "state")
    assert kept is not None
    assert kept.token == "ms_agent_4"


def test_a_host_that_died_before_it_had_the_answer_asks_with_the_same_key(ego: ScriptedEgo, tmp_path: Path) -> None:
    ego.decide.lost = 1  # type: ignore[attr-defined]

    def die(_seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        said_by(wish(ego, tmp_path, code="ms_enroll_good"), die)
    said_by(wish(ego, tmp_path, code="ms_enroll_good"))
    assert len({asked.content["key"] for asked in ego.of(ENROLL_PATH)}) == 1


def test_without_a_code_it_shows_its_fingerprint_once_and_waits_for_an_admin(ego: ScriptedEgo, tmp_path: Path) -> None:
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            ego.decide.approved.add("titan-01")  # type: ignore[attr-defined]

    said = said_by(wish(ego, tmp_path), nap)
    kept = load(tmp_path / "state")
    assert kept is not None
    assert naps == [5.0] * 3
    assert said.count(kept.fingerprint) == 1
    assert "mirror-stage agents approve titan-01" in said


@pytest.mark.parametrize(
    ("code", "prepare", "says"),
    [
        ("ms_enroll_bad", {}, "does not enrol titan-01: 401 this code is unknown, spent or expired: make another"),
        ("ms_enroll_good", {"titan-01": "another host's key"}, "409 titan-01 is enrolled already"),
        (None, {"titan-01": "another host's key"}, "409 titan-01 is enrolled already"),
    ],
)
def test_a_refusal_is_told_and_nothing_is_set_up(
    ego: ScriptedEgo, tmp_path: Path, code: str | None, prepare: dict[str, str], says: str
) -> None:
    ego.decide.key_of = prepare  # type: ignore[attr-defined]
    with pytest.raises(NotEnrolled, match=says):
        said_by(wish(ego, tmp_path, code=code))
    assert not (tmp_path / "etc").exists()


def test_with_a_code_it_gives_up_on_an_ego_that_never_answers(tmp_path: Path) -> None:
    wanted = Wish("http://127.0.0.1:9", "titan-01", tmp_path / "state", tmp_path / "reflector.toml", code="ms_enroll_x")
    with pytest.raises(NotEnrolled, match="does not answer: Connection refused; is EGO running"):
        said_by(wanted)


@pytest.mark.parametrize(
    ("member", "value"),
    [("token", "a b"), ("token", None), ("agentId", "../x"), ("generation", 0), ("generation", True), ("hostname", "a/b"),
     ("hostname", 7), ("signingKey", "AAAA"), ("signingKey", 1), ("signingKey", base64.b64encode(bytes(32)).decode()),
     ("authority", "-----BEGIN X"), ("authority", PEM * 2),
     ("authority", 3)],
)  # fmt: skip
def test_an_answer_that_is_not_right_is_refused(member: str, value: Any) -> None:
    right = {"agentId": "a1", "hostname": "h", "token": "t", "generation": 1, "signingKey": None, "authority": None}
    assert understood(right).token == "t"
    with pytest.raises(NotEnrolled, match=member):
        understood({**right, member: value})


def test_the_owners_other_settings_stay_and_what_the_enrolment_decides_is_changed(
    ego: ScriptedEgo, tmp_path: Path
) -> None:
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc/reflector.toml"
    file.write_text(
        '# my rack\nrack = "R1"\nego = "http://10.0.0.9:3000"\nego_pin = "sha256//AAAA"\ntoken_file = "/etc/old"\n'
        'command_policy = "allow_list"\ncommand_allow = [\n  "uptime",\n]\n[tags]\nroom = "cellar"\n'
    )
    said_by(wish(ego, tmp_path, code="ms_enroll_good"))
    text = file.read_text()
    assert tomllib.loads(text) == {
        "rack": "R1", "ego": ego.url, "command_policy": "allow_list", "command_allow": ["uptime"], "tags": {"room": "cellar"},
        "hostname": "titan-01", "ego_ca": str(tmp_path / "etc/ego-root.pem"), "ego_signing_key": SIGNING_KEY,
    }  # fmt: skip
    assert "# my rack\n" in text
    assert '# token_file = "/etc/old"\n' in text


def test_settings_that_cannot_be_changed_line_by_line_are_left_alone(ego: ScriptedEgo, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc/reflector.toml"
    file.write_text('hostname = """\ntitan-01"""\n')
    with pytest.raises(BadSetting, match="set ego, hostname"):
        said_by(wish(ego, tmp_path, code="ms_enroll_good"))
    assert file.read_text() == 'hostname = """\ntitan-01"""\n'


def test_an_ego_without_an_authority_of_its_own_keeps_its_pin(ego: ScriptedEgo, tmp_path: Path) -> None:
    ego.decide.authority = None  # type: ignore[attr-defined]
    pin = "sha256//" + base64.b64encode(bytes(32)).decode()
    said_by(wish(ego, tmp_path, code="ms_enroll_good", pin=pin))
    settings = tomllib.loads((tmp_path / "etc/reflector.toml").read_text())
    assert settings["ego_pin"] == pin
    assert "ego_ca" not in settings


def test_a_value_replaces_its_line_else_its_example_else_comes_first() -> None:
    text = with_settings(
        "# rack = \"R1\"\nego = 'x' # mine\n[tags]\na = 'b'\n", {"ego": "y", "rack": "R2", "ip": "1.2.3.4"}
    )
    assert text == 'ip = "1.2.3.4"\nrack = "R2"\nego = "y"\n[tags]\na = \'b\'\n'


def command(ego: ScriptedEgo, folder: Path, *words: str, code: str = "") -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "mirror_stage.runtime.cli", "reflector", "enroll", "--ego", ego.url]
    program += [
        "--state-dir",
        str(folder / "state"),
        "--config",
        str(folder / "reflector.toml"),
        "--hostname",
        "titan-01",
    ]
    return subprocess.run(
        [*program, *words], cwd=ROOT, input=f"{code}\n", capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_takes_the_code_on_stdin_and_check_tells_the_state(ego: ScriptedEgo, tmp_path: Path) -> None:
    ego.decide.authority = None  # type: ignore[attr-defined]
    done = command(ego, tmp_path, "--code-file", "-", code="ms_enroll_good")
    assert (done.returncode, done.stderr) == (0, "")
    assert "enrolled as titan-01" in done.stdout
    settings = settings_from({"state_dir": str(tmp_path / "state")}, {}, tmp_path / "reflector.toml")
    (found,) = check.token(settings, ego.url)
    assert found.level == "ok"
    assert "enrolled as titan-01 since 20" in found.seen
    (other,) = check.token(settings_from({"state_dir": str(tmp_path / "state"), "hostname": "b"}, {}, None), ego.url)
    assert other.level == "problem"


def test_check_tells_a_host_that_waits(ego: ScriptedEgo, tmp_path: Path) -> None:
    def stop(_seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        said_by(wish(ego, tmp_path), stop)
    (found,) = check.token(settings_from({"state_dir": str(tmp_path / "state")}, {}, None), ego.url)
    kept = load(tmp_path / "state")
    assert kept is not None
    assert found.level == "problem"
    assert kept.fingerprint in found.seen


def test_a_refused_code_is_one_line(ego: ScriptedEgo, tmp_path: Path) -> None:
    done = command(ego, tmp_path, "--code-file", "-", code="ms_enroll_bad")
    assert done.returncode == 1
    assert done.stderr.startswith("mirror-stage: ")
    assert len(done.stderr.splitlines()) == 1


def test_over_plain_http_to_another_machine_it_asks_first(tmp_path: Path) -> None:
    program = [
        sys.executable,
        "-m",
        "mirror_stage.runtime.cli",
        "reflector",
        "enroll",
        "--ego",
        "http://10.255.255.1:3000",
    ]
    done = subprocess.run(
        [*program, "--config", str(tmp_path / "none.toml")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--allow-plain true" in done.stderr
