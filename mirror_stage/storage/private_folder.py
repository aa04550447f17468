"""A folder of key files that only EGO's user can read. Problems of its files name the setting that chooses it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.problems import Unavailable
from mirror_stage.storage import files


class PrivateFolder:
    """The folder of `MIRROR_STAGE_TLS_DIR`: the authority and the signing keys lie there, each kind in files of its own."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, name: str) -> bytes | None:
        """The content of a file, None if it does not exist."""
        return files.read_own(self.folder / name)

    def write(self, name: str, content: bytes) -> None:
        """Write a file. It is replaced when the new one is complete and on the disk."""
        files.write_own(self.folder / name, content)

    @contextlib.contextmanager
    def as_owner(self) -> Iterator[None]:
        """As root: act as the owner of the folder. Problems of the files become BadSetting."""
        try:
            with files.as_owner_of(self.folder if self.folder.is_dir() else self.folder.parent):
                yield
        except Unavailable as error:
            raise BadSetting(f"MIRROR_STAGE_TLS_DIR: {error}") from error
        except OSError as error:
            raise BadSetting(f"MIRROR_STAGE_TLS_DIR: {self.folder} cannot be used: {error.strerror}") from error
