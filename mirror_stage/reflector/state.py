"""The folder of what an agent must not lose: journal and spool. One agent a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: a second agent there is not noticed
    fcntl = None  # type: ignore[assignment]

from mirror_stage.core.bad_setting import BadSetting

OF_THE_SYSTEM = Path("/var/lib/mirror-stage-reflector")


def default_state_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """/var/lib/mirror-stage-reflector where this user may write there, else a folder in his home."""
    nearest = OF_THE_SYSTEM if OF_THE_SYSTEM.exists() else OF_THE_SYSTEM.parent
    if os.access(nearest, os.W_OK):
        return OF_THE_SYSTEM
    own = environment.get("XDG_STATE_HOME")
    return (Path(own) if own else Path.home() / ".local" / "state") / OF_THE_SYSTEM.name


class StateFolder:
    """The folder, made if it is not there, and held until this process ends. Raises BadSetting in one line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make_private(path)
            self._lock = (path / "lock").open("a")
        except OSError as error:
            raise BadSetting(f"state_dir: cannot use {path}: {error.strerror or error}") from error
        if not _is_locked_by(self._lock):
            self._lock.close()
            raise BadSetting(
                f"state_dir: another agent uses {path}; two on one host need a --state-dir (and a --hostname) each"
            )

    @property
    def journal(self) -> Path:
        """Where commands are noted before they run."""
        return self.path / "journal"

    @property
    def spool(self) -> Path:
        """Where samples wait."""
        return self.path / "spool"

    def release(self) -> None:
        """Let another agent have it."""
        self._lock.close()


def _make_private(path: Path) -> None:
    """Nobody else reads a journal, and nobody else decides where it lies. Raises BadSetting, and OSError."""
    if path.is_symlink() and path.lstat().st_uid != 0:  # systemd makes one for a unit with a user of its own, as root
        raise BadSetting(f"state_dir: {path} is a symbolic link; name the folder that it leads to")
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise BadSetting(
            f"state_dir: {path} belongs to user {found.st_uid}, and the agent runs as {os.geteuid()}; "
            "choose another --state-dir, or give it to the agent with chown"
        )
    if found.st_mode & 0o077:
        path.chmod(0o700)


def is_in_use(path: Path) -> bool:
    """Whether an agent runs with this folder. Looks only, and leaves nothing behind."""
    try:
        with (path / "lock").open() as lock:
            return not _is_locked_by(lock)
    except OSError:
        return False


def _is_locked_by(file: IO[str]) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
