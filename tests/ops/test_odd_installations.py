"""Commands where something is missing: EGO's libraries, a home folder, a right, a /dev/shm that can be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mirror_stage.reflector import check, state
from mirror_stage.reflector.settings import Settings
from tests.servers import ROOT, EgoServer, free_port, running_ego

is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
NOBODY = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups")  # a user without an entry in /etc/passwd


def run(*words: str, environment: dict[str, str] | None = None, prefix: tuple[str, ...] = (), cwd: Path = Path("/")):  # type: ignore[no-untyped-def]
    """How `mirror-stage ...` ends without the variables of this process."""
    command = [*prefix, sys.executable, "-m", "mirror_stage.runtime.cli", *words]
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | (environment or {})
    return subprocess.run(command, env=variables, cwd=cwd, capture_output=True, text=True, check=False, timeout=90)


@pytest.mark.parametrize(
    "command", ["serve", "doctor", "demo", "simulate", "db upgrade", "db current", "db stats", "db backup file"]
)
def test_where_only_the_agent_is_installed_a_command_of_ego_says_what_to_install(command: str, tmp_path: Path) -> None:
    for name, place in (("mirror_stage", ROOT / "mirror_stage"), ("psutil", Path(psutil.__file__).parent)):
        (tmp_path / name).symlink_to(place)
    code = "import sys; sys.argv[0] = 'mirror-stage'; from mirror_stage.runtime.cli import main; sys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-S", "-c", code, *command.split()],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    (line,) = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout) == (1, "")
    assert line.startswith("mirror-stage: this command needs EGO's libraries")
    assert "pip install" in line


@pytest.mark.parametrize("words", ["serve", "demo --hosts 1"])
def test_a_module_in_the_folder_where_ego_runs_is_not_imported(words: str, tmp_path: Path) -> None:
    """What others put into the folder would else run as EGO's user."""
    program = tmp_path / "mirror-stage"
    program.write_text("import sys; from mirror_stage.runtime.entry import main; sys.exit(main())")
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("cmd", "json", "random", "wsgi", "gunicorn", "mirror_stage", "psutil", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r})")
    server = EgoServer(folder)
    with (folder / "ego.log").open("ab") as log:
        server.process = subprocess.Popen(
            [sys.executable, str(program), *words.split()], cwd=folder, env=server.environment, stdout=log, stderr=log
        )
    try:
        server.wait_ready()
    finally:
        server.process.terminate()
        server.process.wait(30)
    assert not (tmp_path / "imported").exists()


@is_root
@pytest.mark.parametrize("command", ["run", "check", "run --once"])
def test_a_user_without_a_home_folder_gets_the_advice_to_set_a_state_folder(command: str) -> None:
    ended = run("reflector", *command.split(), "--ego", "http://127.0.0.1:9", prefix=NOBODY)
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert line == "mirror-stage: state_dir: this user has no home folder: name a folder with --state-dir"


@is_root
def test_a_user_without_a_home_can_run_the_agent_in_a_folder(tmp_path: Path) -> None:
    ended = run("reflector", "run", "--once", "--state-dir", str(tmp_path / "state"), prefix=NOBODY)
    assert (ended.returncode, ended.stderr) == (0, "")


@is_root
def test_a_check_by_a_user_who_may_not_look_into_the_services_folder_is_a_finding(tmp_path: Path) -> None:
    hidden = tmp_path / "private"
    (hidden / "state").mkdir(parents=True)
    hidden.chmod(0o700)
    for place in (tmp_path, *tmp_path.parents[:2]):
        place.chmod(0o755)
    link = tmp_path / "mirror-stage-reflector"  # like systemd's link for a unit with DynamicUser
    link.symlink_to(hidden / "state")
    given = ("--ego", f"http://127.0.0.1:{free_port()}", "--state-dir", str(link))
    ended = run("reflector", "check", *given, prefix=NOBODY)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "cannot be looked at: Permission denied" in ended.stdout
    assert "run this with sudo" in ended.stdout
    code = (
        "import sys; from pathlib import Path; from mirror_stage.reflector import state;"
        f"state.SYSTEM_FOLDER = Path({str(link)!r}); print(state.default_state_dir({{'XDG_STATE_HOME': '/x'}}))"
    )
    found = subprocess.run(
        [*NOBODY, sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout, found.stderr) == ("/x/mirror-stage-reflector\n", "")


def test_a_check_with_another_folder_names_the_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "SYSTEM_FOLDER", tmp_path)
    assert f"The service's folder is {tmp_path}" in check.state(Settings(state_dir=tmp_path / "own")).seen
    assert state.SYSTEM_FOLDER.is_absolute()


@is_root
def test_ego_runs_where_dev_shm_cannot_be_written(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o ro none /dev/shm && exec "$@"'
    namespace = ("unshare", "-m", "sh", "-c", script, "sh")
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount: unshare -m")
    with running_ego(tmp_path, {}, EgoServer, prefix=namespace) as ego:
        assert ego.get("/api/health").status_code == 200
        mounted = Path(f"/proc/{ego.worker_pid()}/mounts").read_text()
    assert "/dev/shm tmpfs ro" in mounted  # the fault was there
