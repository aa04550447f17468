"""docs/contract.md, section 3, `/digital-twin`: the whole snapshot once a second, or a stream of deltas.

Tests of timing alone run on SQLite only, because the database does not influence it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import requests

from tests.builders import make_sample, unique_hostname
from tests.contract.clients import DeltaListener, Listener, TwinModel, delta_stream, listening
from tests.contract.conftest import with_hosts
from tests.contract.wire import (
    DELTA_KEYS,
    DETAIL_KEYS,
    SNAPSHOT_KEYS,
    KeepingEgo,
    ago,
    detail,
    host_of,
    link_of,
    now,
    post,
    settled,
    snapshot,
)
from tests.servers import EgoServer, running_ego, slowness, wait_until

NAMESPACE = "/digital-twin"


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO of this file's own: a frame holds every host, and the other files make hundreds of them.

    Frames are made of what is in memory, so one database is enough.
    """
    with running_ego(tmp_path_factory.mktemp("ego-frames"), kind=KeepingEgo) as server:
        yield with_hosts(server)


def value_of(listener: DeltaListener, hostname: str, column: str) -> Any:
    """The value of a host's column in the listener's model."""
    for slot, host in listener.model.hosts.items():
        if host["hostname"] == hostname:
            columns = listener.model.columns.get(slot)
            return columns[column] if columns else host["metrics"].get(column)
    return None


def in_step(ego: EgoServer, listener: DeltaListener) -> list[str]:
    """The differences between the listener's model and a REST snapshot of the same revision."""

    def same_revision() -> dict[str, Any] | None:
        frame = snapshot(ego)
        return frame if frame["revision"] == listener.model.revision else None

    frame = wait_until(same_revision, 8, what="the stream has caught up with REST")
    assert frame["epoch"] == listener.model.epoch
    return listener.model.differences(frame)


# ------------------------------------------------------------------ twin-state


def test_the_snapshot_comes_on_connect_and_is_the_one_of_rest(ego: EgoServer) -> None:
    post(ego, make_sample(unique_hostname()))
    settled(ego)
    with listening(ego, NAMESPACE) as listener:
        frame = listener.wait_for("twin-state")
        assert frame.keys() == SNAPSHOT_KEYS
        assert frame["type"] == "twin-state"
        assert listener.events()[0] == "twin-state"
        assert listener.times_of("twin-state")[0] - listener.connected_at < 2 * slowness()


@pytest.mark.parametrize("transports", [("polling",), ("polling", "websocket")])
def test_polling_and_the_upgrade_from_it_work_while_there_is_one_worker(
    ego: EgoServer, transports: tuple[str, ...]
) -> None:
    hostname = unique_hostname()
    with listening(ego, NAMESPACE, transports=transports) as listener:
        listener.wait_for("twin-state")
        post(ego, make_sample(hostname))
        listener.wait_for("twin-state", lambda frame: host_of(frame, hostname) is not None)


def test_changes_are_sent_at_most_once_a_second(sqlite_ego: EgoServer) -> None:
    hostname = unique_hostname()
    with listening(sqlite_ego, NAMESPACE) as listener:
        listener.wait_for("twin-state")
        for load in range(1, 24):  # for more than two seconds there is always something new
            post(sqlite_ego, make_sample(hostname, cpu_percent=load))
            time.sleep(0.1)
        listener.wait_for("twin-state", lambda frame: load_in(frame, hostname) == 23)
        times = listener.times_of("twin-state")
        frames = listener.of("twin-state")
    assert len(times) >= 3
    assert (times[-1] - times[0]) / (len(times) - 1) > 0.9  # on the average: two may come closer on busy cores
    revisions = [frame["revision"] for frame in frames]
    assert revisions == sorted(set(revisions))
    assert len({frame["epoch"] for frame in frames}) == 1
    assert not set(listener.events()) - {"twin-state"}


def load_in(frame: dict[str, Any], hostname: str) -> Any:
    host = host_of(frame, hostname)
    return host["metrics"]["cpuLoad"] if host is not None else None


def test_rest_and_twin_state_of_one_revision_are_exactly_equal(ego: EgoServer) -> None:
    rest: dict[int, dict[str, Any]] = {}
    with listening(ego, NAMESPACE) as listener:
        listener.wait_for("twin-state")
        hostname = unique_hostname()
        for load in range(1, 40):
            post(ego, make_sample(hostname, cpu_percent=load))
            frame = snapshot(ego)
            rest[frame["revision"]] = frame
            time.sleep(0.04)
        sent = {frame["revision"]: frame for frame in listener.of("twin-state")}
    both = sent.keys() & rest.keys()
    assert both, (sorted(sent), sorted(rest))
    assert all(sent[revision] == rest[revision] for revision in both)


