"""Output while a command runs: stored once, bounded, replayed to whoever watches, then streamed."""

from __future__ import annotations

import pytest

from mirror_stage.commands import store
from mirror_stage.commands.domain import OUTPUT_BYTES_KEPT, Chunk, Command
from mirror_stage.commands.watchers import WATCHES_OF_CLIENT_MAX
from mirror_stage.core.problems import Conflict, NotFound
from tests.commands.world import AGENT, OPERATOR, UNKNOWN, World


def say(world: World, command: Command, seq: int, text: str = "line\n") -> None:
    world.commands.append_output(command.id, Chunk(seq, "stdout", text), AGENT)


def stored(world: World, command: Command, after_seq: int = -1) -> list[int]:
    _, chunks = world.storage.read(lambda tx: store.output_after(tx, command.id, after_seq, OPERATOR))
    return [chunk.seq for chunk in chunks]


def heard(world: World, client: str = "browser") -> list[int]:
    assert {event for _, event, _ in world.realtime.told} <= {"command-output"}
    return [payload["seq"] for sid, _, payload in world.realtime.told if sid == client]


def test_output_extends_the_lease_and_tells_of_a_cancel(world: World) -> None:
    command = world.running()
    world.commands.cancel(command.id, OPERATOR)
    world.clock.advance(50)
    lease = world.commands.append_output(command.id, Chunk(0, "stderr", "x"), AGENT)
    assert lease.lease_until == world.clock.now() + 90_000
    assert lease.cancel_requested


def test_a_chunk_that_comes_again_is_stored_once(world: World) -> None:
    command = world.running()
    world.commands.watch("browser", command.id, -1, OPERATOR)
    for seq in (0, 0, 1, 0, 1, 5, 3):
        say(world, command, seq)
    assert stored(world, command) == [0, 1, 5]
    assert heard(world) == [0, 1, 5]


def test_a_watcher_whose_right_is_gone_hears_no_further_chunk(world: World) -> None:
    command = world.running()
    may_hear = [True]
    world.commands.watch("browser", command.id, -1, OPERATOR, lambda: may_hear[0])
    say(world, command, 0)
    may_hear[0] = False
    say(world, command, 1)
    may_hear[0] = True
    say(world, command, 2)
    assert heard(world) == [0]


def test_a_watcher_gets_what_is_stored_then_what_comes(world: World) -> None:
    command = world.running()
    for seq in range(4):
        say(world, command, seq)
    world.commands.watch("browser", command.id, 1, OPERATOR)
    assert heard(world) == [2, 3]
    say(world, command, 4, "more\n")
    assert world.realtime.told[-1] == (
        "browser",
        "command-output",
        {"id": command.id, "seq": 4, "stream": "stdout", "data": "more\n"},
    )
    assert heard(world, "another") == []


def test_what_comes_during_the_replay_comes_after_it_and_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    command = world.running()
    say(world, command, 0)
    read = world.storage.read

    def slow_read(query):  # type: ignore[no-untyped-def]
        say(world, command, 1)
        answer = read(query)
        say(world, command, 2)
        return answer

    monkeypatch.setattr(world.storage, "read", slow_read)
    world.commands.watch("browser", command.id, -1, OPERATOR)
    assert heard(world) == [0, 1, 2]


def test_watching_ends_with_the_command_or_the_client(world: World) -> None:
    first, second = world.running(), world.running()
    for client in ("browser", "another"):
        world.commands.watch(client, first.id, -1, OPERATOR)
        world.commands.watch(client, second.id, -1, OPERATOR)
    world.report(first)
    world.commands.forget_client("another")
    say(world, second, 0)
    assert (heard(world, "browser"), heard(world, "another")) == ([0], [])
    world.report(second)
    assert not world.commands._watchers._watches_by_id
    assert not world.commands._watchers._ids_by_client


def test_an_unknown_command_cannot_be_watched_and_leaves_nothing_behind(world: World) -> None:
    with pytest.raises(NotFound):
        world.commands.watch("browser", UNKNOWN, -1, OPERATOR)
    assert not world.commands._watchers._ids_by_client


def test_a_client_that_watches_more_than_16_commands_loses_the_oldest(world: World) -> None:
    commands = [world.running(host=f"titan-{n}") for n in range(WATCHES_OF_CLIENT_MAX + 1)]
    for command in commands:
        world.commands.watch("browser", command.id, -1, OPERATOR)
    for seq, command in enumerate(commands):
        say(world, command, seq)
    assert heard(world) == list(range(1, len(commands)))


def test_the_newest_256_kib_are_kept(world: World) -> None:
    command = world.running()
    for seq in range(40):
        say(world, command, seq, "x" * 16_384)
    kept = stored(world, command)
    assert kept == list(range(24, 40))
    assert len(kept) * 16_384 <= OUTPUT_BYTES_KEPT


def test_empty_chunks_do_not_pile_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "OUTPUT_BYTES_KEPT", 6_400)
    command = world.running()
    for seq in range(150):
        say(world, command, seq, "")
    assert stored(world, command) == list(range(50, 150))


def test_the_result_replaces_the_output_but_a_lost_command_keeps_it(world: World) -> None:
    done, lost = world.running(host="titan-02"), world.running()
    say(world, done, 0)
    say(world, lost, 0)
    world.report(done)
    world.pass_seconds(90)
    assert stored(world, done) == []
    assert stored(world, lost) == [0]
    world.commands.watch("browser", lost.id, -1, OPERATOR)
    assert heard(world) == [0]
    world.report(lost)
    assert stored(world, lost) == []


def test_only_a_running_command_takes_output(world: World) -> None:
    with pytest.raises(Conflict, match="never handed out"):
        say(world, world.create(), 0)
    with pytest.raises(Conflict, match="lease is over"):
        say(world, world.lost(), 0)
