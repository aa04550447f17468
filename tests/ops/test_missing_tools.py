"""Where something is missing that tests need, they are skipped, and say in one line what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ops import debian
from tests.servers import ROOT


def run(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """How a test of Redis ends where PATH has none."""
    test = "tests/ops/test_doctor.py::test_redis_that_answers_is_fine"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", test]
    environment = {"PATH": str(folder), "HOME": str(folder)} | variables
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_missing_program_skips_its_tests_and_is_named_in_the_last_lines(tmp_path: Path) -> None:
    ended = run(tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert "1 skipped" in ended.stdout
    assert "to run the skipped tests, too: sudo apt install redis-server" in ended.stdout.splitlines()


def test_on_ci_a_missing_program_is_a_failure(tmp_path: Path) -> None:
    ended = run(tmp_path, CI="true")
    assert ended.returncode == 1
    assert "redis-server is not installed: apt install redis-server" in ended.stdout


def test_a_machine_that_cannot_boot_others_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert debian.why_not() == "only root can boot other machines"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "mmdebstrap" else f"/usr/bin/{name}")
    assert debian.why_not() == "missing: apt install mmdebstrap"
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(debian, "sources", lambda: "")
    assert debian.why_not() == "apt knows no mirror of Debian: apt update"
