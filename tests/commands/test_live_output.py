"""Output of a running command: EGO stores it once, limits it, and sends each watcher the stored part, then the rest live."""

from __future__ import annotations

import pytest

from mirror_stage.commands import store
from mirror_stage.commands.domain import OUTPUT_BYTES_KEPT, Chunk, Command
from mirror_stage.commands.watchers import WATCHES_OF_CLIENT_MAX
from mirror_stage.core.problems import Conflict, NotFound
from tests.commands.bench import AGENT, OPERATOR, UNKNOWN, CommandBench


def say(bench: CommandBench, command: Command, seq: int, text: str = "line\n") -> None:
    bench.commands.append_output(command.id, Chunk(seq, "stdout", text), AGENT)


def stored(bench: CommandBench, command: Command, after_seq: int = -1) -> list[int]:
    _, chunks = bench.storage.read(lambda tx: store.output_after(tx, command.id, after_seq, OPERATOR))
    return [chunk.seq for chunk in chunks]


def heard(bench: CommandBench, client: str = "browser") -> list[int]:
    assert {event for _, event, _ in bench.realtime.sent} <= {"command-output"}
    return [payload["seq"] for sid, _, payload in bench.realtime.sent if sid == client]


def test_output_extends_the_lease_and_its_answer_reports_a_cancel(bench: CommandBench) -> None:
    command = bench.running()
    bench.commands.cancel(command.id, OPERATOR)
    bench.clock.advance(50)
    lease = bench.commands.append_output(command.id, Chunk(0, "stderr", "x"), AGENT)
    assert lease.lease_until == bench.clock.now() + 90_000
    assert lease.cancel_requested


def test_a_chunk_that_comes_again_is_stored_once(bench: CommandBench) -> None:
    command = bench.running()
    bench.commands.watch("browser", command.id, -1, OPERATOR)
    for seq in (0, 0, 1, 0, 1, 5, 3):
        say(bench, command, seq)
    assert stored(bench, command) == [0, 1, 5]
    assert heard(bench) == [0, 1, 5]


def test_a_watcher_that_lost_its_permission_gets_no_further_chunk(bench: CommandBench) -> None:
    command = bench.running()
    may_hear = [True]
    bench.commands.watch("browser", command.id, -1, OPERATOR, lambda: may_hear[0])
    say(bench, command, 0)
    may_hear[0] = False
    say(bench, command, 1)
    may_hear[0] = True
    say(bench, command, 2)
    assert heard(bench) == [0]


def test_a_watcher_gets_the_stored_chunks_then_the_new_ones(bench: CommandBench) -> None:
    command = bench.running()
    for seq in range(4):
        say(bench, command, seq)
    bench.commands.watch("browser", command.id, 1, OPERATOR)
    assert heard(bench) == [2, 3]
    say(bench, command, 4, "more\n")
    assert bench.realtime.sent[-1] == (
        "browser",
        "command-output",
        {"id": command.id, "seq": 4, "stream": "stdout", "data": "more\n"},
    )
    assert heard(bench, "another") == []


def test_a_chunk_that_arrives_during_the_replay_is_sent_after_it_and_once(
    bench: CommandBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = bench.running()
    say(bench, command, 0)
    read = bench.storage.read

    def slow_read(query):  # type: ignore[no-untyped-def]
        say(bench, command, 1)
        answer = read(query)
        say(bench, command, 2)
        return answer

    monkeypatch.setattr(bench.storage, "read", slow_read)
    bench.commands.watch("browser", command.id, -1, OPERATOR)
    assert heard(bench) == [0, 1, 2]


def test_watching_ends_with_the_command_or_the_client(bench: CommandBench) -> None:
    first, second = bench.running(), bench.running()
    for client in ("browser", "another"):
        bench.commands.watch(client, first.id, -1, OPERATOR)
        bench.commands.watch(client, second.id, -1, OPERATOR)
    bench.report(first)
    bench.commands.forget_client("another")
    say(bench, second, 0)
    assert (heard(bench, "browser"), heard(bench, "another")) == ([0], [])
    bench.report(second)
    assert not bench.commands._watchers._watches_by_id
    assert not bench.commands._watchers._ids_by_client


def test_an_unknown_command_cannot_be_watched_and_leaves_no_watch(bench: CommandBench) -> None:
    with pytest.raises(NotFound):
        bench.commands.watch("browser", UNKNOWN, -1, OPERATOR)
    assert not bench.commands._watchers._ids_by_client


def test_a_client_that_watches_more_than_16_commands_loses_the_oldest(bench: CommandBench) -> None:
    commands = [bench.running(host=f"titan-{n}") for n in range(WATCHES_OF_CLIENT_MAX + 1)]
    for command in commands:
        bench.commands.watch("browser", command.id, -1, OPERATOR)
    for seq, command in enumerate(commands):
        say(bench, command, seq)
    assert heard(bench) == list(range(1, len(commands)))


def test_the_newest_256_kib_are_kept(bench: CommandBench) -> None:
    command = bench.running()
    for seq in range(40):
        say(bench, command, seq, "x" * 16_384)
    kept = stored(bench, command)
    assert kept == list(range(23, 40))
    assert len(kept[1:]) * 16_384 <= OUTPUT_BYTES_KEPT
    (first, *_) = bench.storage.read(lambda tx: store.output_after(tx, command.id, -1, OPERATOR))[1]
    assert first.text == f"[{24 * 16_384} bytes are left out here]\n"


def test_each_stream_says_what_was_left_out_of_it(bench: CommandBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "OUTPUT_BYTES_KEPT", 1_000)
    command = bench.running()
    bench.commands.append_output(command.id, Chunk(0, "stderr", "warning\n"), AGENT)
    for seq in range(1, 40):
        say(bench, command, seq, f"a line {seq:02}\n of two")
    _, chunks = bench.storage.read(lambda tx: store.output_after(tx, command.id, -1, OPERATOR))
    assert [chunk.text for chunk in chunks if chunk.stream == "stderr"] == ["[8 bytes are left out here]\n"]
    printed = "".join(chunk.text for chunk in chunks if chunk.stream == "stdout")
    mark, rest = printed.split("\n", 1)
    assert int(mark.split()[0][1:]) + len(rest) == 39 * 17
    assert rest.startswith("a line 27\n of two")  # pieces go whole


def test_empty_chunks_do_not_pile_up(bench: CommandBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "OUTPUT_BYTES_KEPT", 6_400)
    command = bench.running()
    for seq in range(150):
        say(bench, command, seq, "")
    assert stored(bench, command) == list(range(50, 150))


def test_the_result_replaces_the_output_but_a_lost_command_keeps_it(bench: CommandBench) -> None:
    done, lost = bench.running(host="titan-02"), bench.running()
    say(bench, done, 0)
    say(bench, lost, 0)
    bench.report(done)
    bench.pass_seconds(90)
    assert stored(bench, done) == []
    assert stored(bench, lost) == [0]
    bench.commands.watch("browser", lost.id, -1, OPERATOR)
    assert heard(bench) == [0]
    bench.report(lost)
    assert stored(bench, lost) == []


def test_only_a_running_command_takes_output(bench: CommandBench) -> None:
    with pytest.raises(Conflict, match="never handed out"):
        say(bench, bench.create(), 0)
    with pytest.raises(Conflict, match="lease is over"):
        say(bench, bench.lost(), 0)
