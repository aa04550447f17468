"""T2, seen by strace: between the last write of a commit and its 202 answer, the log is synced."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import print_figures, short_and_full
from tests.faults.load import Batches, Load
from tests.servers import EgoServer, wait_until

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None and not os.environ.get("CI"), reason="strace is not installed: apt install strace"
)
CALLS = "fsync,fdatasync,pwrite64,write,recvfrom,sendto,sendmsg"
_CALL = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<file>\d+<[^>]*>)(?P<rest>.*)")
_RESUMED = re.compile(r"(?P<thread>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")


@contextmanager
def traced(ego: EgoServer, file: Path) -> Iterator[None]:
    """Trace the worker with strace: its system calls in order, with file names, written into `file`."""
    command = ["strace", "-f", "-yy", "-s", "40", "-e", f"trace={CALLS}", "-o", str(file), "-p", str(ego.worker_pid())]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        said = strace.stderr.readline()
        if "not permitted" in said:
            pytest.skip(f"nobody may trace here: {said.strip()}")
        assert "attached" in said
        try:
            yield
        finally:
            strace.terminate()


def answers_and_syncs(trace: str) -> tuple[int, int, int]:
    """(number of 202 answers, number of those with a synced log since their request, number of syncs)."""
    asked_at: dict[str, int] = {}  # the line at which a connection's request was read
    begun: dict[str, tuple[str, str]] = {}  # the call and its file, by thread
    written_at = safe_to = 0  # the lines of the log's last write, and of the last that is synced
    answers = kept = syncs = 0
    for at, line in enumerate(trace.splitlines(), start=1):
        is_begin = _CALL.match(line)
        match = is_begin or _RESUMED.match(line)
        if match is None:
            continue
        if is_begin:
            begun[match["thread"]] = (match["name"], match["file"])
        name, file = begun.get(match["thread"], ("", ""))  # requests under way when strace began
        is_log, is_done = file.endswith("ego.db-wal>"), "unfinished" not in line
        if name in {"pwrite64", "write"} and is_log:
            written_at = at
        elif name in {"fsync", "fdatasync"} and is_log and is_done and line.endswith("= 0"):
            safe_to, syncs = written_at, syncs + 1
        elif name == "recvfrom" and is_done and "POST /api/metrics" in line:
            asked_at[file] = at
        elif name in {"sendto", "sendmsg"} and is_begin and "HTTP/1.1 202" in line:
            answers += 1
            kept += asked_at.get(file, at) < safe_to
    return answers, kept, syncs


@pytest.mark.parametrize("senders", [1, 4])
@pytest.mark.parametrize("requests", short_and_full(50, 1000))
def test_every_202_comes_after_its_log_was_synced(
    start_ego: Callable[..., EgoServer], tmp_path: Path, requests: int, senders: int
) -> None:
    """With one sender, each batch has its own commit; with four, batches are committed in groups."""
    ego, trace = start_ego(), tmp_path / "calls"
    with traced(ego, trace):
        load = Load(ego, Batches(5), connections=senders).start()
        wait_until(lambda: load.statuses[202] >= requests, 300, what="enough acknowledgements")
        load.stop()
    answers, kept, syncs = answers_and_syncs(trace.read_text(errors="replace"))
    print_figures("T2 calls", senders=senders, answers=answers, synced_first=kept, syncs=syncs)
    assert load.statuses.keys() == {202}
    assert answers == load.statuses[202]
    assert kept == answers
