"""The keys that EGO signs with, and the folder where they lie: that of the TLS authority, outside of database and backups.

| file | |
|---|---|
| `signing-root.pub` | the root key that agents pin, base64; it never changes |
| `signing-root.key` | its private half; needed for a new online key only, so it may be kept elsewhere |
| `signing-online.json` | the online key with its certificate; 90 days |
| `signing.seq` | a number: commands may have used it and every smaller one |
| `audit.heads` | the signed heads of the audit, one a line |
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.instants import DAY, Instant
from mirror_stage.core.signed import (
    ONLINE_KEY,
    VERSION,
    OnlineKey,
    ego_of,
    from_text64,
    key_of,
    online_key_of,
    to_sign,
    to_text64,
)
from mirror_stage.signing.private_keys import PrivateKey, Unusable
from mirror_stage.storage import files
from mirror_stage.storage.private_folder import PrivateFolder

ONLINE_LASTS: Instant = 90 * DAY
RENEWED_AFTER: Instant = 60 * DAY
BACKDATED: Instant = DAY  # agents whose clocks are behind accept a new key, too
ROOT_PUBLIC, ROOT_KEY, ONLINE, SEQ, HEADS = (
    "signing-root.pub", "signing-root.key", "signing-online.json", "signing.seq", "audit.heads",
)  # fmt: skip


@dataclass(frozen=True)
class Keys:
    """What EGO signs with: the online key, the certificate that each envelope carries, and the root that agents pin."""

    root: bytes
    has_root_key: bool
    online: PrivateKey
    certificate: dict[str, str]
    about: OnlineKey

    def envelope(self, purpose: str, members: dict[str, Any]) -> dict[str, Any]:
        """A signed statement, as it goes over the wire."""
        return {**_signed(self.online, self.root, purpose, members), "keyCertificate": self.certificate}


def made(root: PrivateKey, now: Instant, *, has_root_key: bool = True) -> Keys:
    """A new online key that the root certifies from now on."""
    online = PrivateKey.new()
    about = OnlineKey(online.public, now - BACKDATED, now - BACKDATED + ONLINE_LASTS)
    members = {"key": to_text64(about.public), "begins": about.begins, "ends": about.ends}
    return Keys(root.public, has_root_key, online, _signed(root, root.public, ONLINE_KEY, members), about)


def _signed(key: PrivateKey, root: bytes, purpose: str, members: dict[str, Any]) -> dict[str, str]:
    statement = {"v": VERSION, "purpose": purpose, "ego": ego_of(root), **members}
    payload = json.dumps(statement, ensure_ascii=False, separators=(",", ":")).encode()
    return {"payload": to_text64(payload), "signature": to_text64(key.sign(to_sign(payload)))}


class KeyFolder(PrivateFolder):
    """The keys in a folder. Each step reads the folder anew, because a command line may change it."""

    def existing(self) -> Keys | None:
        """The keys in the folder; None if there are none yet. Raises BadSetting if they cannot be used."""
        with self.as_owner():
            return self._existing() if self.folder.is_dir() else None

    def ensure(self, now: Instant, *, anew: bool = False) -> Keys:
        """The keys. Makes what is missing, and renews an online key that is due, or at once if `anew`.

        Without the root's private key an online key that is due stays. Raises BadSetting if a new one is necessary.
        """
        with self.as_owner():
            files.make_folder(self.folder)
            found = self._existing()
            if found is not None and not anew and now < found.about.begins + RENEWED_AFTER:
                return found
            root = self._root()
            if root is None:
                if found is not None and not anew:
                    return found
                raise BadSetting(
                    f"MIRROR_STAGE_TLS_DIR: {self.folder / ROOT_KEY} is not there; put it back for the moment, then run: "
                    "mirror-stage signing rotate"
                )
            keys = made(root, now)
            self.write(ONLINE, json.dumps({"key": keys.online.pem.decode(), "certificate": keys.certificate}).encode())
            return keys

    def read_seq(self) -> int:
        """The highest reserved number: the next command must have a larger one."""
        with self.as_owner():
            text = (self.read(SEQ) or b"").strip()
            return int(text) if text.isdigit() else 0

    def reserve_seq(self, seq: int) -> None:
        """Note, on the disk, that numbers up to this one may be in use."""
        with self.as_owner():
            self.write(SEQ, b"%d\n" % seq)

    def append_head(self, line: str) -> None:
        """Append a signed head of the audit; on the disk when this returns."""
        with self.as_owner():
            files.append_own(self.folder / HEADS, line.encode() + b"\n")

    def root(self) -> bytes | None:
        """The public root key; None if there is none yet. Raises BadSetting."""
        with self.as_owner():
            text = self.read(ROOT_PUBLIC) if self.folder.is_dir() else None
            try:
                return None if text is None else key_of(text.decode().strip())
            except ValueError as error:
                raise BadSetting(
                    f"MIRROR_STAGE_TLS_DIR: {self.folder / ROOT_PUBLIC} was changed; restore it from a copy"
                ) from error

    def heads(self) -> list[str]:
        """The lines of the heads, oldest first; empty if there are none."""
        with self.as_owner():
            if not (self.folder / HEADS).exists():
                return []
            with os.fdopen(files.open_own(self.folder / HEADS, os.O_RDONLY), "rb") as file:
                return file.read().decode(errors="replace").splitlines()

    def _existing(self) -> Keys | None:
        text, content = self.read(ROOT_PUBLIC), self.read(ONLINE)
        if text is None or content is None:
            return None
        try:
            root, stored = from_text64(text.decode().strip()), json.loads(content)
            online, about = PrivateKey.of(stored["key"].encode()), online_key_of(stored["certificate"], root)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadSetting(
                f"MIRROR_STAGE_TLS_DIR: {self.folder / ONLINE} or {ROOT_PUBLIC} beside it was changed; restore both from a copy, or "
                f"remove {ONLINE} and put {ROOT_KEY} there: EGO makes a new online key from it"
            ) from error
        if online.public != about.public:
            raise BadSetting(
                f"MIRROR_STAGE_TLS_DIR: {self.folder / ONLINE} has a key that its certificate does not name"
            )
        return Keys(root, (self.folder / ROOT_KEY).exists(), online, stored["certificate"], about)

    def _root(self) -> PrivateKey | None:
        """The root's private key, None if it is kept elsewhere. Makes the root if there has never been one."""
        text, pem = self.read(ROOT_PUBLIC), self.read(ROOT_KEY)
        if pem is None:
            if text is not None:
                return None
            if self.read(ONLINE) is not None:
                raise BadSetting(
                    f"MIRROR_STAGE_TLS_DIR: {self.folder / ROOT_PUBLIC} is not there, although agents trust it; restore it from a copy"
                )
            root = PrivateKey.new()
            self.write(ROOT_KEY, root.pem)
        else:
            try:
                root = PrivateKey.of(pem)
            except Unusable as error:
                raise BadSetting(
                    f"MIRROR_STAGE_TLS_DIR: {self.folder / ROOT_KEY} {error}; restore it from a copy"
                ) from error
        if text is None:
            self.write(ROOT_PUBLIC, to_text64(root.public).encode() + b"\n")
        elif to_text64(root.public) != text.decode().strip():
            raise BadSetting(
                f"MIRROR_STAGE_TLS_DIR: {self.folder / ROOT_KEY} is not the key of {ROOT_PUBLIC}, which agents trust; restore it from a "
                "copy"
            )
        return root
