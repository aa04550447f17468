"""What is installed is what was tested: pyproject.toml, the lock in requirements/ and the environment agree."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
RUN = [*PROJECT["project"]["dependencies"], *EXTRAS["build"]]
AGENT = tomllib.loads((ROOT / "packaging/reflector/pyproject.toml").read_text())["project"]["dependencies"]
DECLARED = {"run": RUN, "dev": [*RUN, *EXTRAS["dev"]], "agent": AGENT}
NOT_LOCKED = {"mirror-stage", "setuptools"}  # this project, and what a new environment brings with it


def text_of(lock: str) -> str:
    return (ROOT / f"requirements/{lock}.txt").read_text()


def pins_of(lock: str) -> dict[str, Requirement]:
    """Every locked package by its name, for whatever machine it is."""
    lines = re.findall(r"^(\w.*?) \\$", text_of(lock), re.MULTILINE)
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, lines)}


def version_of(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "==", f"{pin} is no exact version"
    return specifier.version


def pinned_here(lock: str) -> dict[str, str]:
    """The locked version of each package that this machine needs."""
    pins = pins_of(lock)
    return {name: version_of(pin) for name, pin in pins.items() if pin.marker is None or pin.marker.evaluate()}


@pytest.mark.parametrize("lock", DECLARED)
def test_the_lock_satisfies_every_requirement_of_pyproject(lock: str) -> None:
    pins = pins_of(lock)
    for declared in map(Requirement, DECLARED[lock]):
        pin = pins.get(canonicalize_name(declared.name))
        assert pin is not None, f"requirements/{lock}.txt lacks {declared}: make lock"
        assert declared.specifier.contains(version_of(pin)), (
            f"requirements/{lock}.txt has {pin}, not {declared}: make lock"
        )


@pytest.mark.parametrize("lock", DECLARED)
def test_every_locked_package_has_its_hashes_and_no_registry_is_named(lock: str) -> None:
    text = text_of(lock)
    for block in re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block
    assert "://" not in text
    assert "--index-url" not in text
    assert "--find-links" not in text


def test_both_locks_have_the_same_versions() -> None:
    run, dev = pins_of("run"), pins_of("dev")
    assert str(pins_of("agent")["psutil"].specifier) == str(run["psutil"].specifier)
    assert {name: str(pin.specifier) for name, pin in run.items()} == {name: str(dev[name].specifier) for name in run}


def test_what_builds_the_wheel_is_locked_too() -> None:
    assert set(PROJECT["build-system"]["requires"]) <= set(EXTRAS["build"])


def test_the_environment_is_the_lock() -> None:
    installed = {canonicalize_name(found.name): found.version for found in distributions()}
    found = {name: version for name, version in installed.items() if name not in NOT_LOCKED}
    assert found == pinned_here("dev"), "what is installed is not what requirements/dev.txt says: make clean test"
