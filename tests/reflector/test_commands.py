"""Commands from the claim to the result, with a server whose answers and failures the test decides."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mirror_stage.reflector import backoff
from mirror_stage.reflector import commands as module
from mirror_stage.reflector.commands import Commands
from mirror_stage.reflector.journal import Journal, JournalFull
from mirror_stage.reflector.policy import judge
from mirror_stage.reflector.uplink import Uplink
from tests.reflector.scripted_ego import Asked, Reply, ScriptedEgo, problem
from tests.servers import wait_until

Start = Callable[..., Commands]


class Queue:
    """The commands that a scripted EGO hands out, each once and oldest first."""

    def __init__(self, scripted: ScriptedEgo) -> None:
        self._waiting: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self.replies: dict[str, Reply] = {}  # by the last segment of the path
        self.polls = 0  # the number of polls that wait for a command
        scripted.decide = self.decide

    def add(self, command: str, timeout_seconds: float = 30) -> str:
        id = str(uuid.uuid4())
        with self._lock:
            self._waiting.append({"id": id, "command": command, "timeoutSeconds": timeout_seconds})
        return id

    def again(self, id: str, command: str) -> None:
        """Hand out the same command again, as EGO does if its answer may be lost."""
        with self._lock:
            self._waiting.append({"id": id, "command": command, "timeoutSeconds": 30})

    def wait_for_polls_to_end(self) -> None:
        """Wait until no poll is open. A stopped agent leaves its poll open here; the end of a real process would close it."""
        wait_until(lambda: self.polls == 0)

    def decide(self, asked: Asked) -> Reply | None:
        word = asked.path.partition("?")[0].rpartition("/")[2]
        if word in self.replies:
            return self.replies[word]
        if "/pending/" not in asked.path:
            return Reply(200, {"leaseUntil": "2030-01-01T00:00:00.000Z", "cancelRequested": False})
        limit = int(asked.path.partition("limit=")[2].partition("&")[0])
        deadline = time.monotonic() + 1.5
        self.polls += 1
        while not self._waiting and time.monotonic() < deadline:
            time.sleep(0.005)
        self.polls -= 1
        with self._lock:
            handed, self._waiting = self._waiting[:limit], self._waiting[limit:]
        return Reply(200, handed)


@pytest.fixture
def queue(scripted: ScriptedEgo) -> Queue:
    return Queue(scripted)


@pytest.fixture
def start(scripted: ScriptedEgo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start an agent's commands: `start(policy="all")`. After their `stop`, start them again on the same journal."""
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.1)
    with ExitStack() as stack:

        def begin(policy: str = "all", patterns: tuple[str, ...] = (), concurrency: int = 4) -> Commands:
            commands = Commands(
                "titan-01",
                Uplink(scripted.url),
                Journal(tmp_path / "journal"),
                partial(judge, policy=policy, patterns=patterns),
                concurrency=concurrency,
            )
            stack.callback(commands.stop, 2.0)
            commands.start()
            return commands

        yield begin


def results(scripted: ScriptedEgo) -> dict[str, dict[str, Any]]:
    """The results that arrived, by command id."""
    return {asked.path.split("/")[-2]: asked.content for asked in scripted.of("/result")}


def result(scripted: ScriptedEgo, id: str) -> dict[str, Any]:
    return wait_until(lambda: results(scripted).get(id), what=f"the result of {id}")  # type: ignore[no-any-return]


def test_a_command_is_claimed_started_and_reported(scripted: ScriptedEgo, queue: Queue, start: Start) -> None:
    start()
    id = queue.add("sh -c 'echo out; echo err >&2; exit 3'")
    reported = result(scripted, id)
    assert (reported["status"], reported["exitCode"]) == ("failed", 3)
    assert (reported["stdout"], reported["stderr"]) == ("out\n", "err\n")
    poll = scripted.of("/pending/")[0]
    assert poll.path == "/api/commands/pending/titan-01?limit=4&wait=25"
    assert uuid.UUID(poll.headers["X-Reflector-Instance"])
    assert poll.headers["X-Reflector-Journal"] == "1"
    assert scripted.of(f"/{id}/heartbeat")[0].content == {"phase": "started"}


@pytest.mark.parametrize(
    ("policy", "command", "said"),
    [
        ("off", "touch {marker}", "commands are off on this host"),
        ("allow_list", "touch {marker}", "not on the allow-list"),
        ("allow_list", "uptime; touch {marker}", "not on the allow-list"),
        ("all", "touch '{marker}", "cannot be split into words"),
        ("all", "echo hi > {marker}", "holds > outside of quotes"),
        ("all", "echo one\ntouch {marker}", "holds a line break outside of quotes"),
    ],
)
def test_a_command_that_is_not_allowed_is_reported_and_does_not_run(
    policy: str, command: str, said: str, scripted: ScriptedEgo, queue: Queue, start: Start, tmp_path: Path
) -> None:
    start(policy, ("uptime",))
    reported = result(scripted, queue.add(command.format(marker=tmp_path / "marker")))
    assert (reported["status"], reported["reason"]) == ("failed", "rejected")
    assert said in reported["stderr"]
    assert not (tmp_path / "marker").exists()


