"""The owner alone: it hears messages, sweeps for silence, removes hosts, and ends alerts that nothing else would end."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from mirror_stage.access.domain import EGO
from mirror_stage.alerts.domain import OFFLINE, RULES
from mirror_stage.commands import store as command_store
from mirror_stage.commands.domain import NewCommand
from mirror_stage.core.problems import Conflict, NotFound, Unavailable
from mirror_stage.metrics.domain import Receipt
from mirror_stage.pipeline.port import Message
from mirror_stage.twin import store as twin_store
from mirror_stage.twin.domain import Status
from tests.builders import NoSigner, decoded, make_sample
from tests.pipeline.conftest import Bench


def statuses(bench: Bench) -> dict[str, str]:
    return {name: host.status for name, host in bench.twin.hosts_by_name.items()}


def status(bench: Bench, host: str = "a") -> str:
    return bench.twin.hosts_by_name[host].status


def silence(bench: Bench, seconds: float) -> str:
    bench.clock.advance(seconds)
    bench.owner.sweep()
    return status(bench)


# ------------------------------------------------------------------ what it hears


def test_a_message_brings_new_hosts_then_their_samples_then_their_polls(bench: Bench) -> None:
    now, place = bench.clock.now(), (3.0, 0.0, 4.0)
    samples = decoded(make_sample("a", at=now, cpu_percent=7), make_sample("nobody", at=now), received_at=now)
    bench.owner.hear(Message(newcomers={"a": (7, place)}, samples=samples, polls={"a": now - 1, "nobody": now}))
    host = bench.twin.hosts_by_name["a"]
    assert host.sample is not None
    assert (host.id, host.place, host.sample.cpu_load, host.last_poll_at) == (7, place, 7, now - 1)
    assert "nobody" not in bench.twin.hosts_by_name  # it has no row, so it has no place


def test_a_newcomer_that_is_known_already_keeps_what_it_has(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.now()))
    before = bench.twin.hosts_by_name["a"]
    bench.owner.hear(Message(newcomers={"a": (99, (9.0, 9.0, 9.0))}))
    assert bench.twin.hosts_by_name["a"] == before


def test_a_sample_that_cannot_be_folded_is_logged_and_the_next_one_is_folded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench.post(make_sample("bad", at=bench.clock.now()), make_sample("good", at=bench.clock.now()))
    fold, now = bench.twin.fold, bench.clock.advance(1)

    def sometimes(sample: Any) -> Any:
        if sample.hostname == "bad":
            raise ZeroDivisionError
        return fold(sample)

    monkeypatch.setattr(bench.twin, "fold", sometimes)
    bench.post(make_sample("bad", at=now, cpu_percent=95), make_sample("good", at=now, cpu_percent=95))
    assert "passes over a sample of bad; it is stored" in caplog.text
    assert [alert.hostname for alert in bench.open_alerts.all()] == ["good"]


def test_a_repeated_sample_is_not_judged_again(bench: Bench) -> None:
    busy = make_sample("a", at=bench.clock.now(), cpu_percent=95)
    bench.post(busy)
    bench.post(make_sample("a", at=bench.clock.advance(1), cpu_percent=5))
    bench.post(busy)
    assert bench.alerts_heard() == [("fired", "cpu_load_high"), ("resolved", "cpu_load_high")]


def test_a_busy_host_gets_an_alert_and_a_severity(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.now(), cpu_percent=91))
    assert bench.alerts_heard() == [("fired", "cpu_load_high")]
    assert bench.twin.hosts_by_name["a"].severity == "warning"
    bench.clock.advance(1)
    bench.post(make_sample("a", at=bench.clock.now(), cpu_percent=10))
    assert bench.alerts_heard()[1:] == [("resolved", "cpu_load_high")]
    assert bench.twin.hosts_by_name["a"].severity is None


def test_an_error_in_the_live_view_never_changes_a_receipt(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_sample: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.twin, "fold", broken)
    assert isinstance(bench.post(make_sample("a", at=bench.clock.now())), Receipt)


# ------------------------------------------------------------------ silence


def test_silence_turns_a_host_stale_then_offline_and_a_sample_brings_it_back(bench: Bench) -> None:
    bench.clock.advance(100)
    bench.post(make_sample("a", at=bench.clock.now(), cpu_percent=91))
    seen = []
    for _ in range(62):
        bench.clock.advance(1)
        bench.owner.sweep()
        seen.append(statuses(bench)["a"])
    assert seen.index(Status.STALE) == 14
    assert seen.index(Status.OFFLINE) == 59
    assert bench.alerts_heard() == [
        ("fired", "cpu_load_high"),
        ("fired", "host_offline"),
        ("resolved", "cpu_load_high"),
    ]
    assert bench.twin.hosts_by_name["a"].severity == "critical"
    bench.post(make_sample("a", at=bench.clock.now()))
    assert bench.alerts_heard()[3:] == [("resolved", "host_offline")]
    assert statuses(bench)["a"] == Status.ONLINE


def test_an_offline_host_carries_nothing_any_more(bench: Bench) -> None:
    for n in range(2):
        now = bench.clock.advance(5)
        bench.post(make_sample("a", at=now, net_bytes_tx=n * 10**9, net_bytes_rx=0))
    assert bench.twin.hosts_by_name["a"].rates is not None
    bench.clock.advance(61)
    bench.owner.sweep()
    bench.owner.tick()
    assert bench.twin.hosts_by_name["a"].rates is None
    assert bench.twin.hosts_by_name["core-switch"].gauges[5:7] == (None, None)


def test_silence_counts_only_while_ego_was_up(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.now()))
    bench.saver.save()
    bench.clock.advance(3600)
    again = bench.again()
    assert statuses(again)["a"] == Status.OFFLINE  # its status follows from its true age at once
    again.clock.advance(59)
    again.owner.sweep()
    assert again.alerts_heard() == []
    again.clock.advance(1)
    again.owner.sweep()
    assert again.alerts_heard() == [("fired", "host_offline")]
    assert again.open_alerts.of("a")[OFFLINE].current_value == 3660


def test_a_clock_that_was_set_back_while_ego_was_down_hides_no_silence(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.now()), make_sample("b", at=bench.clock.now()))
    bench.saver.save()
    bench.clock.advance(-3600)
    again = bench.again()
    again.clock.advance(30)
    again.post(make_sample("b", at=again.clock.now()))
    again.clock.advance(31)
    again.owner.sweep()
    assert (statuses(again)["a"], statuses(again)["b"]) == (Status.OFFLINE, Status.STALE)
    assert again.alerts_heard() == [("fired", "host_offline")]
    last_seen = again.twin.hosts_by_name["b"].last_seen_at
    assert last_seen is not None
    assert last_seen <= again.clock.now()


@pytest.mark.parametrize(("gap", "counted"), [(3.0, "offline"), (3.1, "online")])
def test_a_standstill_begins_where_a_sweep_is_more_than_three_seconds_late(
    bench: Bench, gap: float, counted: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.post(make_sample("a", at=bench.clock.now()))
    bench.elapsed_seconds += gap
    assert silence(bench, 60) == counted
    assert ("EGO stood still for 3.1 s" in caplog.text) == (counted == "online")


def test_a_pause_of_ego_does_not_count_as_silence_of_hosts(bench: Bench) -> None:
    bench.clock.advance(100)
    bench.post(make_sample("a", at=bench.clock.now()), make_sample("b", at=bench.clock.now()))
    bench.clock.advance(70)
    bench.elapsed_seconds += 70  # EGO was suspended
    bench.owner.sweep()
    assert (status(bench), bench.alerts_heard()) == (Status.ONLINE, [])
    bench.post(make_sample("a", at=bench.clock.advance(1)))
    for _ in range(58):
        bench.clock.advance(1)
        bench.elapsed_seconds += 1
        bench.owner.sweep()
    assert (status(bench), status(bench, "b"), bench.alerts_heard()) == (Status.STALE, Status.STALE, [])
    bench.clock.advance(1)
    bench.owner.sweep()
    assert status(bench, "b") == Status.OFFLINE  # a host that stays silent goes offline a minute later
    assert bench.alerts_heard() == [("fired", "host_offline")]


def test_a_host_that_was_offline_before_a_pause_stays_offline(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.now()))
    assert silence(bench, 70) == Status.OFFLINE
    bench.elapsed_seconds += 20
    assert silence(bench, 20) == Status.OFFLINE
    assert bench.alerts_heard() == [("fired", "host_offline")]


def test_while_no_sample_gets_through_no_host_counts_as_silent(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.now()))
    bench.is_listening = False  # a commit hangs, and samples wait behind it
    assert silence(bench, 120) == Status.ONLINE
    bench.is_listening = True
    assert silence(bench, 59) == Status.STALE
    assert bench.alerts_heard() == []
    assert silence(bench, 1) == Status.OFFLINE


def test_a_sample_that_arrived_before_the_alert_fired_does_not_end_it_before_it_began(
    bench: Bench,
) -> None:
    bench.post(make_sample("a", at=bench.clock.now()))
    arrived = bench.clock.advance(59)
    bench.clock.advance(2)
    bench.owner.sweep()
    bench.edge.commit([decoded(make_sample("a", at=arrived), received_at=arrived)])
    assert bench.alerts_heard() == [("fired", "host_offline"), ("resolved", "host_offline")]
    over = bench.heard.events[-1][1]["alert"]
    assert over["createdAt"] <= over["resolvedAt"]


# ------------------------------------------------------------------ hosts that are removed


def test_a_removed_host_that_reports_again_gets_its_old_place(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.now(), cpu_percent=95), make_sample("b", at=bench.clock.now()))
    place = bench.twin.hosts_by_name["a"].place
    bench.remover.remove("a", EGO)
    assert "a" not in bench.twin.hosts_by_name
    assert bench.alerts_heard() == [("fired", "cpu_load_high"), ("resolved", "cpu_load_high")]
    assert bench.heard.events[1][1]["alert"]["resolvedReason"] == "host-removed"
    assert "a" not in bench.again().twin.hosts_by_name
    bench.clock.advance(5)
    bench.post(make_sample("a", at=bench.clock.now()))
    assert bench.twin.hosts_by_name["a"].place == place
    assert "a" in bench.again().twin.hosts_by_name


def test_a_removed_host_returns_when_it_repeats_a_stored_sample(bench: Bench) -> None:
    sample = make_sample("a", at=bench.clock.now())
    bench.post(sample)
    bench.remover.remove("a", EGO)
    assert bench.post(sample).duplicates == 1
    assert bench.twin.hosts_by_name["a"].sample is not None


def test_the_hub_ego_and_unknown_hosts_cannot_be_removed(bench: Bench) -> None:
    bench.post(make_sample("ego-01", at=bench.clock.now(), agent_version="ego-1.0"))
    for name, refusal in (("core-switch", Conflict), ("ego-01", Conflict), ("nobody", NotFound)):
        with pytest.raises(refusal):
            bench.remover.remove(name, EGO)


def test_a_report_of_an_agent_under_the_name_of_hub_or_ego_can_be_removed(bench: Bench) -> None:
    bench.post(make_sample("ego-01", at=bench.clock.now()), make_sample("core-switch", at=bench.clock.now()))
    for name in ("core-switch", "ego-01"):
        bench.remover.remove(name, EGO)
    for twin in (bench.twin, bench.again().twin):
        assert twin.hosts_by_name.keys() == {"core-switch"}
        assert twin.hosts_by_name["core-switch"].is_synthetic


def test_an_alert_that_fires_while_its_host_is_being_removed_ends_with_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.post(make_sample("a", at=bench.clock.now()))
    write = bench.storage.write

    def overtaken(work: Any) -> Any:
        monkeypatch.undo()
        bench.post(make_sample("a", at=bench.clock.advance(1), cpu_percent=95))
        return write(work)

    monkeypatch.setattr(bench.storage, "write", overtaken)
    bench.remover.remove("a", EGO)
    assert bench.alerts_heard() == [("fired", "cpu_load_high"), ("resolved", "cpu_load_high")]
    assert bench.open_alerts.all() == []
    assert bench.again().open_alerts.all() == []


def test_a_removal_cancels_the_pending_commands_of_the_host_alone(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.now()), make_sample("b", at=bench.clock.now()))
    for id, host in (("running", "a"), ("waiting", "a"), ("another", "b")):
        new, now = NewCommand(hostname=host, command="true"), bench.clock.advance(1)
        bench.storage.write(
            lambda tx, new=new, id=id, now=now: command_store.create(tx, new, EGO, now, NoSigner(), id=id, key=None)
        )
    bench.storage.write(lambda tx: command_store.claim(tx, "a", EGO, bench.clock.now(), instance=None, limit=1))
    bench.remover.remove("a", EGO)
    assert [(command.id, command.status, command.reason) for command in bench.cancelled] == [
        ("waiting", "failed", "cancelled")
    ]
    rows = bench.storage.read(lambda tx: tx.execute(text("SELECT id, status FROM commands")).all())
    assert {tuple(row) for row in rows} == {("running", "running"), ("waiting", "failed"), ("another", "pending")}


def test_a_removal_that_cannot_be_stored_changes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.post(make_sample("a", at=bench.clock.now(), cpu_percent=95))
    bench.saver.save()
    before = bench.twin.hosts_by_name["a"]

    def away(_work: Any) -> Any:
        raise Unavailable("the database does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(bench.storage, "write", away)
        with pytest.raises(Unavailable):
            bench.remover.remove("a", EGO)
    assert bench.twin.hosts_by_name["a"] == before
    assert [alert.metric for alert in bench.open_alerts.all()] == ["cpu_load_high"]
    assert "a" in bench.known.ids_by_hostname
    bench.remover.remove("a", EGO)  # the next try removes it
    assert "a" not in bench.twin.hosts_by_name.keys() | bench.known.ids_by_hostname.keys()


# ------------------------------------------------------------------ alerts that nothing else would end


def test_an_alert_of_a_rule_that_is_no_longer_in_force_ends_at_the_start(bench: Bench) -> None:
    bench.post(make_sample("a", at=bench.clock.now(), cpu_percent=95))
    bench.saver.save()
    again = bench.again(rules=tuple(rule for rule in RULES if rule.name != "cpu_load_high"))
    assert again.open_alerts.all() == []
    assert again.twin.hosts_by_name["a"].severity is None
    again.saver.save()
    rows = bench.storage.read(lambda tx: tx.execute(text("SELECT status, resolved_reason FROM alerts")).all())
    assert [tuple(row) for row in rows] == [("resolved", "rule-removed")]


def test_the_alerts_of_a_host_that_left_while_ego_was_down_end_at_the_start(bench: Bench) -> None:
    bench.post(*(make_sample(name, at=bench.clock.now(), cpu_percent=95) for name in ("gone", "here")))
    bench.saver.save()
    host = bench.twin.hosts_by_name["gone"]
    bench.storage.write(lambda tx: twin_store.remove(tx, host.id, bench.clock.now()))
    again = bench.again()
    assert [alert.hostname for alert in again.open_alerts.all()] == ["here"]
    assert again.twin.hosts_by_name["here"].severity == "warning"
    assert again.alerts_heard() == []  # what ended before EGO was ready is stored, and told to nobody
    rows = bench.storage.read(
        lambda tx: tx.execute(text("SELECT hostname, status, resolved_reason FROM alerts ORDER BY 1")).all()
    )
    assert [tuple(row) for row in rows] == [("gone", "resolved", "host-removed"), ("here", "active", None)]
