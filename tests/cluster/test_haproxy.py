"""`config/haproxy.cfg` as it is, but for the addresses: two EGOs with TLS behind it, of which one is stopped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import requests

from tests.builders import make_sample
from tests.cluster.conftest import Pair, hosts_of, running_pair
from tests.proxies import running_haproxy
from tests.servers import ROOT, PostgresqlServer, free_port, wait_until

NOTICED_SECONDS = 10  # two checks that fail, 2 s apart, and what a start of a check takes


def test_haproxy_takes_an_ego_that_stops_out_of_service(postgresql: PostgresqlServer, tmp_path: Path) -> None:
    port = free_port()

    def post(hostname: str) -> int:
        url, body = f"https://127.0.0.1:{port}/api/metrics/batch", {"samples": [make_sample(hostname)]}
        return requests.post(url, json=body, verify=str(tmp_path / "keys/root.pem"), timeout=10).status_code

    with (
        running_pair(tmp_path, postgresql.new_database(), MIRROR_STAGE_TLS="on") as pair,
        running_haproxy(port, configuration(port, pair)),
    ):
        assert {post(f"before-{number}") for number in range(6)} == {202}
        owner, edge = pair.owner(), pair.edge()
        owner.stop()
        stopped = time.monotonic()
        wait_until(lambda: is_taken(post, "after"), NOTICED_SECONDS, every=0.1, what="the other EGO takes all")
        assert {post(f"after-{number}") for number in range(6)} == {202}
        print(f"served again after {time.monotonic() - stopped:.1f} s")
        assert {"before-0", "before-5", "after", "after-5"} <= hosts_of(edge).keys()


def is_taken(post: Callable[[str], int], hostname: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        return post(hostname) == 202
    return False


def configuration(port: int, pair: Pair) -> str:
    """The shipped file with the addresses of this machine."""
    written = (ROOT / "config/haproxy.cfg").read_text()
    for was, now in (
        ("bind :3000", f"bind 127.0.0.1:{port}"),
        ("10.0.0.100:3000", f"127.0.0.1:{pair.one.port}"),
        ("10.0.0.101:3000", f"127.0.0.1:{pair.other.port}"),
    ):
        assert written.count(was) == 1
        written = written.replace(was, now)
    return written