def test_a_command_that_ego_hands_out_again_does_not_run_again(
    scripted: ScriptedEgo, queue: Queue, start: Start, tmp_path: Path
) -> None:
    commands = start()
    script = f"sh -c 'echo x >>{tmp_path}/marker; sleep 0.3'"
    id = queue.add(script)
    wait_until((tmp_path / "marker").exists)
    queue.again(id, script)  # while it runs
    result(scripted, id)
    queue.again(id, script)  # after it has ended
    done = queue.add("true")
    result(scripted, done)
    commands.stop(2.0)
    queue.wait_for_polls_to_end()
    start()
    queue.again(id, script)  # after a restart
    result(scripted, queue.add("true"))
    assert (tmp_path / "marker").read_text() == "x\n"
    assert len(scripted.of(f"/{id}/result")) == 1


def test_a_command_that_is_twice_in_one_answer_runs_once(
    scripted: ScriptedEgo, queue: Queue, start: Start, tmp_path: Path
) -> None:
    twice = [{"id": str(uuid.uuid4()), "command": f"sh -c 'echo x >>{tmp_path}/marker'", "timeoutSeconds": 30}] * 2
    decide, answers = queue.decide, [twice]
    scripted.decide = lambda asked: (
        Reply(200, answers.pop()) if "/pending/" in asked.path and answers else decide(asked)
    )
    start()
    result(scripted, twice[0]["id"])
    result(scripted, queue.add("true"))
    assert (tmp_path / "marker").read_text() == "x\n"


