"""`mirror-stage reflector install` and `uninstall`: the files, the messages, and what is refused before anything is done."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mirror_stage.reflector import service_unit
from mirror_stage.reflector.service_unit import NotPossible, install, uninstall, with_values
from mirror_stage.reflector.settings import settings_from
from tests.servers import ROOT

UNIT = (ROOT / "config/systemd/mirror-stage-reflector.service").read_text()


@dataclass
class Machine:
    """A machine in a folder, with a fake systemctl that records its calls, and the messages to the user."""

    root: Path
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def unit(self) -> Path:
        return self.root / "etc/systemd/system/mirror-stage-reflector.service"

    @property
    def settings(self) -> Path:
        return self.root / "etc/mirror-stage/reflector.toml"

    def systemctl(self, arguments: Sequence[str]) -> None:
        self.asked.append(" ".join(arguments))

    def install(self, program: Path = Path("/usr/bin/env"), **given: Any) -> None:
        install(
            given,
            program=program,
            systemctl=self.systemctl,
            command_user=given.get("command_user"),
            add_account=lambda name: self.asked.append(f"add {name}"),
            root=self.root,
            say=self.said.append,
        )

    def uninstall(self, *, purge: bool = False) -> None:
        uninstall(purge=purge, systemctl=self.systemctl, root=self.root, say=self.said.append)

    def files(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_writes_a_unit_for_this_program_and_the_settings_it_was_given(machine: Machine) -> None:
    given = {
        "ego": "http://10.0.0.100:3000", "tags": {"room": 'the "cellar"'}, "position": {"x": 1.0, "z": -2.5},
        "command_policy": "allow_list", "command_allow": ("uptime", "df -h"), "interval_seconds": 10.0,
    }  # fmt: skip
    machine.install(**given)
    assert "\nExecStart=/usr/bin/env reflector run\n" in machine.unit.read_text()
    assert tomllib.loads(machine.settings.read_text()) == given | {"command_allow": ["uptime", "df -h"]}
    found = settings_from({}, {}, machine.settings)
    assert {name: getattr(found, name) for name in given} == given
    assert machine.asked == ["daemon-reload", f"enable {service_unit.UNIT}", f"restart {service_unit.UNIT}"]
    assert machine.said[0] == f"wrote    {machine.settings}"
    assert "journalctl" in machine.said[-1]


def test_an_existing_settings_file_is_kept(machine: Machine) -> None:
    machine.settings.parent.mkdir(parents=True)
    machine.settings.write_text('ego = "http://mine"\n')
    machine.install()
    assert machine.settings.read_text() == 'ego = "http://mine"\n'
    before = machine.unit.read_text()
    with pytest.raises(NotPossible, match="is there already"):
        machine.install(ego="http://other")
    assert (machine.settings.read_text(), machine.unit.read_text()) == ('ego = "http://mine"\n', before)


@pytest.mark.parametrize(
    ("program", "given", "said"),
    [
        ("/usr/bin/env", {}, "say where EGO is"),
        ("/usr/bin/no-such-program", {"ego": "http://ego"}, "is not there"),
        ("{tmp}/mirror-stage", {"ego": "http://ego"}, "cannot see it: install mirror-stage into /opt/mirror-stage"),
    ],
)
def test_an_installation_that_cannot_work_is_refused_before_anything_is_written(
    program: str, given: dict[str, str], said: str, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_unit, "HIDDEN", (str(tmp_path),))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mirror-stage").touch()
    with pytest.raises(NotPossible, match=said):
        machine.install(Path(program.format(tmp=elsewhere)), **given)
    assert machine.asked == []
    assert machine.files() == {"elsewhere/mirror-stage"}


def test_uninstall_removes_the_service_and_names_the_files_that_it_keeps(machine: Machine) -> None:
    machine.install(ego="http://ego")
    state = machine.root / "var/lib/private/mirror-stage-reflector"
    state.mkdir(parents=True)
    (state / "journal").touch()
    machine.settings.with_name("ego-root.pem").touch()  # from an enrolment
    drop_in = machine.root / f"etc/systemd/system/{service_unit.UNIT}.d/override.conf"  # from systemctl edit
    drop_in.parent.mkdir()
    drop_in.touch()
    machine.asked.clear()
    machine.said.clear()
    machine.uninstall()
    assert machine.asked == [f"disable --now {service_unit.UNIT}", "daemon-reload"]
    assert machine.files() == {
        "etc/mirror-stage/reflector.toml",
        "etc/mirror-stage/ego-root.pem",
        "etc/systemd/system/mirror-stage-reflector.service.d/override.conf",
        "var/lib/private/mirror-stage-reflector/journal",
    }
    assert sum("--purge removes it" in line for line in machine.said) == 4
    machine.uninstall(purge=True)
    assert machine.files() == set()
    assert not machine.settings.parent.exists()
    machine.uninstall(purge=True)


def test_purge_keeps_the_settings_of_an_ego_on_the_same_machine(machine: Machine) -> None:
    machine.install(ego="http://ego")
    machine.settings.with_name("ego.env").touch()
    machine.uninstall(purge=True)
    assert machine.files() == {"etc/mirror-stage/ego.env"}


def test_every_setting_can_be_switched_on_in_the_shipped_file() -> None:
    template = (ROOT / "config/reflector.toml").read_text()
    given = {"rack": "R\\1", "hostname": "호스트", "spool_max_mib": 8}
    assert tomllib.loads(with_values(template, given)) == given


def test_systemd_hands_the_token_to_the_service() -> None:
    text = service_unit.unit_text(UNIT, Path("/usr/bin/env"), Path("/etc/mirror-stage/token"))
    service = text.partition("[Service]")[2].partition("[Install]")[0]
    assert "\nLoadCredential=token:/etc/mirror-stage/token\nEnvironment=REFLECTOR_TOKEN_FILE=%d/token\n" in service
    assert "LoadCredential" not in service_unit.unit_text(UNIT, Path("/usr/bin/env"))


def test_an_account_for_commands_is_added_and_the_service_may_become_it(machine: Machine) -> None:
    machine.install(ego="http://ego")
    unit = machine.unit.read_text()
    assert "\nCapabilityBoundingSet=\nAmbientCapabilities=\n" in unit
    assert not [asked for asked in machine.asked if asked.startswith("add")]
    machine.settings.unlink()
    machine.asked.clear()
    machine.install(ego="http://ego", command_user="mirror-stage-command")
    assert machine.asked[0] == "add mirror-stage-command"
    capabilities = "CAP_KILL CAP_SETGID CAP_SETUID CAP_SYS_PTRACE"
    for name in ("CapabilityBoundingSet", "AmbientCapabilities"):
        unit = unit.replace(f"\n{name}=\n", f"\n{name}={capabilities}\n")
    assert machine.unit.read_text() == unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize(("may_switch", "exposure"), [(False, 25), (True, 40)])  # in tenths, of 10 at most
def test_systemd_understands_the_unit_and_calls_it_hardened(may_switch: bool, exposure: int, tmp_path: Path) -> None:
    file = tmp_path / service_unit.UNIT
    text = service_unit.unit_text(UNIT, Path("/usr/bin/env"), Path("/etc/mirror-stage/token"), may_switch=may_switch)
    file.write_text(text)
    understood = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
    assert (understood.returncode, understood.stderr) == (0, "")
    walls = ["systemd-analyze", "security", "--offline=true", f"--threshold={exposure}", file]
    assert subprocess.run(walls, capture_output=True, text=True, check=False).returncode == 0


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="systemd is not installed")
def test_a_failure_of_systemctl_is_reported_with_its_own_message() -> None:
    with pytest.raises(NotPossible, match=r"^systemctl start no-such-unit: \S"):
        service_unit.run_systemctl(["start", "no-such-unit"])
