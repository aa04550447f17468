"""Builds the wheels that EGO serves to the hosts it watches, in build/agent: `make agent-wheels`.

The agent's own wheel, and what it needs there: psutil for each kind of machine, and tomli, as requirements/agent.txt locks them.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build/agent"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_28_aarch64", "musllinux_1_2_x86_64", "musllinux_1_2_aarch64")


def build(into: Path = FOLDER, root: Path = ROOT) -> None:
    """Build the agent's wheel anew, and download what is missing of the others. Raises RuntimeError with the reason.

    The folder is replaced as a whole, so that nobody ever sees half of it.
    """
    lock = (root / "requirements/agent.txt").read_text(encoding="utf-8")
    into.parent.mkdir(exist_ok=True)
    with (into.parent / "agent.lock").open("w") as one_at_a_time, tempfile.TemporaryDirectory(dir=into.parent) as made:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        new = Path(made, "agent")
        new.mkdir()
        _run("hatchling", "build", "--target", "wheel", "--directory", str(new), folder=root / "packaging/reflector")
        for wheel in into.glob("*.whl") if into.is_dir() else ():
            if hashlib.sha256(wheel.read_bytes()).hexdigest() in lock:
                shutil.copy2(wheel, new)
        wanted = Path(made, "agent.txt")
        wanted.write_text(re.sub(r" ; .*(?= \\$)", "", lock, flags=re.MULTILINE))  # for each Python, not for this one
        for platform in PLATFORMS:
            if not any(is_for(platform, wheel.name) for wheel in new.iterdir()) or not [*new.glob("tomli-*")]:
                _download(wanted, platform, new)
        for wheel in new.iterdir():
            wheel.chmod(0o644)
        former = Path(made, "former")
        if into.exists():
            into.rename(former)
        new.rename(into)


def is_for(platform: str, wheel: str) -> bool:
    """Whether a wheel of psutil is for this platform."""
    libc, _, _, machine = platform.split("_", 3)
    return wheel.startswith("psutil-") and libc in wheel and wheel.endswith(f"_{machine}.whl")


def _download(wanted: Path, platform: str, into: Path) -> None:
    kind = [
        "--only-binary=:all:",
        "--python-version=3.9",
        "--implementation=cp",
        "--abi=abi3",
        f"--platform={platform}",
    ]
    _run("pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--require-hashes", *kind,
         "--requirement", str(wanted), "--dest", str(into))  # fmt: skip


def _run(module: str, *words: str, folder: Path = ROOT) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = [line for line in (done.stderr or done.stdout).splitlines() if not line.startswith("WARNING")]
        raise RuntimeError(f"python -m {module}: {' '.join(said)[-600:]}")


if __name__ == "__main__":
    try:
        build()
    except (RuntimeError, OSError) as failed:
        sys.exit(f"the wheels of the agent could not be built: {failed}")
