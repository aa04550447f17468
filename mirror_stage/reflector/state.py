"""The state folder of an agent, with its journal and spool. Each agent needs one of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where a second agent is not detected
    fcntl = None  # type: ignore[assignment]

from mirror_stage.core.bad_setting import BadSetting

SYSTEM_FOLDER = Path("/var/lib/mirror-stage-reflector")


def default_state_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """/var/lib/mirror-stage-reflector if this user may write there, else a folder in the user's home. Raises BadSetting."""
    nearest = SYSTEM_FOLDER if os.path.lexists(SYSTEM_FOLDER) else SYSTEM_FOLDER.parent
    if os.access(nearest, os.W_OK):
        return SYSTEM_FOLDER
    own = environment.get("XDG_STATE_HOME")
    try:
        return (Path(own) if own else Path.home() / ".local" / "state") / SYSTEM_FOLDER.name
    except RuntimeError as error:
        raise BadSetting("state_dir: this user has no home folder: name a folder with --state-dir") from error


class StateFolder:
    """The state folder: created if missing, and locked until this process ends. Raises BadSetting in one line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make_private(path)
            self._lock = (path / "lock").open("a")
        except OSError as error:
            raise BadSetting(
                f"state_dir: cannot use {path}: {error.strerror or error}; name another folder with --state-dir"
            ) from error
        if not _try_lock(self._lock):
            self._lock.close()
            raise BadSetting(
                f"state_dir: another agent uses {path}; two on one host need a --state-dir (and a --hostname) each"
            )

    @property
    def journal(self) -> Path:
        """The path of the journal file."""
        return self.path / "journal"

    @property
    def spool(self) -> Path:
        """The path of the spool folder."""
        return self.path / "spool"

    def release(self) -> None:
        """Unlock the folder."""
        self._lock.close()


def _make_private(path: Path) -> None:
    """Make the folder readable for its owner only. Raises BadSetting if another user owns it or may redirect it.

    Also raises OSError.
    """
    if (
        path.is_symlink() and path.lstat().st_uid != 0
    ):  # systemd makes such a link, as root, for a unit with DynamicUser
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
    """Whether a running agent uses this folder. Changes nothing."""
    try:
        with (path / "lock").open() as lock:
            return not _try_lock(lock)
    except OSError:
        return False


def _try_lock(file: IO[str]) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
