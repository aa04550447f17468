"""The command lines that start the agent, also in an environment that has only psutil."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reflector.processes import running_agent
from tests.servers import ROOT, free_port, wait_until

# Imports fail for all packages but the standard library and what the agent needs, as if nothing else were installed.
ALONE = """
import sys
from importlib.abc import MetaPathFinder
NEEDED = {"mirror_stage", "psutil"}
class Alone(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in NEEDED | sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Alone())
from mirror_stage.runtime.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run_alone(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REFLECTOR_")}
    return subprocess.run(
        [sys.executable, "-c", ALONE, *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_once_prints_one_sample_without_an_ego() -> None:
    ran = run_alone("reflector", "run", "--once", "--hostname", "titan-01", "--uplink", "switch-1", "--allow-commands")
    assert (ran.returncode, ran.stderr) == (0, "")
    sample = json.loads(ran.stdout)
    assert (sample["hostname"], sample["command_policy"]) == ("titan-01", "all")
    assert sample["tags"]["uplink"] == "switch-1"
    assert sample["cpu_load"] >= 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("reflector", "run"), 2, "ego: say where EGO is, like --ego http://10.0.0.100:3000"),
        (
            ("reflector", "run", "--ego", "10.0.0.100"),
            2,
            "--ego: must begin with http:// or https://; it must be like http://10.0.0.100:3000",
        ),
        (("reflector", "check", "--ego", "http://127.0.0.1:1"), 1, ""),
        (("reflector", "--help"), 0, ""),
        (("--version",), 0, ""),
    ],
)
def test_every_subcommand_works_without_the_libraries_of_ego(
    arguments: tuple[str, ...], status: int, said: str
) -> None:
    ran = run_alone(*arguments)
    assert ran.returncode == status
    assert ran.stderr.startswith(f"mirror-stage: {said}" if said else "")
    assert ran.stderr.count("\n") == (1 if said else 0)


def test_a_second_agent_with_the_same_state_refuses_in_one_line(tmp_path: Path) -> None:
    with running_agent(tmp_path, f"http://127.0.0.1:{free_port()}") as agent:
        wait_until((agent.state / "journal").exists)
        ran = run_alone("reflector", "run", "--ego", agent.ego, "--state-dir", str(agent.state))
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"mirror-stage: state_dir: another agent uses {agent.state}")
    assert ran.stderr.count("\n") == 1
