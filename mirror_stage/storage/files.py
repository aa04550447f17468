"""Opens EGO's files safely: readable by their owner only, never through a link, and as root only as the folder's owner."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from mirror_stage.core.problems import Unavailable

log = logging.getLogger(__name__)

_READ_MAX = 2**20
BESIDE = ("", "-wal", "-shm", "-journal", ".owner.lock", ".migration.lock")  # SQLite's file, and the files beside it


def keep_private() -> None:
    """Make this process create files that only its user can read, whatever umask the shell or the service sets."""
    os.umask(0o077)


def open_own(path: Path, flags: int) -> int:
    """The descriptor of a file that belongs to EGO's user, mode 0600. Creates the file if it does not exist.

    Raises Unavailable for a symbolic link, a file with a second hard link, and a file of another user.
    """
    try:
        with _folder(path) as folder:
            descriptor = os.open(path.name, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except OSError as error:
        raise Unavailable(
            f"{path} cannot be opened: {error.strerror}; it must be a regular file of EGO's own user"
        ) from error
    found = os.fstat(descriptor)
    if not _is_own(found):
        os.close(descriptor)
        raise Unavailable(f"{path} must be a regular file of EGO's own user without a second hard link; move it away")
    if found.st_mode & 0o077:
        os.fchmod(descriptor, 0o600)
    return descriptor


def make_new(path: Path) -> int:
    """The descriptor of a new, empty file, mode 0600. An existing file of that name is unlinked, never written to."""
    with _folder(path) as folder:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path.name, flags, 0o600, dir_fd=folder)


def make_folder(path: Path) -> None:
    """Make a folder that only EGO's user may enter, or make an existing one so. Raises Unavailable for a link and for another user's."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(0o700)
    with _opened(path, os.O_DIRECTORY) as folder:
        found = os.fstat(folder)
        if found.st_uid != os.geteuid():
            raise Unavailable(f"{path} must be a folder of EGO's own user")
        if found.st_mode & 0o077:
            os.fchmod(folder, 0o700)


def read_own(path: Path, most: int = _READ_MAX) -> bytes | None:
    """The first `most` bytes of a file of EGO's own, None if there is none. Raises Unavailable for a link and for another user's file."""
    try:
        with _opened(path, os.O_NONBLOCK) as descriptor:
            found = os.fstat(descriptor)
            if not _is_own(found):
                raise Unavailable(f"{path} must be a regular file of EGO's own user without a second hard link")
            if found.st_mode & 0o077:
                os.fchmod(descriptor, 0o600)
            return os.read(descriptor, most)
    except FileNotFoundError:
        return None


def write_own(path: Path, content: bytes) -> None:
    """Write a file of EGO's own, mode 0600. It is replaced when the new one is complete and on the disk."""
    partial = path.with_name(path.name + ".partial")
    descriptor = make_new(partial)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)
    put_in_place(partial, path)


def append_own(path: Path, lines: bytes) -> None:
    """Append whole lines to a file of EGO's own, mode 0600, and sync it. A line that a crash has cut off gets an end first."""
    descriptor = open_own(path, os.O_RDWR | os.O_APPEND)
    try:
        length = os.fstat(descriptor).st_size
        is_cut = length > 0 and os.pread(descriptor, 1, length - 1) != b"\n"
        os.write(descriptor, b"\n" * is_cut + lines)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_in_place(partial: Path, file: Path) -> None:
    """Rename a finished file within its folder. It is synced first, so that it is complete even after a power failure."""
    with _folder(file) as folder:
        descriptor = os.open(partial.name, os.O_RDWR | os.O_NOFOLLOW, dir_fd=folder)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial.name, file.name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)


def tighten(database: Path) -> None:
    """Make SQLite's files readable by EGO's user only. An older version made them readable by all."""
    tightened = []
    for path in (database.with_name(database.name + suffix) for suffix in BESIDE):
        with contextlib.suppress(OSError), _folder(path) as folder:  # most do not exist; files of others are left alone
            descriptor = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            try:
                found = os.fstat(descriptor)
                if _is_own(found) and found.st_mode & 0o077:
                    os.fchmod(descriptor, 0o600)
                    tightened.append(path.name)
            finally:
                os.close(descriptor)
    if tightened:
        log.warning(
            "%s could be read by other users; now only EGO's user can read: %s", database.parent, ", ".join(tightened)
        )


@contextlib.contextmanager
def as_owner_of(folder: Path) -> Iterator[None]:
    """While this lasts, a root process has the rights of the folder's owner only.

    So a link that the owner put there gives access to nothing but the owner's own files. A process that is not root does
    not change. If two are nested, the inner one counts.
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
def _opened(path: Path, flags: int) -> Iterator[int]:
    """A descriptor for reading, through no link."""
    with _folder(path) as folder:
        try:
            descriptor = os.open(path.name, flags | os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Unavailable(f"{path} cannot be opened: {error.strerror}; it must not be a link") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    """A descriptor of a file's folder. Names relative to it stay in that folder, even if its path changes meanwhile."""
    handle = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
