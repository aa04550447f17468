"""`doctor` and `db` of the program that runs as a service find the settings of its unit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.reflector.service_unit import this_program
from mirror_stage.runtime.service_settings import UNIT, of_service
from tests.servers import ROOT, running_ego

SHIPPED = (ROOT / "config/systemd/mirror-stage-ego.service").read_text()
PROGRAM = Path("/opt/mirror-stage/bin/mirror-stage")


def install(root: Path, settings: str | None, unit: str = SHIPPED) -> Path:
    """A machine's root with the unit, and with its settings file unless there is none."""
    for path, text in ((root / UNIT, unit), (root / "etc/mirror-stage/ego.env", settings)):
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_text(text)
    return root


def test_the_settings_are_those_of_the_file_that_the_unit_reads(tmp_path: Path) -> None:
    root = install(tmp_path, "# mine\nMIRROR_STAGE_DB_URL='postgresql://u:p$x@h/d'\nPORT=3100\n")
    found = of_service(PROGRAM, root)
    assert (found["MIRROR_STAGE_DB_URL"], found["PORT"]) == ("postgresql://u:p$x@h/d", "3100")


def test_without_a_file_the_database_is_the_one_in_the_services_folder(tmp_path: Path) -> None:
    found = of_service(PROGRAM, install(tmp_path, None))
    assert found == {"MIRROR_STAGE_SQLITE_PATH": "/var/lib/mirror-stage-ego/mirror_stage.db"}


def test_a_relative_path_counts_from_the_services_folder(tmp_path: Path) -> None:
    root = install(tmp_path, "MIRROR_STAGE_SQLITE_PATH=my.db\n")
    assert of_service(PROGRAM, root)["MIRROR_STAGE_SQLITE_PATH"] == str(root / "var/lib/mirror-stage-ego/my.db")


def test_a_drop_in_of_systemctl_edit_counts(tmp_path: Path) -> None:
    root = install(tmp_path, None)
    (root / f"{UNIT}.d").mkdir()
    (root / f"{UNIT}.d/override.conf").write_text('[Service]\nEnvironment="PORT=3200" EGO_RACK=R7\n')
    assert (of_service(PROGRAM, root)["PORT"], of_service(PROGRAM, root)["EGO_RACK"]) == ("3200", "R7")


def test_another_program_than_the_units_keeps_its_own_settings(tmp_path: Path) -> None:
    assert of_service(Path("/home/me/.venv/bin/mirror-stage"), install(tmp_path, "PORT=3100\n")) == {}
    assert of_service(PROGRAM, tmp_path / "no-unit") == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_doctor_and_db_look_after_the_services_database(tmp_path: Path) -> None:
    units, folder, elsewhere = tmp_path / "units", tmp_path / "service", tmp_path / "elsewhere"
    for place in (units, folder, elsewhere):
        place.mkdir()
    settings = folder / "settings.env"
    settings.write_text(f"MIRROR_STAGE_SQLITE_PATH={folder / 'ego.db'}\nEGO_RACK=R7\n")
    text = SHIPPED.replace(str(PROGRAM), str(this_program())).replace("/etc/mirror-stage/ego.env", str(settings))
    (units / Path(UNIT).name).write_text(text)
    script = f'mount --bind {units} /etc/systemd/system && exec "$@"'
    namespace = ["unshare", "-m", "sh", "-c", script, "sh"]
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount: unshare -m")
    with running_ego(folder) as ego:
        ego.stop()

    def run(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | settings
        command = [*namespace, sys.executable, "-m", "mirror_stage.runtime.cli", *words]
        return subprocess.run(
            command, cwd=elsewhere, env=variables, capture_output=True, text=True, check=False, timeout=90
        )

    seen = run("doctor")
    assert f"SQLite, {folder / 'ego.db'}, schema" in seen.stdout
    assert seen.stderr == f"mirror-stage: with the settings of the service: /{UNIT}\n"
    assert run("db", "backup", "saved").returncode == 0
    assert (elsewhere / "saved").stat().st_size > 0
    own = run("doctor", MIRROR_STAGE_SQLITE_PATH=str(elsewhere / "own.db"))
    assert ("none yet" in own.stdout, own.stderr) == (True, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_settings_that_only_root_may_read_are_a_one_line_error(tmp_path: Path) -> None:
    root = install(tmp_path, "PORT=3100\n")
    (root / "etc/mirror-stage/ego.env").chmod(0o600)
    for place in (tmp_path, *tmp_path.parents[:2]):
        place.chmod(0o755)
    os.seteuid(54321)
    try:
        with pytest.raises(BadSetting, match="only root may read the service's settings: use sudo"):
            of_service(PROGRAM, root)
    finally:
        os.seteuid(0)
