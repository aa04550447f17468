"""Two machines are upgraded one after the other, from the version before the newest change of the schema, under load."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.builders import make_sample
from tests.cluster.conftest import Pair, hosts_of, running_pair
from tests.faults import print_figures
from tests.faults.browsers import GoodBrowser
from tests.faults.load import Batches, Load, stored_samples
from tests.servers import ROOT, EgoServer, PostgresqlServer, slowness, wait_until

FRAME_GAP_SECONDS = 2.0  # a handover takes one at most, and a frame is up to one second old


def git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The sources before the newest change of the schema."""
    try:
        changed = git("log", "--format=%H", "-1", "--diff-filter=A", "--", "migrations/versions").strip()
        git("rev-parse", "--verify", f"{changed}^")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this copy has no history of commits, so there is no older version")
    packed, folder = tmp_path / "older.tar", tmp_path / "older"
    git("archive", f"--output={packed}", f"{changed}^")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.long
def test_two_machines_are_upgraded_in_turn_and_nothing_is_refused(
    postgresql: PostgresqlServer, tmp_path: Path, older: Path
) -> None:
    with running_pair(tmp_path, postgresql.new_database(), sources=older) as pair:
        old = revision(pair)
        acknowledged: set[tuple[str, str]] = set()
        gaps: list[float] = []
        pair.one.post_samples(make_sample("hot", cpu_percent=99))
        first = pair.edge()
        for number, ego in enumerate([first, next(ego for ego in pair.both if ego is not first)]):
            other = next(one for one in pair.both if one is not ego)
            browser = GoodBrowser(other.port)
            load = Load(other, Batches(20, stem=f"load-{number}"), 4, requests_per_second=40).start()
            wait_until(lambda load=load: len(load.acknowledged) > 200, what="the load runs")
            fold = slowness()
            upgrade(ego)
            wait_until(lambda: all(pair.checks(one)["cluster"]["ok"] for one in pair.both), 30, what="both take part")
            before = len(load.acknowledged)
            wait_until(lambda load=load, before=before: len(load.acknowledged) > before + 400, what="the load goes on")
            assert_both_show(pair, f"load-{number}-0000")
            load.stop()
            assert set(load.statuses) == {202}, load.statuses
            assert not load.unanswered
            acknowledged |= load.acknowledged
            gaps.append(max(browser.ages_seconds) / fold)
            browser.close()
        assert revision(pair) != old
        stored = stored_samples(pair.one)
        print_figures("rolling upgrade", acknowledged=len(acknowledged), oldest_frame_s=max(gaps))
        assert acknowledged - stored.keys() == set()
        assert max(stored.values()) == 1
        assert len(pair.one.rows("SELECT 1 FROM alerts WHERE hostname = 'hot'")) == 1
        assert max(gaps) <= FRAME_GAP_SECONDS


def revision(pair: Pair) -> str:
    return str(pair.one.rows("SELECT version_num FROM alembic_version")[0][0])


def upgrade(ego: EgoServer) -> None:
    """Stop an EGO, and start the version of this checkout in its place."""
    ego.stop()
    ego.sources = ROOT
    ego.start()


def assert_both_show(pair: Pair, hostname: str) -> None:
    """Whichever EGO is asked, it shows the same hosts."""
    wait_until(lambda: all(hostname in hosts_of(ego) for ego in pair.both), 5, what="both show the host")
    one, other = (hosts_of(ego) for ego in pair.both)
    assert one.keys() == other.keys()
