"""Secrets of channels at rest, and references to secrets elsewhere."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mirror_stage.core.config import Config
from mirror_stage.notifications.secrets import Secrets, Unreadable, reference_trouble, resolve


def secrets(tmp_path: Path, name: str = "n.key") -> Secrets:
    return Secrets(Config(secrets_key_file=tmp_path / name))


def test_a_secret_is_encrypted_with_a_key_that_only_egos_user_can_read(tmp_path: Path) -> None:
    sealed = secrets(tmp_path).seal("ops", {"url": "https://x/planted", "secret": "planted"})
    assert sealed is not None
    assert "planted" not in sealed
    assert secrets(tmp_path).unseal("ops", sealed) == {"url": "https://x/planted", "secret": "planted"}
    assert stat.S_IMODE((tmp_path / "n.key").stat().st_mode) == 0o600


def test_a_secret_cannot_be_read_with_another_key_nor_as_another_channel(tmp_path: Path) -> None:
    sealed = secrets(tmp_path).seal("ops", {"secret": "planted"})
    with pytest.raises(Unreadable, match="another key") as found:
        secrets(tmp_path, "other.key").unseal("ops", sealed)
    assert "planted" not in str(found.value)
    with pytest.raises(Unreadable, match="another channel"):
        secrets(tmp_path).unseal("phone", sealed)


def test_a_key_file_of_nonsense_is_said(tmp_path: Path) -> None:
    (tmp_path / "n.key").write_text("nonsense")
    with pytest.raises(Unreadable, match=r"n\.key cannot be used: it holds no key"):
        secrets(tmp_path).unseal("ops", "x")


def test_references_are_looked_up_at_each_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_TOKEN", "one")
    assert resolve("env:NOTIFY_TOKEN") == "one"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "token").write_text("two\n")
    assert resolve(f"file:{tmp_path}/token") == "two"
    assert resolve("three") == "three"


@pytest.mark.parametrize(
    "text",
    ["env:MIRROR_STAGE_DB_URL", "env:PATH", "file:/etc/passwd", "file:/run/secrets/../passwd", "file:/run/secrets"],
)
def test_nothing_else_can_be_referred_to(text: str) -> None:
    assert reference_trouble(text)
    with pytest.raises(Unreadable):
        resolve(text)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "key").write_text("private")
    (tmp_path / "in/token").symlink_to(tmp_path / "key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "in"))
    with pytest.raises(Unreadable, match="outside"):
        resolve(f"file:{tmp_path}/in/token")
