"""What else EGO has to do in time: commands, twin state over REST, frames, memory, and a start with known hosts.

Each figure stands beside a floor of the same run: the same gunicorn with an application that only answers.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from mirror_stage.simulator.client import Client
from tests.benchmarks.engines import ENGINES, TWO_WORKERS, Engines
from tests.benchmarks.floor import running_floor
from tests.builders import make_sample
from tests.faults.browsers import GoodBrowser
from tests.fleet import simulated_fleet
from tests.servers import EgoServer, installed

SECONDS = 6.0
CONNECTIONS = 16
DISPATCHES = 100


def main() -> int:
    """Measure on the engines, print a table, and write JSON if `--json` names a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=ENGINES, action="append", help="default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    asked = parser.parse_args()
    measured: dict[str, dict[str, float]] = {}
    with Engines() as engines:
        with tempfile.TemporaryDirectory() as folder:
            measured["floors"] = {}
            for application in ("wsgi", "flask"):
                body = Path(folder) / "body"
                body.write_bytes(orjson.dumps({"samples": [make_sample()]}))
                with running_floor(Path(folder), application) as url:
                    figure = requests_per_second(f"{url}/api/metrics/batch", body)
                measured["floors"][f"{application}: POST requests/s"] = figure
            show("floors", measured["floors"])
        for engine in asked.engine or ENGINES:
            measured[engine] = on_engine(engines, engine)
    if asked.json:
        asked.json.write_text(json.dumps(measured, indent=1))
    return 0


def on_engine(engines: Engines, engine: str) -> dict[str, float]:
    """The figures of one engine, printed as they come."""
    figures: dict[str, float] = {}

    def note(name: str, value: float) -> None:
        figures[name] = value
        show(engine, {name: value})

    with engines.ego(engine) as ego:
        note("command round trips/s", round_trips_per_second(ego))
        delays = sorted(dispatch_ms(ego))
        note("dispatch p50 ms", statistics.median(delays))
        note("dispatch p99 ms", delays[int(0.99 * len(delays))])
    for hosts in (1_000, 5_000):
        with engines.ego(engine) as ego:
            with simulated_fleet(ego, hosts=hosts, batch=100, interval=1, seconds=10, commands=False) as fleet:
                fleet.wait(60)
            note(f"MB of memory, {hosts:,} hosts", ego.rss_bytes() / 1e6)
            if hosts == 1_000:
                note("GET /api/twin/state/s, 1,000 hosts", requests_per_second(f"{ego.url}/api/twin/state"))
                for name, value in bytes_per_second(ego, hosts).items():
                    note(f"{name} for a viewer, 1,000 hosts", value)
            if engine != TWO_WORKERS:
                note(f"s to start after SIGTERM, {hosts:,} hosts", start_seconds(ego, ego.stop))
                note(f"s to start after kill -9, {hosts:,} hosts", start_seconds(ego, ego.kill))
    return figures


def show(engine: str, figures: dict[str, float]) -> None:
    for name, value in figures.items():
        print(f"{engine:12} {name:40} {value:>12,.1f}", flush=True)


# ------------------------------------------------------------------ commands


def round_trips_per_second(ego: EgoServer) -> float:
    """How many commands are created, claimed and reported a second, on CONNECTIONS connections, each of its own host."""
    hosts = [f"bench-{number:02d}" for number in range(CONNECTIONS)]
    ego.post_samples(*(make_sample(host, command_policy="all") for host in hosts))
    done = [0] * CONNECTIONS
    until = time.monotonic() + SECONDS

    def work(number: int) -> None:
        client, host = Client(ego.url), hosts[number]
        while time.monotonic() < until:
            round_trip(client, host)
            done[number] += 1

    began = time.monotonic()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.monotonic() - began)


def round_trip(client: Client, host: str) -> None:
    """Create a command, claim it, report its result."""
    body = orjson.dumps({"hostname": host, "command": "uptime"})
    assert client.post("/api/commands", body).status == 201
    claimed = client.get(f"/api/commands/pending/{host}?limit=1").json
    result = orjson.dumps({"status": "succeeded", "exitCode": 0, "stdout": "up"})
    assert client.post(f"/api/commands/{claimed[0]['id']}/result", result).status == 201


def dispatch_ms(ego: EgoServer) -> list[float]:
    """The times from the request that creates a command until the waiting agent has it, in ms."""
    host, sender, agent = "bench-dispatch", Client(ego.url), Client(ego.url)
    ego.post_samples(make_sample(host, command_policy="all"))
    found = []
    for _ in range(DISPATCHES):
        got: list[float] = []

        def wait(got: list[float] = got) -> None:
            claimed = agent.get(f"/api/commands/pending/{host}?wait=20&limit=1").json
            got.append(time.monotonic())
            agent.post(f"/api/commands/{claimed[0]['id']}/result", orjson.dumps({"status": "succeeded"}))

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.02)  # the poll has to be there before the command
        began = time.monotonic()
        sender.post("/api/commands", orjson.dumps({"hostname": host, "command": "uptime"}))
        thread.join()
        found.append(1_000 * (got[0] - began))
    return found


# ------------------------------------------------------------------ the rest


def requests_per_second(url: str, body: Path | None = None) -> float:
    """The rate of one request on CONNECTIONS connections, by wrk: a POST of the file `body`, or a GET."""
    options = [installed("wrk", "wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS:g}s"]
    if body is not None:
        script = body.with_suffix(".lua")
        script.write_text(f'wrk.method="POST"; local f=io.open("{body}","rb"); wrk.body=f:read("*a"); f:close()\n')
        options += ["-s", str(script)]
    told = subprocess.run([*options, url], check=True, capture_output=True, text=True).stdout
    found = re.search(r"Requests/sec: +([0-9.]+)", told)
    assert "Non-2xx" not in told, told
    assert found is not None, told
    return float(found[1])


def bytes_per_second(ego: EgoServer, hosts: int) -> dict[str, float]:
    """What a viewer of each stream receives, in kB a second, while every host reports each second."""
    found = {}
    with simulated_fleet(ego, hosts=hosts, batch=100, interval=1, seconds=int(SECONDS) * 3, commands=False):
        for stream in ("full", "delta"):
            browser = GoodBrowser(ego.port, stream=stream)
            time.sleep(1)
            before, began = browser.received_bytes, time.monotonic()
            time.sleep(SECONDS)
            found[f"{stream} kB/s"] = (browser.received_bytes - before) / (time.monotonic() - began) / 1_000
            browser.close()
    return found


def start_seconds(ego: EgoServer, end: Callable[[], object]) -> float:
    """The seconds from a start until EGO is ready, after it was ended like this."""
    end()
    began = time.monotonic()
    ego.start()
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
