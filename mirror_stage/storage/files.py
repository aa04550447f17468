"""How EGO's files are opened: for their owner's eyes only, never through a link, and as root never in somebody's folder."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from mirror_stage.core.problems import Unavailable

log = logging.getLogger(__name__)

BESIDE = ("", "-wal", "-shm", "-journal", ".owner.lock", ".migration.lock")  # SQLite's file, and what lies beside it


def keep_private() -> None:
    """From now on this process makes files that only its user can read, whatever the shell or the unit says."""
    os.umask(0o077)


def open_own(path: Path, flags: int) -> int:
    """The descriptor of a file of EGO's own, 0600, made if it is not there.

    Raises Unavailable for a link, for a file that has a second name, and for anybody else's.
    """
    try:
        with _folder(path) as folder:
            descriptor = os.open(path.name, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except OSError as error:
        raise Unavailable(f"{path} cannot be opened: {error.strerror}; it must be a file of EGO's own") from error
    found = os.fstat(descriptor)
    if not _is_own(found):
        os.close(descriptor)
        raise Unavailable(f"{path} is not a file of EGO's own, or has a second name; move it away")
    if found.st_mode & 0o077:
        os.fchmod(descriptor, 0o600)
    return descriptor


def make_new(path: Path) -> int:
    """The descriptor of a new, empty file, 0600; what had its name before loses it, and is not written to."""
    with _folder(path) as folder:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path.name, flags, 0o600, dir_fd=folder)


def settle(partial: Path, file: Path) -> None:
    """Let a finished file take another name in its folder, so that it is there whole even if the power fails now."""
    with _folder(file) as folder:
        descriptor = os.open(partial.name, os.O_RDWR | os.O_NOFOLLOW, dir_fd=folder)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial.name, file.name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)


def tighten(database: Path) -> None:
    """Take SQLite's files away from everybody else's eyes: an older version made them readable by all."""
    tightened = []
    for path in (database.with_name(database.name + suffix) for suffix in BESIDE):
        with contextlib.suppress(OSError), _folder(path) as folder:  # most are not there; not ours are not ours
            descriptor = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            try:
                found = os.fstat(descriptor)
                if _is_own(found) and found.st_mode & 0o077:
                    os.fchmod(descriptor, 0o600)
                    tightened.append(path.name)
            finally:
                os.close(descriptor)
    if tightened:
        log.warning("%s could be read by other users; now only by EGO's: %s", database.parent, ", ".join(tightened))


@contextlib.contextmanager
def as_owner_of(folder: Path) -> Iterator[None]:
    """While this lasts root acts as the user whose folder it is: what he has put there leads nowhere but to himself.

    Anybody else is and stays himself. Inside another one, the inner one counts.
    """
    if os.getuid() != 0:
        yield
        return
    before = (os.geteuid(), os.getegid(), os.getgroups())
    _become(0, 0, before[2])
    try:
        owner = folder.stat()
        _become(owner.st_uid, owner.st_gid, before[2] if owner.st_uid == 0 else [owner.st_gid])
        yield
    finally:
        _become(*before)


def _become(uid: int, gid: int, groups: list[int]) -> None:
    os.seteuid(0)
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)


def _is_own(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.geteuid()


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    """A handle of the folder of a file: its name means the same for as long as this lasts."""
    handle = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
