"""The script that a host runs to be enrolled: small, safe when it is cut off, and it leaves nothing half installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mirror_stage.installer.script import script
from mirror_stage.installer.wheels import WHEELS, WheelSet
from tests.reflector.scripted_ego import Asked, Reply, ScriptedEgo, problem, scripted_ego

SHELLS = [shell for shell in (["dash"], ["bash", "--posix"], ["busybox", "sh"]) if shutil.which(shell[0])]
PIN = "sha256//" + "A" * 43 + "="
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the script is for root")


@pytest.fixture(scope="module")
def wheels() -> WheelSet:
    return WHEELS.ready()


@pytest.fixture(scope="module")
def text(wheels: WheelSet) -> str:
    return script("https://10.0.0.100:3000", PIN, wheels)


def test_it_is_short_and_names_the_address_the_pin_and_each_checksum(text: str, wheels: WheelSet) -> None:
    assert len(text.splitlines()) <= 66  # four of them are the kinds of machines
    assert "ego='https://10.0.0.100:3000'" in text
    assert f"pin='{PIN}'" in text
    assert all(sha256 in text for sha256 in wheels.sha256.values())
    assert "@" not in text.replace("$@", "")


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_every_shell_can_read_it(text: str, shell: list[str]) -> None:
    assert subprocess.run([*shell, "-n"], input=text, capture_output=True, text=True, check=False).stderr == ""


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_download_that_is_cut_off_runs_nothing(text: str, shell: list[str], tmp_path: Path) -> None:
    traced = text.replace("  set -eu\n", f"  touch {tmp_path}/ran\n  exit 3\n")
    assert subprocess.run(shell, input=traced, capture_output=True, text=True, check=False).returncode == 3
    (tmp_path / "ran").unlink()
    lines = traced.splitlines(keepends=True)
    for end in range(len(lines)):
        subprocess.run(shell, input="".join(lines[:end]) + lines[end][:3], capture_output=True, text=True, check=False)
        assert not (tmp_path / "ran").exists(), lines[end]


@pytest.mark.parametrize("ego", ["https://a'b", "https://a b", "https://a$(id)", "https://a\nb", "https://a`id`"])
def test_an_address_that_could_be_a_command_is_refused(ego: str, wheels: WheelSet) -> None:
    with pytest.raises(ValueError, match="EGO has a character"):
        script(ego, PIN, wheels)


def test_over_plain_http_it_says_so_to_the_agent_and_knows_no_pin(wheels: WheelSet) -> None:
    text = script("http://10.0.0.100:3000", None, wheels)
    assert "pin=''" in text
    assert "--allow-plain true --code-file -" in text


class Served:
    """EGO's side of the script: its files, and the enrolment of whoever has the code."""

    def __init__(self) -> None:
        self.enrols = True
        self.damaged = ""

    def __call__(self, asked: Asked) -> Reply | None:
        if asked.path.startswith("/enroll/"):
            file = WHEELS.file(asked.path.removeprefix("/enroll/"))
            assert file is not None
            content = file.read_bytes()
            is_damaged = self.damaged and file.name.startswith(self.damaged)
            return Reply(200, content[:-1] + b"!" if is_damaged else content, kind="application/octet-stream")
        if asked.path == "/api/me":
            return Reply(200, {"role": "agent", "name": "agent:titan-01"})
        if not self.enrols:
            return problem(401, "this code is spent: make another with mirror-stage enroll code")
        return Reply(201, {"agentId": "a1", "hostname": "titan-01", "token": "ms_agent_1", "generation": 1,
                           "signingKey": None, "authority": None})  # fmt: skip


@pytest.fixture
def ego() -> Iterator[ScriptedEgo]:
    with scripted_ego() as scripted:
        scripted.decide = Served()
        yield scripted