# ------------------------------------------------------------------ the delta stream


def test_a_client_that_subscribes_gets_a_snapshot_with_slots_and_no_twin_state_any_more(ego: EgoServer) -> None:
    hostname = unique_hostname()
    with listening(ego, NAMESPACE) as listener:
        listener.wait_for("twin-state")
        assert listener.ask("subscribe", {"stream": "delta"}) == {"ok": True}
        frame = listener.wait_for("twin-snapshot")
        before = len(listener.of("twin-state"))
        assert frame.keys() == SNAPSHOT_KEYS
        assert all(type(host["slot"]) is int for host in frame["hosts"])
        post(ego, make_sample(hostname))
        delta = listener.wait_for("twin-delta")
        assert delta.keys() == DELTA_KEYS
        assert len(listener.of("twin-state")) == before
        assert len(listener.of("twin-snapshot")) == 1


def test_a_client_may_ask_for_deltas_at_connect(ego: EgoServer) -> None:
    with delta_stream(ego) as listener:
        wait_until(lambda: listener.model.revision >= 0)
        post(ego, make_sample(unique_hostname()))
        listener.wait_for("twin-delta")
        assert set(listener.events()) == {"twin-snapshot", "twin-delta"}
        assert listener.events()[0] == "twin-snapshot"


@pytest.mark.parametrize("wanted", [{"stream": "everything"}, {}, None, "delta", 7, ["delta"], {"stream": ["delta"]}])
def test_a_stream_that_does_not_exist_is_refused_in_the_acknowledgement(sqlite_ego: EgoServer, wanted: Any) -> None:
    with listening(sqlite_ego, NAMESPACE) as listener:
        answer = listener.ask("subscribe", wanted)
        assert answer["ok"] is False
        assert answer["error"]
        assert listener.of("twin-snapshot") == []


def test_the_model_of_a_client_that_applies_every_delta_equals_rest(ego: EgoServer) -> None:
    one, two, gone, start = unique_hostname(), unique_hostname(), unique_hostname(), now()
    with delta_stream(ego) as listener:
        wait_until(lambda: listener.model.revision >= 0)
        counters = {"net_bytes_tx": 0, "net_bytes_rx": 0, "tags": {"link_speed_mbps": "1000"}}
        post(
            ego, make_sample(one, at=ago(30, start), cpu_percent=1.26, **counters), make_sample(two), make_sample(gone)
        )
        assert in_step(ego, listener) == []
        # gauges only: columns, no upsert
        settled(ego)
        heard = len(listener.of("twin-delta"))
        post(ego, make_sample(two, cpu_percent=33.337, load_average=-0.05, memory_used_percent=99.99 / 2))
        wait_until(lambda: value_of(listener, two, "cpuLoad") == 33.3)
        (delta,) = [delta for delta in listener.of("twin-delta")[heard:] if 33.3 in delta["cpuLoad"]]
        assert [host for host in delta["upserted"]["hosts"] if host["hostname"] == two] == []
        assert in_step(ego, listener) == []
        # a rate appears (measured), an alert fires (severity), an uplink and a name change
        fast = counters | {"net_bytes_tx": 12_345_678, "net_bytes_rx": 98_765_432}
        post(ego, make_sample(one, at=ago(20, start), cpu_percent=95.55, cpu_temperature=61.04, **fast))
        post(ego, make_sample(two, tags={"uplink": one, "display_name": "Zwei", "room": "r", "tier": "t"}, rack="R9"))
        assert in_step(ego, listener) == []
        assert host_of(snapshot(ego), one)["severity"] == "warning"  # type: ignore[index]
        assert link_of(snapshot(ego), two)["source"] == one
        # one leaves, and what hung on it comes back to the hub
        post(ego, make_sample(gone, tags={"uplink": one}))
        assert in_step(ego, listener) == []
        assert requests.delete(f"{ego.url}/api/hosts/{one}", timeout=10).status_code == 204
        assert in_step(ego, listener) == []
        assert any(delta["removed"] for delta in listener.of("twin-delta"))
        assert listener.model.broken == []
    assert len(listener.of("twin-snapshot")) == 1


