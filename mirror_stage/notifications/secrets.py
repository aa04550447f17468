"""Secrets of channels: encrypted in the database, with a key in a file outside of it.

A secret may also be a reference, which is looked up at each use: `env:NOTIFY_…`, a variable of EGO's environment, or `file:/…`, a file in
one of FOLDERS. Nothing else can be referred to: whoever may write a channel must not read EGO's own keys with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Unavailable
from mirror_stage.storage import files

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

KEY_FILE = "notifications.key"
VARIABLES = "NOTIFY_"  # what a variable has to begin with
FOLDERS = ("/run/secrets", "/etc/mirror-stage/secrets")  # and that of systemd's LoadCredential
_READ_MAX = 64 * 1024


class Unreadable(Exception):
    """A secret that cannot be had. The message says why and what to do, and never what it is."""


class Secrets:
    """Seals what is secret of a channel, and opens it. The key is read or made at the first use."""

    def __init__(self, config: Config):
        self._file = config.secrets_key_file or config.authority_folder / KEY_FILE
        self._in_memory = config.testing and config.secrets_key_file is None
        self._key: Fernet | None = None

    def seal(self, channel: str, secrets: Mapping[str, str]) -> str | None:
        """The secrets of a channel by name, encrypted; None if there are none. Raises Unavailable if there is no key."""
        if not secrets:
            return None
        try:
            return self._opened().encrypt(json.dumps({"channel": channel, **secrets}).encode()).decode()
        except Unreadable as error:
            raise Unavailable(str(error)) from error

    def unseal(self, channel: str, sealed: str | None) -> dict[str, str]:
        """The secrets of a channel by name, references as they are. Raises Unreadable."""
        if sealed is None:
            return {}
        from cryptography.fernet import InvalidToken

        try:
            found: dict[str, Any] = json.loads(self._opened().decrypt(sealed.encode()))
        except InvalidToken:
            raise Unreadable(
                f"its secrets were encrypted with another key than {self._file}; put that key back, or enter the secrets again"
            ) from None
        if found.pop("channel", None) != channel:
            raise Unreadable("its secrets are those of another channel; enter them again")
        return found

    def _opened(self) -> Fernet:
        from cryptography.fernet import Fernet

        if self._key is None:
            try:
                self._key = Fernet(Fernet.generate_key() if self._in_memory else self._read_or_make())
            except (Unavailable, OSError, ValueError, BadSetting) as error:
                why = (
                    error.strerror
                    if isinstance(error, OSError)
                    else "it holds no key"
                    if isinstance(error, ValueError)
                    else error
                )
                raise Unreadable(f"MIRROR_STAGE_SECRETS_KEY_FILE: {self._file} cannot be used: {why}") from error
        return self._key

    def _read_or_make(self) -> bytes:
        from cryptography.fernet import Fernet

        folder = self._file.parent
        with files.as_owner_of(folder if folder.is_dir() else folder.parent):
            if not folder.is_dir():
                files.make_folder(folder)
            key = files.read_own(self._file)
            if key is None:
                key = Fernet.generate_key()
                files.write_own(self._file, key + b"\n")
            return key.strip()


def is_reference(text: str) -> bool:
    return text.startswith(("env:", "file:"))


def reference_trouble(text: str) -> str | None:
    """Why a reference is none; None if nothing is wrong with it, or if the text is no reference."""
    if text.startswith("env:"):
        name = text.removeprefix("env:")
        if not name.startswith(VARIABLES) or not name.replace("_", "").isalnum():
            return f"names a variable that does not begin with {VARIABLES}: only such a one is for channels"
    if text.startswith("file:"):
        path = Path(text.removeprefix("file:"))
        if ".." in path.parts or not any(path.is_relative_to(one) and path != Path(one) for one in _folders()):
            return f"names a file that is in none of these folders: {', '.join(_folders())}"
    return None


def resolve(text: str) -> str:
    """The secret that a text is, or refers to. Raises Unreadable."""
    trouble = reference_trouble(text)
    if trouble is not None:
        raise Unreadable(f"its secret {trouble}")
    if text.startswith("env:"):
        found = os.environ.get(text.removeprefix("env:"), "").strip()
        if not found:
            raise Unreadable(f"the variable {text.removeprefix('env:')} is not set for EGO")
        return found
    if text.startswith("file:"):
        path = Path(text.removeprefix("file:"))
        try:
            if not any(path.resolve(strict=True).is_relative_to(Path(one).resolve()) for one in _folders()):
                raise Unreadable(f"{path} leads to a file outside of its folder")
            with path.open("rb") as file:
                return file.read(_READ_MAX).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it holds no text"
            raise Unreadable(f"{path} cannot be read: {why}") from None
    return text


def _folders() -> tuple[str, ...]:
    of_systemd = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return (*FOLDERS, of_systemd) if of_systemd.startswith("/") else FOLDERS
