"""Only EGO's own user can read what EGO writes, and as root EGO follows no links of other users."""

from __future__ import annotations

import fcntl
import os
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mirror_stage.storage import files
from tests.builders import make_sample
from tests.command_line import forked
from tests.servers import EgoServer, wait_until

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def db(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`mirror-stage db ...` on the database of a folder, with umask 0."""
    environment = os.environ | {"MIRROR_STAGE_SQLITE_PATH": str(folder / "ego.db")}
    return forked(["db", *arguments], cwd=Path("/"), env=environment, umask=0)


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of an empty database, and the database beside it."""
    folder = tmp_path_factory.mktemp("whole")
    assert db(folder, "upgrade").returncode == 0
    made = db(folder, "backup", str(folder / "backup"))
    assert made.returncode == 0, made.stderr
    return folder / "backup"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter; only root can enter pytest's own folders."""
    with tempfile.TemporaryDirectory(prefix="mirror-stage-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def folder_of_nobody(open_folder: Path) -> Path:
    """A data folder that belongs to an unprivileged user, who can put anything into it."""
    folder = open_folder / "data"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)
    return folder


def test_all_files_of_a_running_ego_are_private(start_ego: Callable[..., EgoServer], tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        ego = start_ego()
        assert ego.post_samples(make_sample("titan-01")).status_code == 202
        written = sorted(path.name for path in tmp_path.glob("ego.db*"))
        assert {"ego.db", "ego.db-wal", "ego.db-shm", "ego.db.owner.lock", "ego.db.migration.lock"} <= set(written)
        assert {name: oct(mode_of(tmp_path / name)) for name in written} == dict.fromkeys(written, "0o600")
    finally:
        os.umask(old)


def test_all_files_that_db_commands_write_are_private(backup: Path) -> None:
    written = [path for path in backup.parent.iterdir() if path.is_file()]
    assert len(written) >= 3
    assert {path.name: oct(mode_of(path)) for path in written} == {path.name: "0o600" for path in written}


def test_a_database_that_others_could_read_is_made_private_and_logged(
    start_ego: Callable[..., EgoServer], tmp_path: Path
) -> None:
    sqlite3.connect(tmp_path / "ego.db").execute("PRAGMA journal_mode=WAL").close()
    for name in ("ego.db", "ego.db.owner.lock"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    ego = start_ego()
    assert (mode_of(tmp_path / "ego.db"), mode_of(tmp_path / "ego.db.owner.lock")) == (0o600, 0o600)
    (line,) = [line for line in ego.log.splitlines() if "could be read by other users" in line]
    assert "ego.db, " in line
    assert "ego.db.owner.lock" in line


@as_root
def test_another_user_cannot_take_the_ownership_lock(open_folder: Path) -> None:
    os.close(files.open_own(open_folder / "ego.db.owner.lock", os.O_RDWR))
    script = "import os, sys; os.setuid(65534); os.open(sys.argv[1], os.O_RDONLY)"
    command = [sys.executable, "-c", script, str(open_folder / "ego.db.owner.lock")]
    assert "PermissionError" in subprocess.run(command, check=False, capture_output=True, text=True).stderr


@pytest.mark.parametrize(("setting", "mode"), [({}, 0o600), ({"MIRROR_STAGE_SOCKET_MODE": "0660"}, 0o660)])
def test_a_unix_socket_is_only_for_users_with_permission(
    start_ego: Callable[..., EgoServer], tmp_path: Path, setting: dict[str, str], mode: int
) -> None:
    path = tmp_path / "ego.sock"
    ego = EgoServer(tmp_path, {"MIRROR_STAGE_BIND": f"unix:{path}"} | setting)
    ego.start(wait=False)
    try:
        for header in (b"", b"SCRIPT_NAME: /api\r\nPATH_INFO: /api/twin/state\r\nX-Forwarded-Proto: https\r\n"):
            files_seen = _asked(
                ego, path, b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + header
            )
            assert files_seen.endswith(b"ok")
        assert mode_of(path) == mode
    finally:
        ego.stop()


def _asked(ego: EgoServer, path: Path, head: bytes) -> bytes:
    def connected() -> socket.socket | None:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(path))
            return client
        except OSError:
            client.close()
            return None

    with wait_until(connected, 40, what="EGO listens at its socket") as client:
        client.settimeout(20)
        client.sendall(head + b"\r\n")
        return b"".join(iter(lambda: client.recv(65536), b""))


LINKS: dict[str, Callable[[Path, Path], None]] = {
    "symbolic": lambda victim, link: link.symlink_to(victim),
    "hard": lambda victim, link: link.hardlink_to(victim),
}
PLANTED: list[Any] = ["ego.db.restoring", "ego.db.owner.lock"]
PLANTED += [
    pytest.param(name, marks=pytest.mark.long)
    for name in ("ego.db", "ego.db.migration.lock", "ego.db-wal", "ego.db-shm", "ego.db-journal")
]


@as_root
@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("kind", LINKS)
def test_root_follows_no_link_when_it_restores(
    backup: Path, folder_of_nobody: Path, open_folder: Path, name: str, kind: str
) -> None:
    victim = open_folder / "victim"
    victim.write_text("root's own")
    victim.chmod(0o640)
    LINKS[kind](victim, folder_of_nobody / name)
    ended = db(folder_of_nobody, "restore", "--force", str(backup))
    assert victim.read_text() == "root's own", ended
    assert (victim.stat().st_uid, mode_of(victim)) == (0, 0o640), ended
    assert "Traceback" not in ended.stderr


@as_root
def test_files_that_root_restores_belong_to_the_owner_of_the_folder(backup: Path, folder_of_nobody: Path) -> None:
    ended = db(folder_of_nobody, "restore", str(backup))
    assert ended.returncode == 0, ended.stderr
    assert {path.stat().st_uid for path in folder_of_nobody.iterdir()} == {NOBODY}
    assert db(folder_of_nobody, "current").returncode == 0
    assert db(folder_of_nobody, "stats").returncode == 0
    assert {path.stat().st_uid for path in folder_of_nobody.iterdir()} == {NOBODY}


@as_root
@pytest.mark.parametrize("name", ["copy.partial", "copy"])
@pytest.mark.parametrize("kind", LINKS)
def test_root_follows_no_link_when_it_writes_a_backup(
    backup: Path, folder_of_nobody: Path, open_folder: Path, name: str, kind: str
) -> None:
    victim = open_folder / "victim"
    victim.write_text("root's own")
    LINKS[kind](victim, folder_of_nobody / name)
    ended = db(backup.parent, "backup", "--force", str(folder_of_nobody / "copy"))
    assert victim.read_text() == "root's own"
    assert ended.returncode == 0, ended.stderr
    made = folder_of_nobody / "copy"
    assert not made.is_symlink()
    assert (made.stat().st_uid, mode_of(made)) == (NOBODY, 0o600)


@as_root
def test_root_takes_a_backup_of_a_users_database_into_its_own_folder(
    backup: Path, folder_of_nobody: Path, open_folder: Path
) -> None:
    assert db(folder_of_nobody, "restore", str(backup)).returncode == 0
    roots = open_folder / "roots"
    roots.mkdir(mode=0o700)
    ended = db(folder_of_nobody, "backup", str(roots / "copy"))
    assert ended.returncode == 0, ended.stderr
    assert ((roots / "copy").stat().st_uid, mode_of(roots / "copy")) == (0, 0o600)
    again = db(folder_of_nobody, "restore", "--force", str(roots / "copy"))
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("kind", LINKS)
def test_a_lock_that_is_a_link_is_refused_with_a_reason(tmp_path: Path, kind: str) -> None:
    (tmp_path / "victim").write_text("")
    LINKS[kind](tmp_path / "victim", tmp_path / "lock")
    with pytest.raises(Exception, match="EGO's own"):
        files.open_own(tmp_path / "lock", os.O_RDWR)
    descriptor = files.open_own(tmp_path / "another", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