UPSERTED: dict[str, dict[str, Any]] = {
    "displayName": {"tags": {"display_name": "Other"}},
    "ip": {"ip": "10.99.0.1"},
    "rack": {"rack": "R77"},
    "room": {"tags": {"room": "cellar"}},
    "tier": {"tags": {"tier": "gold"}},
    "uplink": {"tags": {"uplink": "the-marker"}},
    "position": {"position": {"x": 1, "y": 2, "z": 3}},
    "platform": {"platform": "Windows"},
    "agentVersion": {"agent_version": "2.0"},
    "severity": {"cpu_load": 90},
    "memoryTotalBytes": {"memory_total_bytes": 2**33},
    "netCapacityGbps": {"primary_interface_speed_mbps": 1000},
}


def test_a_host_is_sent_whole_when_what_it_is_changes_and_only_then(ego: EgoServer) -> None:
    hostnames = {member: unique_hostname() for member in UPSERTED}
    post(ego, *[make_sample(hostname) for hostname in hostnames.values()])
    settled(ego)
    with delta_stream(ego) as listener:
        wait_until(lambda: listener.model.revision >= 0)

        def upserts() -> list[dict[str, Any]]:
            rows = [row for delta in listener.of("twin-delta") for row in delta["upserted"]["hosts"]]
            return [row for row in rows if row["hostname"] in hostnames.values()]

        def all_show(load: float) -> bool:
            return all(value_of(listener, hostname, "loadAverage") == load for hostname in hostnames.values())

        for load in range(1, 5):  # gauges alone
            gauges = {"load_average": load, "swap_used_percent": load, "memory_available_bytes": load}
            post(ego, *[make_sample(hostname, cpu_percent=load, **gauges) for hostname in hostnames.values()])
            wait_until(lambda load=load: all_show(load))
        assert upserts() == []
        post(ego, *[make_sample(hostnames[m], load_average=50) | fields for m, fields in UPSERTED.items()])
        wait_until(lambda: all_show(50))
        frame = snapshot(ego)
        for member, hostname in hostnames.items():
            (shown,) = [row for row in upserts() if row["hostname"] == hostname]
            expected = host_of(frame, hostname)
            assert expected is not None
            if member in expected:
                assert shown[member] == expected[member], member
            else:
                assert shown["metrics"][member] == expected["metrics"][member] is not None, member
        post(ego, *[make_sample(hostname, load_average=60) for hostname in hostnames.values()])
        wait_until(lambda: all_show(60))
        assert len(upserts()) <= 2 * len(
            UPSERTED
        )  # back to the plain host; a client that was late gets a snapshot instead
        assert in_step(ego, listener) == []
    assert listener.model.broken == []


def test_every_delta_names_the_one_before_it(ego: EgoServer) -> None:
    hostname = unique_hostname()
    with delta_stream(ego) as listener:
        wait_until(lambda: listener.model.revision >= 0)
        for load in range(1, 30):
            post(ego, make_sample(hostname, cpu_percent=load))
            time.sleep(0.05)
        wait_until(lambda: value_of(listener, hostname, "cpuLoad") == 29)
        frames = listener.frames()
        times = [heard.at for heard in frames]
    revision = frames[0].payload["revision"]
    for heard in frames[1:]:
        assert heard.event == "twin-delta"
        assert heard.payload["previous"] == revision
        revision = heard.payload["revision"]
    gaps = [later - earlier for earlier, later in pairwise(times[1:])]
    assert sum(gaps) / len(gaps) > 0.2, gaps  # at most four a second
    assert len(gaps) >= 4


