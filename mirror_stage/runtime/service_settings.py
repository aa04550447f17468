"""The settings of EGO as a service of systemd, for the commands that look after it: `doctor` and `db`.

The unit and these commands read the same files. So `sudo mirror-stage db backup FILE` saves the service's database.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from dotenv import dotenv_values

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.reflector.service_unit import this_program

UNIT = "etc/systemd/system/mirror-stage-ego.service"
DATABASES = ("MIRROR_STAGE_DB_URL", "MIRROR_STAGE_SQLITE_PATH")


def adopt() -> None:
    """Put the settings of the service into the environment, if the service starts this program.

    Not if there is a `.env` in the folder, or if the environment names a database.
    """
    if Path(".env").exists() or any(os.environ.get(name) for name in DATABASES):
        return
    found = of_service(this_program())
    if found:
        print(f"mirror-stage: with the settings of the service: /{UNIT}", file=sys.stderr)
        os.environ.update(found | os.environ)


def of_service(program: Path, root: Path = Path("/")) -> dict[str, str]:
    """What the unit of this machine sets, if it starts `program`; else nothing. Raises BadSetting."""
    unit = root / UNIT
    try:
        if not unit.exists():
            return {}
        lines = [line for file in (unit, *sorted(Path(f"{unit}.d").glob("*.conf"))) for line in _assignments(file)]
        started = [value.lstrip("@-:+!").split()[0] for name, value in lines if name == "ExecStart" and value]
        if not started or Path(started[-1]) != program:
            return {}
        return _settings(lines, root)
    except PermissionError as error:
        raise BadSetting(f"{error.filename}: only root may read the service's settings: use sudo") from error


def _settings(lines: list[tuple[str, str]], root: Path) -> dict[str, str]:
    """The variables of a unit's process. Those of a file win, as for systemd."""
    found: dict[str, str] = {}
    from_files: dict[str, str] = {}
    folder = Path("/")
    for name, value in lines:
        if name == "Environment":
            found |= dict(word.split("=", 1) for word in shlex.split(value) if "=" in word)
        elif name == "EnvironmentFile" and value:
            from_files |= _file(root / value.removeprefix("-").lstrip("/"))
        elif name == "WorkingDirectory":
            folder = root / value.lstrip("/")
    found |= from_files
    found["MIRROR_STAGE_SQLITE_PATH"] = str(folder / (found.get("MIRROR_STAGE_SQLITE_PATH") or "mirror_stage.db"))
    return found


def _file(path: Path) -> dict[str, str]:
    """The variables of an EnvironmentFile, none if it is not there."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8") as opened:
        return {
            name: text for name, text in dotenv_values(stream=opened, interpolate=False).items() if text is not None
        }


def _assignments(file: Path) -> Iterator[tuple[str, str]]:
    """The lines `Name=value` of a unit."""
    for line in file.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith(("#", ";")):
            yield name.strip(), value.strip()
