"""Two machines, each with a network of its own (a namespace of Linux): one is cut off from PostgreSQL and Redis, and comes back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.builders import make_sample
from tests.cluster.conftest import Pair, takes
from tests.faults import print_figures
from tests.faults.cables import Cable
from tests.faults.load import Batches, Load, stored_samples
from tests.servers import EgoServer, PostgresqlServer, RedisServer, installed, slowness, wait_until

TAKEN_OVER_SECONDS = 5.0  # 1.5 s until an owner counts as lost, the beats, and the next one's start
ALERT_EVENTS = "SELECT 1 FROM alert_events e JOIN alerts a ON a.id = e.alert_id WHERE hostname = ?"
CLONE_NEWNET = 0x4000_0000


@dataclass
class Network:
    """The network of one machine. `address` is where it finds what runs on this one."""

    name: str
    address: str

    @property
    def near(self) -> str:
        """Our end of the wire to it."""
        return f"{self.name}-n"

    def begin(self) -> None:
        ip("netns", "add", self.name)
        ip("link", "add", self.near, "type", "veth", "peer", "name", "wire", "netns", self.name)
        ip("address", "add", f"{self.address}/24", "dev", self.near)
        ip("link", "set", self.near, "up")
        ip("-n", self.name, "address", "add", f"{self.address[:-1]}2/24", "dev", "wire")
        for device in ("lo", "wire"):
            ip("-n", self.name, "link", "set", device, "up")

    def cut(self) -> None:
        """Let nothing through the wire. Nobody is told."""
        ip("link", "set", self.near, "down")

    def mend(self) -> None:
        ip("link", "set", self.near, "up")

    def sent_again(self) -> int:
        """How many TCP segments the machine had to send again: proof that the cut was in the way."""
        wanted = ("ip", "netns", "exec", self.name, "cat", "/proc/net/snmp")
        lines = subprocess.run(wanted, check=True, capture_output=True, text=True).stdout.splitlines()
        names, values = (line.split() for line in lines if line.startswith("Tcp:"))
        return int(values[names.index("RetransSegs")])


class Into(Cable):
    """A way from here to the loopback of a machine: the network between it and the servers is not needed for it."""

    def __init__(self, network: Network, port: int):
        super().__init__(port, ("127.0.0.1", port))
        self._network = network

    def _connect(self) -> socket.socket:
        with open(f"/run/netns/{self._network.name}") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):  # of this thread
                raise OSError(ctypes.get_errno(), "setns")
        return super()._connect()


@dataclass
class Machine(EgoServer):
    """An EGO in a network of its own. `settings` are what the test uses to look into its database."""

    network: Network | None = None

    @property
    def environment(self) -> dict[str, str]:
        assert self.network is not None
        found = super().environment
        urls = ("MIRROR_STAGE_DB_URL", "MIRROR_STAGE_REDIS_URL")
        return found | {name: found[name].replace("127.0.0.1", self.network.address) for name in urls}


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def networks() -> Iterator[list[Network]]:
    installed("ip", "iproute2")
    if os.geteuid() != 0:
        pytest.skip("only root may make network namespaces")
    found = [Network(f"ms{os.getpid()}{number}", f"10.201.{number}.1") for number in (1, 2)]
    try:
        for network in found:
            network.begin()
        yield found
    finally:
        for network in found:
            subprocess.run(["ip", "netns", "delete", network.name], check=False, capture_output=True)


@pytest.fixture
def machines(postgresql: PostgresqlServer, tmp_path: Path, networks: list[Network]) -> Iterator[Pair]:
    with contextlib.ExitStack() as opened:
        redis = opened.enter_context(RedisServer(tmp_path))
        shared = {
            "MIRROR_STAGE_DB_URL": postgresql.new_database(),
            "MIRROR_STAGE_REDIS_URL": redis.url,
            "MIRROR_STAGE_TLS_DIR": str(tmp_path / "keys"),
        }
        egos = []
        for network in networks:
            folder = tmp_path / network.name
            folder.mkdir()
            ego = Machine(folder, shared, ("ip", "netns", "exec", network.name), network=network)
            opened.enter_context(Into(network, ego.port))
            for port in (postgresql.port, redis.port):
                opened.enter_context(Cable(port, (network.address, port)))
            egos.append(ego)
        pair = Pair(*egos, redis)
        try:
            yield pair.begin()
        finally:
            for network in networks:
                network.mend()
            pair.end()


@pytest.mark.long
def test_a_machine_that_is_cut_off_is_replaced_and_comes_back(machines: Pair, networks: list[Network]) -> None:
    owner, edge, generation = machines.owner(), machines.edge(), machines.generation()
    network = networks[machines.both.index(owner)]
    owner.post_samples(make_sample("hot", cpu_percent=99))
    load = Load(edge, Batches(20), 4, requests_per_second=40).start()
    wait_until(lambda: len(load.acknowledged) > 200, what="the load runs")
    before, fold, lost = network.sent_again(), slowness(), time.monotonic()
    network.cut()
    wait_until(lambda: machines.generation() > generation, 30, every=0.05, what="another owner")
    wait_until(lambda: takes(edge, "after"), 20, every=0.05)
    took = (time.monotonic() - lost) / fold
    wait_until(lambda: network.sent_again() > before, 30, every=0.2, what="the cut was in the way")
    wait_until(lambda: owner.post_samples(make_sample("nowhere")).status_code == 503, 30, what="it says what it lacks")
    load.stop()
    assert set(load.statuses) == {202}, load.statuses
    network.mend()
    mended, fold = time.monotonic(), slowness()
    wait_until(lambda: all(map(takes_part, machines.both)), 60, what="both take part")
    wait_until(lambda: shows(owner, "after"), 20, what="it shows the twin")
    back = (time.monotonic() - mended) / fold
    assert machines.owner() is edge
    assert owner.post_samples(make_sample("back")).status_code == 202
    wait_until(lambda: shows(edge, "back"), what="it takes part")
    stored = stored_samples(machines.one)
    assert load.acknowledged - stored.keys() == set()
    assert max(stored.values()) == 1
    assert len(edge.rows(ALERT_EVENTS, "hot")) == 1
    print_figures(
        "a machine cut off", acknowledged=len(load.acknowledged), missing=0, takeover_s=took, return_s=back,
        sent_again=network.sent_again() - before,
    )  # fmt: skip
    assert took <= TAKEN_OVER_SECONDS


def takes_part(ego: EgoServer) -> bool:
    """Whether an EGO is well. One whose worker begins anew lets a request wait meanwhile."""
    with contextlib.suppress(requests.RequestException):
        return bool(Pair.checks(ego)["cluster"]["ok"])
    return False


def shows(ego: EgoServer, hostname: str) -> bool:
    """Whether an EGO shows a host. A worker that begins anew answers 503 first."""
    answer = ego.get("/api/twin/state")
    return answer.status_code == 200 and hostname in {host["hostname"] for host in answer.json()["hosts"]}