def test_status_age_and_rounding_of_the_columns(hasty_ego: EgoServer) -> None:
    hostname, start, tags = unique_hostname(), now(), {"link_speed_mbps": "1000"}
    with delta_stream(hasty_ego) as listener:
        wait_until(lambda: listener.model.revision >= 0)
        post(hasty_ego, make_sample(hostname, at=ago(10, start), net_bytes_tx=0, net_bytes_rx=0, tags=tags))
        wait_until(lambda: value_of(listener, hostname, "status") == 0)
        assert value_of(listener, hostname, "txGbps") is None
        assert value_of(listener, hostname, "utilization") is None
        values = {"cpu_load": 12.345, "memory_used_percent": 66.66, "load_average": 1.005, "cpu_temperature": 50.55}
        counters = {"net_bytes_tx": 154_320_000, "net_bytes_rx": 1_234_567}
        post(hasty_ego, make_sample(hostname, at=ago(0, start), tags=tags, **values, **counters))
        wait_until(lambda: value_of(listener, hostname, "cpuLoad") == 12.3)
        assert value_of(listener, hostname, "memoryUsedPercent") == 66.7
        assert value_of(listener, hostname, "loadAverage") == 1.0
        assert value_of(listener, hostname, "cpuTemperature") == 50.5
        assert value_of(listener, hostname, "gpuTemperature") is None
        assert value_of(listener, hostname, "txGbps") == 0.123
        assert value_of(listener, hostname, "rxGbps") == 0.001
        assert value_of(listener, hostname, "utilization") == 0.123
        assert 0 <= value_of(listener, hostname, "ageSeconds") < 1.5
        wait_until(lambda: value_of(listener, hostname, "status") == 1, 4, what="stale in the stream")
        assert 1.4 <= value_of(listener, hostname, "ageSeconds") < 3
        wait_until(lambda: value_of(listener, hostname, "status") == 2, 4, what="offline in the stream")
        assert 2.9 <= value_of(listener, hostname, "ageSeconds") < 5
        assert in_step(hasty_ego, listener) == []


def test_slots_are_never_used_again(ego: EgoServer) -> None:
    with delta_stream(ego) as listener:
        wait_until(lambda: listener.model.revision >= 0)
        used = set(listener.model.hosts)
        for _ in range(3):
            hostname = unique_hostname()
            post(ego, make_sample(hostname))
            wait_until(lambda name=hostname: name in {host["hostname"] for host in listener.model.hosts.values()})
            (slot,) = [slot for slot, host in listener.model.hosts.items() if host["hostname"] == hostname]
            assert slot not in used
            used.add(slot)
            requests.delete(f"{ego.url}/api/hosts/{hostname}", timeout=10)
            wait_until(lambda slot=slot: slot not in listener.model.hosts)
        assert listener.model.broken == []


# ------------------------------------------------------------------ back pressure


def test_a_client_that_does_not_answer_gets_a_few_frames_and_later_one_with_all_it_missed(ego: EgoServer) -> None:
    hostname = unique_hostname()
    with delta_stream(ego, answers=False) as silent, delta_stream(ego) as good:
        wait_until(lambda: silent.model.revision >= 0 and good.model.revision >= 0)
        for load in range(1, 15):
            post(ego, make_sample(hostname, cpu_percent=load, load_average=load))
            wait_until(lambda load=load: value_of(good, hostname, "loadAverage") == load)
        frames = len(silent.frames())
        assert frames <= 4  # the snapshot and what may be under way
        assert len(good.frames()) >= 10  # the other client was not delayed
        missed = good.model.revision
        silent.answers = True
        silent.emit("seen", {"revision": silent.model.revision})
        wait_until(lambda: value_of(silent, hostname, "loadAverage") == 14, 3)
        after = silent.frames()[frames:]
        assert after[0].payload["revision"] >= missed  # everything in one frame
        assert in_step(ego, silent) == []
        assert silent.model.broken == []


def test_a_client_that_has_answered_only_an_old_frame_still_waits(sqlite_ego: EgoServer) -> None:
    hostname = unique_hostname()
    with delta_stream(sqlite_ego, answers=False) as silent, delta_stream(sqlite_ego) as good:
        wait_until(lambda: silent.model.revision >= 0 and good.model.revision >= 0)
        for load in range(1, 10):
            post(sqlite_ego, make_sample(hostname, load_average=load))
            wait_until(lambda load=load: value_of(good, hostname, "loadAverage") == load)
        frames = silent.frames()
        silent.emit("seen", {"revision": frames[0].payload["revision"] - 1})
        for nonsense in ({"revision": "x"}, {}, None, {"revision": None}):
            silent.emit("seen", nonsense)
        post(sqlite_ego, make_sample(hostname, load_average=50))
        wait_until(lambda: value_of(good, hostname, "loadAverage") == 50)
        assert len(silent.frames()) == len(frames)


