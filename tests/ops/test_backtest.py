"""`mirror-stage alerts backtest`: a rule of a file, or one that EGO has, against the history of a running EGO."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.builders import make_sample
from tests.command_line import forked
from tests.servers import EgoServer, running_ego, wait_until

ROOT = Path(__file__).resolve().parents[2]

RULE = """[rules.hot]
measure = "cpuLoad"
steps = [{severity = "warning", fire = 80, resolve = 70}]
resolveFor = "2m"
for = "3m"
"""


def backtest(ego: EgoServer, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    return forked(["alerts", "backtest", *words, "--ego", ego.url], cwd=folder, env=variables)


def test_a_rule_of_a_file_and_one_that_ego_has_are_tested(tmp_path: Path) -> None:
    (tmp_path / "rule.toml").write_text(RULE)
    with running_ego(tmp_path) as ego:
        begin = int(time.time()) // 60 * 60 - 3600
        loads = [20] * 60 + [90] * 60 + [20] * 60
        ego.post(
            "/api/metrics/batch",
            json={
                "samples": [
                    make_sample("hot-1", at=(begin + n * 10) * 1000, cpu_percent=load) for n, load in enumerate(loads)
                ]
            },
        )

        def answer() -> dict[str, Any] | None:
            found = backtest(ego, tmp_path, "rule.toml", "--days", "1", "--json")
            assert found.returncode == 0, found.stderr
            told: dict[str, Any] = json.loads(found.stdout)
            return told if told["total"] else None

        told = wait_until(answer, 30)
        assert [(one["hostname"], one["isCertain"]) for one in told["marks"]] == [("hot-1", True)]
        assert [one["certain"] for one in told["byFor"]] == [1, 1, 1, 1, 0]
        shown = backtest(ego, tmp_path, "cpu_load_high", "--days", "1")
        assert shown.returncode == 0, shown.stderr
        assert "  for   0s: 1 time on 1 hosts, 0 shorter than 2 min\n" in shown.stdout
        assert "  hot-1 from " in shown.stdout
        assert shown.stdout.endswith("not known: what was open before the first day\n")
        missing = backtest(ego, tmp_path, "nothing")
        assert (missing.returncode, "there is no alert rule nothing" in missing.stderr) == (1, True)
