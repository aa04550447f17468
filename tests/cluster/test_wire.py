"""What crosses between workers arrives as it was sent, and nothing else is taken for it."""

from __future__ import annotations

import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mirror_stage.cluster import wire
from mirror_stage.metrics.domain import Sample
from mirror_stage.pipeline.known_hosts import UNREAD_MAX, KnownHosts
from mirror_stage.pipeline.port import Message
from mirror_stage.twin.domain import Host, fold
from mirror_stage.twin.frames import Frames, Step
from mirror_stage.twin.state import Twin
from tests.builders import decoded, make_sample

T = 1_700_000_000_000


def sample_of(hostname: str, at: int = T, **fields: object) -> Sample:
    """A sample as an edge sends it."""
    return decoded(make_sample(hostname, at=at, **fields), received_at=at)[0]


def fields_of(sample: Sample) -> tuple[object, ...]:
    return wire._of_sample(sample)  # type: ignore[no-any-return]


def test_a_message_arrives_as_it_was_sent() -> None:
    samples = [sample_of("a", cpu_percent=12.5), sample_of("b", tags={"room": "r1"})]
    message = Message({"a": (1, (0.0, 1.5, 2.0))}, samples, {"a": T}, ["c"], acknowledged=["alert"])
    found, encoded = wire.to_message(wire.of_message(message))
    assert (found.newcomers, found.polls, found.removed) == (message.newcomers, message.polls, message.removed)
    assert found.acknowledged == ["alert"]
    assert [name for name, _ in encoded] == ["a", "b"]
    back = [sample for name, raw in encoded if (sample := wire.to_sample(name, raw)) is not None]
    assert [fields_of(one) for one in back] == [fields_of(one) for one in samples]
    assert [(one.order, one.disks_used_percent) for one in back] == [
        (one.order, one.disks_used_percent) for one in samples
    ]


def test_a_step_is_what_the_owner_shows() -> None:
    first, second = sample_of("a"), sample_of("a", T + 5_000, cpu_percent=77)
    before, _ = fold(Host(1, "a", "host", (0.0, 0.0, 0.0)), first)
    after, _ = fold(before, second)
    new = fold(Host(2, "b", "host", (0.0, 0.0, 0.0)), sample_of("b"))[0]
    step = Step("e", 2, T, {1: after, 2: new}, frozenset({2}), frozenset({3}))
    known = {"a": second, "b": new.sample}.get
    found = wire.to_step(wire.decode_frame(wire.of_step(step)), {1: before}.get, known)
    assert found == step


def test_a_worker_that_lacks_a_host_or_a_sample_cannot_take_the_step() -> None:
    host = fold(Host(1, "a", "host", (0.0, 0.0, 0.0)), sample_of("a"))[0]
    body = wire.decode_frame(wire.of_step(Step("e", 2, T, {1: host}, frozenset(), frozenset())))
    older = fold(Host(1, "a", "host", (0.0, 0.0, 0.0)), sample_of("a", T - 1))[0]
    assert wire.to_step(body, {}.get, {"a": host.sample}.get) is None
    assert wire.to_step(body, {1: older}.get, {}.get) is None
    assert wire.to_step(body, {1: older}.get, {"a": host.sample}.get) is not None


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(body: bytes) -> None:
    for decode in (wire.to_message, wire.decode_frame, wire.decode_ask, wire.decode_event, wire.decode_chunk):
        try:
            decode(body)
        except wire.UNREADABLE:
            continue
        assert msgspec.msgpack.decode(body) is not None  # it happened to be well formed


def test_a_sample_of_the_wrong_types_is_refused() -> None:
    good = msgspec.msgpack.decode(wire.encode(wire.SampleForm(*fields_of(sample_of("a")))))
    found = wire.to_sample("a", wire.encode(good))
    assert found is not None
    assert found.hostname == "a"
    assert wire.to_sample("b", wire.encode(good)) is None
    for place in (0, 1, 4):
        assert wire.to_sample("a", wire.encode([*good[:place], {"no": "number"}, *good[place + 1 :]])) is None
    for field, odd in (("at", 2**62), ("received_at", -1), ("cpu_load", math.nan), ("rx_gbps", math.inf)):
        place = wire._SAMPLE.index(field)
        assert wire.to_sample("a", wire.encode([*good[:place], odd, *good[place + 1 :]])) is None, field


def test_encoded_samples_count_like_others_and_stay_bounded() -> None:
    plain, lazy = KnownHosts(), KnownHosts(wire.to_sample)
    for known in (plain, lazy):
        known.hear(Message(newcomers={"a": (1, (0.0, 0.0, 0.0))}))
    samples = [sample_of("a", T + 1_000 * number) for number in (0, 2, 1, 5)]
    plain.hear(Message(samples=samples))
    lazy.hear_encoded(wire.to_message(wire.of_message(Message(samples=samples)))[1])
    mine, its = plain.sample_of("a"), lazy.sample_of("a")
    assert mine is not None
    assert its is not None
    assert fields_of(its) == fields_of(mine)
    many = [sample_of("a", T + 10_000 + number) for number in range(3 * UNREAD_MAX)]
    lazy.hear_encoded(wire.to_message(wire.of_message(Message(samples=many)))[1])
    assert len(lazy._unread["a"]) == UNREAD_MAX
    newest = lazy.sample_of("a")
    assert newest is not None
    assert newest.at == many[-1].at


def twin() -> Twin:
    return Twin(hub="hub", hub_ip="10.0.0.1", ego="ego", stale_after_seconds=15, offline_after_seconds=60)


def test_frames_that_follow_show_what_the_owner_shows() -> None:
    owners, others, steps = twin(), Frames(twin()), []
    frames = Frames(owners)
    frames.on_step = steps.append
    for number, name in enumerate(("a", "b", "c"), start=1):
        owners.add(number, name, (0.0, 0.0, 0.0))
    frames.take(T)
    others.restart(frames.epoch, frames.revision, T, frames.hosts())
    steps.clear()
    for second in range(1, 5):
        for name in ("a", "b"):
            owners.fold(sample_of(name, T + second * 1_000, cpu_percent=second))
        if second == 3:
            owners.forget("c")
        frames.take(T + second * 1_000)
    for step in steps:
        assert others.follow(step)
        assert not others.follow(step)  # the same step again
    assert (others.body(), others.body(with_slots=True)) == (frames.body(), frames.body(with_slots=True))
    assert others.delta(2, T + 4_000) == frames.delta(2, T + 4_000)
    others.restart("another", 1, T, ())
    assert not others.follow(steps[-1])
    assert others.delta(3, T) is None  # clients of the former owner get a snapshot