def test_a_client_that_asks_to_resync_gets_a_snapshot_at_most_every_two_seconds(sqlite_ego: EgoServer) -> None:
    hostname = unique_hostname()
    with delta_stream(sqlite_ego) as listener:
        wait_until(lambda: listener.model.revision >= 0)
        started = time.monotonic()
        listener.emit("resync")
        wait_until(lambda: len(listener.of("twin-snapshot")) == 2, 2)
        for _ in range(5):
            listener.emit("resync")
        post(sqlite_ego, make_sample(hostname))
        wait_until(lambda: value_of(listener, hostname, "status") == 0)
        assert len(listener.of("twin-snapshot")) <= 2 + int((time.monotonic() - started) / 2)
        assert in_step(sqlite_ego, listener) == []

        def again() -> bool:
            listener.emit("resync")
            return len(listener.of("twin-snapshot")) >= 3

        wait_until(again, 6, every=0.25)
        times = listener.times_of("twin-snapshot")
        assert times[2] - times[1] > 1.8
        post(sqlite_ego, make_sample(hostname, cpu_percent=44))
        wait_until(lambda: value_of(listener, hostname, "cpuLoad") == 44)
        assert in_step(sqlite_ego, listener) == []
        assert listener.model.broken == []


def test_when_nothing_changes_an_empty_delta_comes_within_five_seconds(hasty_ego: EgoServer) -> None:
    with delta_stream(hasty_ego) as listener:
        wait_until(lambda: listener.model.revision >= 0)
        empty = listener.wait_for("twin-delta", lambda delta: delta["slots"] == [], seconds=12)
        times = [heard.at for heard in listener.frames()]
    assert empty["previous"] == empty["revision"]
    assert empty["removed"] == []
    assert empty["upserted"] == {"hosts": [], "links": []}
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) < 8  # 4.6 s and a tick, more on busy cores
    assert listener.model.broken == []


# ------------------------------------------------------------------ watch-host


