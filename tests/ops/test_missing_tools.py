"""Where a program is missing that tests need, `make test` passes, and says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