def run(
    ego: ScriptedEgo,
    folder: Path,
    wheels: WheelSet,
    shell: list[str] | None = None,
    tools: str = "",
    where: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the script with its folders in `folder`, as if this machine had no systemd."""
    home = folder / "opt/mirror-stage"
    home.parent.mkdir(exist_ok=True)
    own = f"--hostname titan-01 --state-dir {folder}/state --config {folder}/etc/reflector.toml"
    python = Path(sys.executable).resolve().parent
    text = (
        script(ego.url, None, wheels)
        .replace("home=/opt/mirror-stage", f"home={home}")
        .replace("reflector enroll ", f"reflector enroll {own} ")
        .replace("PATH=/usr/local/sbin:", f"PATH={tools or python}:")
        .replace("/run/systemd/system", "/nowhere")
    )
    return subprocess.run(
        shell or ["dash"],
        input=f"code=ms_enroll_1\n{text}",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=where,
    )


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "opt").iterdir())


@needs_root
@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_it_installs_and_enrols_and_once_more_upgrades(
    ego: ScriptedEgo, tmp_path: Path, wheels: WheelSet, shell: list[str]
) -> None:
    done = run(ego, tmp_path, wheels, shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert "enrolled as titan-01" in done.stdout
    assert "let your init start" in done.stdout
    (asked,) = ego.of("/api/agents/enroll")
    assert asked.content["code"] == "ms_enroll_1"
    program = tmp_path / "opt/mirror-stage/bin/mirror-stage"
    once = subprocess.run([program, "reflector", "run", "--once"], capture_output=True, text=True, check=False)
    assert (once.returncode, once.stderr) == (0, "")
    (tmp_path / "opt/mirror-stage/lib/of-an-older-version").touch()
    again = run(ego, tmp_path, wheels, shell)
    assert (again.returncode, again.stderr) == (0, "")
    assert "enrolled already as titan-01" in again.stdout
    assert left(tmp_path) == ["mirror-stage"]
    assert not (tmp_path / "opt/mirror-stage/lib/of-an-older-version").exists()


@needs_root
@pytest.mark.parametrize("damaged", ["mirror_stage_reflector", "tomli", "psutil"])
def test_a_file_with_another_checksum_ends_it_before_anything_is_installed(
    ego: ScriptedEgo, tmp_path: Path, wheels: WheelSet, damaged: str
) -> None:
    ego.decide.damaged = damaged  # type: ignore[attr-defined]
    done = run(ego, tmp_path, wheels)
    assert done.returncode == 1
    assert "is not the file that EGO made: its checksum differs" in done.stderr
    assert left(tmp_path) == []
    assert not ego.of("/api/agents/enroll")


@needs_root
def test_a_refused_code_leaves_what_was_installed_before(ego: ScriptedEgo, tmp_path: Path, wheels: WheelSet) -> None:
    former = tmp_path / "opt/mirror-stage/lib"
    former.mkdir(parents=True)
    ego.decide.enrols = False  # type: ignore[attr-defined]
    done = run(ego, tmp_path, wheels)
    assert done.returncode == 1
    assert "this code is spent" in done.stderr
    assert left(tmp_path) == ["mirror-stage"]
    assert [*former.parent.iterdir()] == [former]


@needs_root
def test_an_unknown_kind_of_machine_and_an_ego_in_the_same_place_are_told(
    ego: ScriptedEgo, tmp_path: Path, wheels: WheelSet
) -> None:
    none = replace(wheels, psutil={"riscv64-*gnu": next(iter(wheels.psutil.values()))})
    done = run(ego, tmp_path, none)
    assert done.returncode == 1
    assert "EGO has no psutil for this machine" in done.stderr
    assert left(tmp_path) == []
    gunicorn = tmp_path / "opt/mirror-stage/bin/gunicorn"
    gunicorn.parent.mkdir(parents=True)
    gunicorn.touch()
    done = run(ego, tmp_path, wheels)
    assert "EGO itself is installed in" in done.stderr
    assert gunicorn.exists()


@needs_root
def test_without_a_python_that_is_new_enough_it_says_what_to_install(
    ego: ScriptedEgo, tmp_path: Path, wheels: WheelSet
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("python3", *(f"python3.{minor}" for minor in range(9, 15))):
        (tools / name).write_text("#!/bin/sh\nexit 1\n")
        (tools / name).chmod(0o755)
    done = run(ego, tmp_path, wheels, tools=str(tools))
    assert done.returncode == 1
    assert "needs Python 3.9 or newer, such as: apt install python3" in done.stderr


@needs_root
def test_wget_does_where_there_is_no_curl(ego: ScriptedEgo, tmp_path: Path, wheels: WheelSet) -> None:
    if shutil.which("wget") is None:
        pytest.skip("no wget here")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("wget", "id", "mktemp", "rm", "mv", "mkdir", "chmod", "sha256sum"):
        (tools / name).symlink_to(shutil.which(name) or "")
    (tools / "python3").symlink_to(Path(sys.executable).resolve())
    done = run(ego, tmp_path, wheels, [shutil.which("dash") or "dash"], f"{tools} #")
    assert (done.returncode, done.stderr) == (0, "")


@needs_root
def test_it_runs_nothing_that_lies_in_the_folder_where_somebody_pastes_the_line(
    ego: ScriptedEgo, tmp_path: Path, wheels: WheelSet
) -> None:
    """Such as /tmp, where every account of the machine may put a json.py."""
    here = tmp_path / "here"
    here.mkdir()
    for module in ("json", "ssl", "zipfile", "sysconfig", "compileall", "os", "runpy"):
        (here / f"{module}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({module!r})\n")
    done = run(ego, tmp_path, wheels, where=here)
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()
    assert (done.returncode, done.stderr) == (0, "")
