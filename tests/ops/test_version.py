"""The version moves with every commit, so that a newer wheel replaces an older one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.core.version import FILE, RELEASE, VERSION, version_of
from tests.servers import ROOT, installed


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git repository without a tag and without a commit."""
    folder = tmp_path / "checkout"
    (folder / "mirror_stage/core").mkdir(parents=True)
    subprocess.run([installed("git", "git"), "init", "--quiet", str(folder)], check=True)
    return folder


def commit(folder: Path) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run(["git", "-C", str(folder), *who, "commit", "--quiet", "--allow-empty", "-m", "more"], check=True)


def test_every_commit_makes_a_newer_version(checkout: Path) -> None:
    assert version_of(checkout) == RELEASE
    commit(checkout)
    first = version_of(checkout)
    assert first.startswith(f"{RELEASE}.post1+g")
    commit(checkout)
    assert Version(RELEASE) < Version(first) < Version(version_of(checkout))


def test_the_version_file_is_preferred_to_the_commits(checkout: Path) -> None:
    commit(checkout)
    (checkout / "mirror_stage/core" / FILE).write_text("0.1.0.post7+g1234567\n")
    assert version_of(checkout) == "0.1.0.post7+g1234567"


def test_a_copy_without_a_history_is_the_release(checkout: Path) -> None:
    shutil.rmtree(checkout / ".git")
    assert version_of(checkout) == RELEASE


def test_the_command_and_the_server_show_the_version() -> None:
    command = [sys.executable, "-m", "mirror_stage.runtime.cli", "--version"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said == f"mirror-stage {VERSION}\n"
    assert create_app(Config(testing=True)).test_client().get("/api/info").json["version"] == VERSION
