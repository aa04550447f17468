"""Every command has a description, and docs/commands.md has its exit codes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from mirror_stage.runtime import cli
from mirror_stage.runtime.completion import parsers
from tests.command_line import forked
from tests.servers import ROOT, free_port

PAGE = (ROOT / "docs/commands.md").read_text()
CODES = {row[0]: row[1:] for row in re.findall(r"^\| `([a-z ]+)` \| (.+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)}


ALL = dict(parsers(cli._parser()))
COMMANDS = [name for name, parser in ALL.items() if parser.get_default("run") is not None]


def run(words: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """How a command ends in an empty folder."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)} | settings
    return forked(words.split(), cwd=folder, env=variables)


@pytest.mark.parametrize("name", ALL)
def test_every_help_begins_with_a_description(name: str) -> None:
    description = ALL[name].description or ""
    assert description.endswith(".")
    assert " ".join(description.split()) in " ".join(ALL[name].format_help().split())


def test_the_page_has_every_command_and_no_other() -> None:
    assert set(CODES) == set(COMMANDS)


@pytest.mark.parametrize(
    ("words", "status", "settings"),
    [
        ("--version", 0, {}),
        ("serve", 1, {"MIRROR_STAGE_SQLITE_PATH": "/proc/ego.db"}),
        ("serve", 2, {"MIRROR_STAGE_TLS_CERT": "ego.pem"}),
        ("demo", 2, {"PORT": "none"}),
        ("simulate --ego http://127.0.0.1:9 --hosts 1", 1, {}),
        ("simulate --ego ftp://ego", 2, {}),
        ("doctor", 0, {}),
        ("doctor", 1, {"PORT": "none"}),
        ("db upgrade", 0, {}),
        ("db current", 0, {}),
        ("db current", 1, {"MIRROR_STAGE_DB_URL": "postgresql://127.0.0.1:9/none"}),
        ("db downgrade base", 2, {}),
        ("db backup file", 2, {}),
        ("db restore file", 2, {}),
        ("db copy --to sqlite:///new.db", 2, {}),
        ("db stats", 2, {}),
        ("admin link", 1, {}),
        ("admin link --name EGO", 2, {}),
        ("users list", 1, {}),
        ("users add ada", 2, {}),
        ("users password ada", 2, {}),
        ("users disable ada", 1, {}),
        ("enroll code", 1, {}),
        ("enroll code --uses 0", 2, {}),
        ("enroll code --for 31d", 2, {}),
        ("enroll code --label rack", 2, {}),
        ("enroll codes", 1, {}),
        ("enroll end x", 1, {}),
        ("enroll field titan-01 --address titan", 2, {}),
        ("agents list", 1, {}),
        ("agents approve titan-01", 1, {}),
        ("agents label titan-01 rack=R2", 1, {}),
        ("agents label titan-01 rack", 2, {}),
        ("agents revoke", 2, {}),
        ("tokens list", 1, {}),
        ("tokens create --role admin --agent titan-01", 2, {}),
        ("tokens create --agent titan-01 --expires 1y", 2, {}),
        ("tokens revoke x", 1, {}),
        ("sessions list", 1, {}),
        ("sessions end", 2, {}),
        ("audit verify", 1, {}),
        ("audit list --rows 0", 2, {}),
        ("audit export", 1, {}),
        ("tls show", 0, {}),
        ("tls root", 1, {}),
        ("tls renew", 0, {}),
        ("tls renew", 2, {"MIRROR_STAGE_TLS_DIR": "/proc/none"}),
        ("signing show", 1, {}),
        ("signing rotate", 1, {}),
        ("signing show", 2, {"PORT": "none"}),
        ("dispatch stop", 1, {}),
        ("dispatch stop --reason " + "x" * 501, 2, {}),
        ("dispatch resume", 1, {}),
        ("dispatch status --nothing", 2, {}),
        ("alerts export --ego http://127.0.0.1:9", 1, {}),
        ("alerts test ops --ego http://127.0.0.1:9", 1, {}),
        ("alerts backtest cpu_load_high --ego http://127.0.0.1:9", 1, {}),
        ("alerts backtest none.toml", 2, {}),
        ("alerts plan none.toml", 2, {}),
        ("alerts apply none.toml", 2, {}),
        ("silences add --where rack:R1 --lasts 1h", 1, {}),
        ("silences add --where web-1 --lasts 1h", 2, {}),
        ("silences add --where rack:R1", 2, {}),
        ("silences list", 1, {}),
        ("silences end", 2, {}),
        ("run titan-01 uptime --ego http://127.0.0.1:9", 1, {}),
        ("run --ego http://127.0.0.1:9 titan-01 uptime", 1, {}),
        ("run titan-01", 2, {}),
        ("hosts forget --where web-* --ego http://127.0.0.1:9", 1, {}),
        ("hosts forget --where rak:R1", 2, {}),
        ("hosts forget --where web-* --ego ftp://ego", 2, {}),
        ("reflector run --once", 0, {}),
        ("reflector run", 2, {}),
        ("reflector check --ego http://127.0.0.1:9", 1, {}),
        ("reflector check", 2, {}),
        ("reflector stop --state-dir none", 1, {}),
        ("reflector resume --state-dir none", 1, {}),
        ("reflector install --interval-seconds 0", 2, {}),
        ("reflector uninstall --purges", 2, {}),
        ("completion bash", 0, {}),
        ("completion fish", 2, {}),
        ("nothing", 2, {}),
    ],
)
def test_a_command_ends_as_the_page_says(words: str, status: int, settings: dict[str, str], tmp_path: Path) -> None:
    ended = run(words, tmp_path, **({"PORT": str(free_port())} | settings))
    assert ended.returncode == status, ended.stderr
    assert "Traceback" not in ended.stderr
    name = next((name for name in COMMANDS if words.startswith(name)), "")
    assert status == 2 or not name or CODES[name][status] != "–"