def test_an_agent_that_cannot_start_a_thread_reports_a_failure_and_goes_on(
    scripted: ScriptedEgo, queue: Queue, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(concurrency=1)
    scripted.wait_for("/pending/")
    begin = threading.Thread.start

    def none_left(thread: threading.Thread) -> None:
        if thread.name == "command":
            raise RuntimeError("can't start new thread")
        begin(thread)

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", none_left)
        assert "can't start new thread" in result(scripted, queue.add("true"))["stderr"]
    assert result(scripted, queue.add("true"))["status"] == "succeeded"


def test_a_long_command_delays_no_other_and_only_free_slots_are_claimed(
    scripted: ScriptedEgo, queue: Queue, start: Start
) -> None:
    start(concurrency=2)
    queue.add("sleep 30")
    wait_until(lambda: any("limit=1" in asked.path for asked in scripted.of("/pending/")))
    for _ in range(5):
        began = time.monotonic()
        result(scripted, queue.add("true"))
        assert time.monotonic() - began < 10  # not 30
    queue.add("sleep 30")
    wait_until(lambda: len(scripted.of("/heartbeat")) >= 7)
    polls = len(scripted.of("/pending/"))
    time.sleep(0.5)
    assert len(scripted.of("/pending/")) == polls, "the agent claims nothing while no slot is free"


def test_a_result_is_sent_until_it_is_acknowledged_also_after_a_restart(
    scripted: ScriptedEgo, queue: Queue, start: Start
) -> None:
    queue.replies["result"] = problem(503)
    commands = start()
    id = queue.add("echo kept")
    wait_until(lambda: len(scripted.of(f"/{id}/result")) >= 2)
    commands.stop(1.0)
    queue.wait_for_polls_to_end()
    queue.replies.clear()
    before = len(scripted.of(f"/{id}/result"))
    start()
    wait_until(lambda: len(scripted.of(f"/{id}/result")) == before + 1)
    result(scripted, queue.add("true"))
    sent = [asked.content for asked in scripted.of(f"/{id}/result")]
    assert len(sent) == before + 1, "an acknowledged result is not sent again"
    assert all(content == sent[0] for content in sent), "EGO recognises a repeat because it is identical"


@pytest.mark.parametrize("status", [400, 404, 409])
def test_a_result_that_ego_refuses_delays_no_other(
    status: int, scripted: ScriptedEgo, queue: Queue, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    queue.replies["result"] = problem(status, "not this one")
    start()
    id = queue.add("true")
    wait_until(lambda: "not this one" in caplog.text)
    queue.replies.clear()
    result(scripted, queue.add("true"))
    assert len(scripted.of(f"/{id}/result")) == 1


def test_a_cancel_is_heard_with_the_next_heartbeat(
    scripted: ScriptedEgo, queue: Queue, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirror_stage.reflector.live.HEARTBEAT_SECONDS", 0.3)
    start()
    id = queue.add("sleep 60")
    scripted.wait_for(f"/{id}/heartbeat", 2)
    queue.replies["heartbeat"] = Reply(200, {"leaseUntil": "2030-01-01T00:00:00.000Z", "cancelRequested": True})
    reported = result(scripted, id)
    assert (reported["status"], reported["reason"], reported["exitCode"]) == ("failed", "cancelled", -15)


def test_output_is_live_in_rising_order_and_at_most_four_times_a_second(
    scripted: ScriptedEgo, queue: Queue, start: Start
) -> None:
    start()
    id = queue.add("sh -c 'i=0; while [ $i -lt 30 ]; do echo $i; echo e$i >&2; i=$((i+1)); sleep 0.05; done'")
    result(scripted, id)
    chunks = scripted.of(f"/{id}/output")
    assert 4 <= len(chunks) <= 9, "1.5 s at four chunks a second"
    assert [asked.content["seq"] for asked in chunks] == list(range(len(chunks)))
    assert all(after.at - before.at > 0.2 for before, after in pairwise(chunks))
    whole = "".join(map("{}\n".format, range(30)))
    for stream, written in (("stdout", whole), ("stderr", "".join(map("e{}\n".format, range(30))))):
        told = "".join(asked.content["data"] for asked in chunks if asked.content["stream"] == stream)
        assert told, f"no live {stream}"
        assert written.startswith(told)


def test_a_machine_that_gets_another_name_polls_for_the_new_name(scripted: ScriptedEgo, start: Start) -> None:
    commands = start()
    wait_until(lambda: scripted.of("/pending/titan-01?"))
    commands.serve("타이탄")
    wait_until(lambda: scripted.of("/pending/%ED%83%80%EC%9D%B4%ED%83%84?"), what="a poll for the new name")


def test_an_ego_that_answers_polls_at_once_is_not_polled_without_pause(scripted: ScriptedEgo, start: Start) -> None:
    start()
    first, second = scripted.wait_for("/pending/", 2)[:2]
    assert second.at - first.at >= module.PAUSE_SECONDS


def test_a_command_that_cannot_be_written_to_the_journal_does_not_run(
    scripted: ScriptedEgo, queue: Queue, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = start()

    def full(*_: object) -> None:
        raise JournalFull("cannot write to journal: No space left on device")

    monkeypatch.setattr(commands._journal, "begin", full)
    reported = result(scripted, queue.add(f"touch {tmp_path}/marker"))
    assert (reported["status"], reported["reason"]) == ("failed", "rejected")
    assert "No space left on device" in reported["stderr"]
    assert not (tmp_path / "marker").exists()


def test_an_agent_that_is_stopped_ends_its_commands_and_reports_it(
    scripted: ScriptedEgo, queue: Queue, start: Start
) -> None:
    commands = start()
    id = queue.add("sh -c 'echo begun; sleep 60'")
    scripted.wait_for(f"/{id}/output")
    began = time.monotonic()
    commands.stop(1.4)
    assert time.monotonic() - began < 1.4
    reported = results(scripted)[id]
    assert (reported["status"], reported["reason"], reported["stdout"]) == ("failed", "agent_restarted", "begun\n")


def test_an_answer_that_is_not_a_list_of_commands_does_not_stop_the_agent(
    scripted: ScriptedEgo, queue: Queue, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    nonsense: list[Any] = [{"items": []}, [1], [{"id": "x"}], "no", 7]
    decide = scripted.decide
    scripted.decide = lambda asked: (
        Reply(200, nonsense.pop()) if "/pending/" in asked.path and nonsense else decide(asked)
    )
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.1)
    start()
    assert result(scripted, queue.add("true"))["status"] == "succeeded"


def test_the_output_of_a_command_whose_agent_died_is_unknown_and_not_empty(
    scripted: ScriptedEgo, queue: Queue, start: Start, tmp_path: Path
) -> None:
    Journal(tmp_path / "journal").begin(["begun-by-the-former"])
    start()
    reported = result(scripted, "begun-by-the-former")
    assert (reported["status"], reported["reason"]) == ("failed", "agent_restarted")
    assert (reported["stdout"], reported["stdoutBytes"]) == (None, None)
    assert "the agent died while this ran" in reported["stderr"]


def test_a_variable_that_no_shell_replaced_is_noted_on_stderr(
    scripted: ScriptedEgo, queue: Queue, start: Start
) -> None:
    start()
    reported = result(scripted, queue.add("echo $HOME *"))
    assert (reported["status"], reported["stdout"]) == ("succeeded", "$HOME *\n")
    said = "mirror-stage reflector: no shell runs this, so $HOME * was passed on as written"
    assert reported["stderr"].startswith(said)
