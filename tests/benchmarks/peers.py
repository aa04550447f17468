"""EGO beside InfluxDB and VictoriaMetrics, on the same samples and cores, one after the other in one run.

The others get the numbers of a sample in the line protocol, store them, and may lose the newest at a crash. EGO gets the
whole sample as JSON, answers after its commit, and keeps twin and alerts. So read the ratios as what that costs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import requests

from mirror_stage.core.clock import Clock
from mirror_stage.simulator.behaviour import Behaviour
from mirror_stage.simulator.fleet import make_fleet
from mirror_stage.simulator.signals import Moment
from mirror_stage.simulator.wire import Encoder
from tests.benchmarks.engines import SQLITE, Engines
from tests.fleet import simulated_fleet
from tests.servers import free_port, installed, listens, wait_until

HOSTS, SECONDS = 1_000, 8
CASES = ((1, 16), (100, 4))  # samples in a request, connections
COLUMNS = ("samples/s", "p99 ms", "CPU-s/1,000")


def main() -> int:
    """Measure all, print a table, and write JSON if `--json` names a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    asked = parser.parse_args()
    measured: list[dict[str, Any]] = []
    print(f"{'':34}" + "".join(f"{column:>16}" for column in COLUMNS))
    for batch, connections in CASES:
        for name, figures in measure(batch, connections):
            measured.append({"server": name, "batch": batch, "figures": figures})
            cells = "".join(f"{figures[c]:>16,.{3 if c.startswith('CPU') else 1}f}" for c in COLUMNS)
            print(f"{f'{name}, {batch} a request':34}{cells}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(measured, indent=1))
    return 0


def measure(batch: int, connections: int) -> Iterator[tuple[str, dict[str, float]]]:
    """(name of a server, its figures)."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        body = folder / "lines"
        body.write_bytes(lines(batch))
        for name, running in (("InfluxDB", running_influxdb), ("VictoriaMetrics", running_victoria)):
            (folder / name).mkdir()
            with running(folder / name) as (pid, url):
                yield name, post_lines(pid, url, body, batch, connections)
    with Engines() as engines, engines.ego(SQLITE) as ego:
        with simulated_fleet(ego, hosts=HOSTS, batch=100, rate="max", seconds=3, commands=False) as seed:
            seed.wait(40)
        before = ego.cpu_seconds()
        options: dict[str, Any] = {"batch": batch, "concurrency": connections, "rate": "max", "seconds": SECONDS}
        with simulated_fleet(ego, hosts=HOSTS, commands=False, **options) as fleet:
            result = fleet.wait(SECONDS + 30).result
        cpu = 1_000 * (ego.cpu_seconds() - before) / result["accepted"]
        yield "EGO", {"samples/s": result["samplesPerSecond"], "p99 ms": result["latencyMs"]["p99"], "CPU-s/1,000": cpu}


def lines(count: int) -> bytes:
    """The numbers of as many samples, in the line protocol."""
    now = Clock().now()
    moment = Moment(now)
    machines = list(make_fleet(HOSTS, 7).machines)[:count]
    samples = [orjson.loads(Encoder(Behaviour(machine)).sample(moment)) for machine in machines]
    return "\n".join(f"sample,host={one['hostname']} {','.join(fields(one))} {now}000000" for one in samples).encode()


def fields(sample: dict[str, Any]) -> Iterator[str]:
    """`name=value` of each number of a sample: its own, those of its disks and of its interfaces, and of its cores."""
    for name, value in sample.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{name}={value}"
    for name in ("disks", "interfaces"):
        for number, entry in enumerate(sample.get(name) or ()):
            for key, value in entry.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    yield f"{name}_{number}_{key}={value}"
    for number, value in enumerate(sample.get("cpu_per_core") or ()):
        yield f"core_{number}={value}"


def post_lines(pid: int, url: str, body: Path, batch: int, connections: int) -> dict[str, float]:
    """The figures of a server that takes `body` again and again."""
    script = body.with_suffix(".lua")
    script.write_text(f'wrk.method="POST"; local f=io.open("{body}","rb"); wrk.body=f:read("*a"); f:close()\n')
    command = [installed("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-s", str(script), url]
    before = cpu_seconds(pid)
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cpu = cpu_seconds(pid) - before
    rate, p99 = re.search(r"Requests/sec: +([0-9.]+)", told), re.search(r"99% +([0-9.]+)(us|ms|s)", told)
    assert "Non-2xx" not in told, told
    assert rate is not None, told
    assert p99 is not None, told
    samples = float(rate[1]) * batch
    milliseconds = float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1_000}[p99[2]]
    return {"samples/s": samples, "p99 ms": milliseconds, "CPU-s/1,000": 1_000 * cpu / (samples * SECONDS)}


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process since its start."""
    columns = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(columns[11]) + int(columns[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running_influxdb(folder: Path) -> Iterator[tuple[int, str]]:
    """An InfluxDB 1.x of Debian: (process id, URL for lines)."""
    port, other = free_port(), free_port()
    (folder / "conf").write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{other}"\n[meta]\ndir = "{folder}/meta"\n'
        f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\n'
        f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n'
    )
    command = [installed("influxd", "influxdb"), "-config", str(folder / "conf")]
    with running(command, port) as pid:
        requests.post(f"http://127.0.0.1:{port}/query", data={"q": "CREATE DATABASE t"}, timeout=10).raise_for_status()
        yield pid, f"http://127.0.0.1:{port}/write?db=t"


@contextlib.contextmanager
def running_victoria(folder: Path) -> Iterator[tuple[int, str]]:
    """A VictoriaMetrics of Debian: (process id, URL for lines)."""
    port = free_port()
    program = installed("victoria-metrics", "victoria-metrics")
    with running([program, f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}"], port) as pid:
        yield pid, f"http://127.0.0.1:{port}/write"


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """A server that listens on a port of this machine: its process id. It is ended afterwards."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(port), 20, what=f"{command[0]} listens")
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=20)


if __name__ == "__main__":
    sys.exit(main())