def test_a_watched_host_is_sent_whole_at_once_and_each_second(sqlite_ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(sqlite_ego, make_sample(hostname, disks=[{"mountpoint": "/", "used_percent": 5}]))
    settled(sqlite_ego)
    with listening(sqlite_ego, NAMESPACE) as listener:
        assert listener.ask("watch-host", {"hostname": f" {hostname} "})["ok"] is True
        first = listener.wait_for("host-detail", seconds=1)
        assert first.keys() == DETAIL_KEYS
        rest = detail(sqlite_ego, hostname)
        assert {key: first[key] for key in first.keys() - {"status"}} == {k: rest[k] for k in rest.keys() - {"status"}}
        wait_until(lambda: len(listener.of("host-detail")) >= 4, 6)
        times = listener.times_of("host-detail")
        assert 0.8 * 2 < times[3] - times[1] < 3.5
        post(sqlite_ego, make_sample(hostname, swap_used_percent=7))
        listener.wait_for("host-detail", lambda shown: shown["diagnostics"]["swapUsedPercent"] == 7, 3)
        assert listener.ask("unwatch-host", {"hostname": hostname})["ok"] is True
        sent = len(listener.of("host-detail"))
        time.sleep(1.3)
        assert len(listener.of("host-detail")) <= sent + 1


def test_a_watched_host_is_sent_each_second_beside_a_busy_delta_stream(sqlite_ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(sqlite_ego, make_sample(hostname))
    with delta_stream(sqlite_ego) as listener:
        assert listener.ask("watch-host", {"hostname": hostname})["ok"] is True
        for load in range(30):
            post(sqlite_ego, make_sample(hostname, cpu_percent=load))
            time.sleep(0.1)
        wait_until(lambda: len(listener.of("host-detail")) >= 4, 3)
        assert len(listener.of("twin-delta")) >= 4


def test_four_hosts_can_be_watched_and_a_fifth_cannot(sqlite_ego: EgoServer) -> None:
    hostnames = [unique_hostname() for _ in range(5)]
    post(sqlite_ego, *[make_sample(hostname) for hostname in hostnames])
    settled(sqlite_ego)
    with listening(sqlite_ego, NAMESPACE) as listener:
        answers = [listener.ask("watch-host", {"hostname": hostname}) for hostname in hostnames]
        assert [answer["ok"] for answer in answers] == [True] * 4 + [False]
        assert answers[4]["error"]
        assert listener.ask("watch-host", {"hostname": hostnames[0]})["ok"] is True  # it is one of the four
        assert listener.ask("unwatch-host", {"hostname": hostnames[0]})["ok"] is True
        assert listener.ask("watch-host", {"hostname": hostnames[4]})["ok"] is True
        listener.wait_for("host-detail", lambda shown: shown["hostname"] == hostnames[4])
        before = len(listener.of("host-detail"))
        wait_until(lambda: len(listener.of("host-detail")) >= before + 8, 5)
        assert {shown["hostname"] for shown in listener.of("host-detail")[before + 1 :]} == set(hostnames[1:])


@pytest.mark.parametrize(
    "wanted",
    [{"hostname": "nobody"}, {"hostname": "a/b"}, {"hostname": 7}, {}, None, "titan-01", [], {"hostname": None}],
)
def test_an_unknown_host_cannot_be_watched(sqlite_ego: EgoServer, wanted: Any) -> None:
    with listening(sqlite_ego, NAMESPACE) as listener:
        answer = listener.ask("watch-host", wanted)
        assert answer["ok"] is False
        assert answer["error"]
        if not (isinstance(wanted, dict) and wanted.get("hostname") == "nobody"):
            assert listener.ask("unwatch-host", wanted)["ok"] is False
        assert not listener.disconnected.is_set()


def test_an_event_that_does_not_exist_harms_nobody(ego: EgoServer) -> None:
    with listening(ego, NAMESPACE) as listener:
        listener.emit("drop-everything", {"really": True})
        listener.emit("twin-state", {"hosts": []})
        post(ego, make_sample(unique_hostname()))
        settled(ego)
        assert listener.ask("subscribe", {"stream": "delta"}) == {"ok": True}


def test_a_model_that_misses_a_delta_notices() -> None:
    model = TwinModel(epoch="e", revision=7)
    empty = {key: [] for key in DELTA_KEYS} | {"upserted": {"hosts": [], "links": []}, "generatedAt": "x"}
    model.take_delta(empty | {"epoch": "e", "previous": 6, "revision": 8})
    model.take_delta(empty | {"epoch": "f", "previous": 7, "revision": 8})
    assert (len(model.broken), model.revision) == (2, 7)


def test_many_clients_hear_the_same(ego: EgoServer) -> None:
    hostname = unique_hostname()
    listeners: list[Listener] = []
    try:
        listeners.extend(DeltaListener(ego, auth={"stream": "delta"}) for _ in range(12))
        post(ego, make_sample(hostname, cpu_percent=61))
        for listener in listeners:
            assert isinstance(listener, DeltaListener)
            wait_until(lambda listener=listener: value_of(listener, hostname, "cpuLoad") == 61)
    finally:
        for listener in listeners:
            listener.close()


def test_the_full_stream_carries_diagnostics_for_those_who_ask(ego: EgoServer) -> None:
    hostname = unique_hostname()
    post(ego, make_sample(hostname, cpu_per_core=[1, 2.5], cpu_model="Xeon"))

    def entry(frame: dict[str, Any]) -> dict[str, Any] | None:
        return next((host for host in frame["hosts"] if host["hostname"] == hostname), None)

    with listening(ego, NAMESPACE, auth={"stream": "full", "diagnostics": True}) as asked:
        full = entry(asked.wait_for("twin-state", lambda frame: entry(frame) is not None))
    assert full is not None
    assert full["metrics"]["cpuPerCore"] == full["diagnostics"]["cpuPerCore"] == [1, 2.5]
    assert full["hardware"]["cpuModel"] == "Xeon"
    with listening(ego, NAMESPACE) as plain:
        usual = entry(plain.wait_for("twin-state", lambda frame: entry(frame) is not None))
        assert usual is not None
        assert not usual.keys() & {"hardware", "diagnostics"}
        assert plain.ask("subscribe", {"stream": "full", "diagnostics": True}) == {"ok": True}
        plain.wait_for("twin-state", lambda frame: "diagnostics" in (entry(frame) or {}))


def test_a_hub_with_the_name_of_egos_own_machine_works(start_ego: Callable[..., EgoServer]) -> None:
    settings = {
        "MIRROR_STAGE_HUB_HOSTNAME": "ego-hub",
        "EGO_HOSTNAME": "ego-hub",
        "MIRROR_STAGE_EGO_MONITOR_ENABLED": "true",
        "MIRROR_STAGE_TWIN_DIAGNOSTICS": "true",
    }
    server = start_ego(settings)
    with listening(server, NAMESPACE) as older:
        hub = older.wait_for("twin-state", lambda frame: not frame["hosts"][0]["isSynthetic"], seconds=15)["hosts"][0]
    assert (hub["hostname"], hub["role"]) == ("ego-hub", "hub")
    assert hub["metrics"]["cpuLoad"] is not None
    assert "diagnostics" in hub
