"""The keys of an EGO: what a start makes, how the online key is renewed, what happens where files are lost or changed."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config
from mirror_stage.core.instants import DAY
from mirror_stage.core.signed import COMMAND, Recipient, Unproved, key_of, number_of, statement_of, to_text64
from mirror_stage.signing.keys import KeyFolder
from mirror_stage.signing.service import RESERVED, Signer
from tests.builders import SetClock

ME = Recipient("titan-01")


class Ego:
    """The signer of an EGO whose keys are in files."""

    def __init__(self, tmp_path: Path) -> None:
        self.clock = SetClock()
        self.config = Config(sqlite_path=tmp_path / "ego.db")
        self.folder = tmp_path / "ego.tls"
        self.start()
        self.root = key_of(str(self.signer.root))

    def start(self) -> None:
        """Start it, or start it again."""
        self.signer = Signer(self.config, self.clock, lambda _tx, name: Recipient(name))  # type: ignore[arg-type]
        self.signer.open()

    def seq(self) -> int:
        """The number of a new command, as an agent that trusts this EGO reads it."""
        now = self.clock.now()
        signed = self.signer.command(ME, "an-id", "uptime", 30, now, now + 1000)
        assert signed is not None
        return number_of(statement_of(json.loads(signed), self.root, COMMAND, self.clock.now()), 0)

    def pass_days(self, days: float) -> None:
        self.clock.advance(days * 86_400)
        self.signer.look()


@pytest.fixture
def ego(tmp_path: Path) -> Ego:
    return Ego(tmp_path)


def test_the_first_start_makes_keys_that_nobody_else_can_read(ego: Ego) -> None:
    ego.seq()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [ego.folder, *ego.folder.iterdir()]}
    files = ("signing-root.pub", "signing-root.key", "signing-online.json", "signing.seq")
    assert modes == {"ego.tls": 0o700, **dict.fromkeys(files, 0o600)}
    assert ego.signer.check()["ok"]


def test_a_restart_signs_with_the_same_keys(ego: Ego) -> None:
    root, online = ego.signer.root, (ego.folder / "signing-online.json").read_bytes()
    ego.start()
    assert ego.signer.root == root
    assert (ego.folder / "signing-online.json").read_bytes() == online


def test_the_online_key_is_renewed_by_itself_and_agents_that_pin_the_root_notice_nothing(ego: Ego) -> None:
    publics = []
    for days in (0, 58, 2):
        ego.pass_days(days)
        keys = KeyFolder(ego.folder).existing()
        assert keys is not None
        assert keys.root == ego.root
        assert ego.seq() > 0
        publics.append(keys.about.public)
    assert publics[0] == publics[1] != publics[2]
    assert ego.signer.check()["ok"]


def test_what_the_former_online_key_signed_still_counts_while_that_key_is_valid(ego: Ego) -> None:
    now = ego.clock.now()
    signed = json.loads(str(ego.signer.command(ME, "an-id", "uptime", 30, now, now + 30 * DAY)))
    ego.pass_days(60)
    assert statement_of(signed, ego.root, COMMAND, ego.clock.now())["id"] == "an-id"
    ego.pass_days(30)
    with pytest.raises(Unproved, match="online key is valid from"):
        statement_of(signed, ego.root, COMMAND, ego.clock.now())


def test_without_the_roots_key_all_goes_on_until_a_warning_20_days_before_the_end(ego: Ego) -> None:
    kept = (ego.folder / "signing-root.key").read_bytes()
    (ego.folder / "signing-root.key").unlink()
    ego.start()
    assert ego.signer.check()["ok"]
    ego.pass_days(68)
    assert ego.seq()
    assert ego.signer.check()["ok"]
    ego.pass_days(1.5)
    assert ego.seq()
    found = ego.signer.check()
    assert not found["ok"]
    assert "mirror-stage signing rotate" in found["detail"]
    (ego.folder / "signing-root.key").write_bytes(kept)
    (ego.folder / "signing-root.key").chmod(0o600)
    ego.signer.look()
    assert ego.signer.check()["ok"], "the key is back, so the online key was renewed"
    assert ego.seq()


def test_without_the_roots_key_an_online_key_that_has_ended_still_signs_and_agents_say_why_they_refuse(
    ego: Ego,
) -> None:
    (ego.folder / "signing-root.key").unlink()
    ego.pass_days(95)
    with pytest.raises(Unproved, match="mirror-stage signing show"):
        ego.seq()


def test_a_lost_online_key_is_made_anew_from_the_root(ego: Ego) -> None:
    (ego.folder / "signing-online.json").unlink()
    ego.start()
    assert ego.signer.root == to_text64(ego.root)
    assert ego.seq()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"signing-online.json": b"{}"}, "was changed"),
        ({"signing-online.json": None, "signing-root.key": None}, "signing-root.key is not there"),
        (
            {"signing-root.pub": None, "signing-root.key": None},
            "signing-root.pub is not there, although agents trust it",
        ),
        ({"signing-online.json": None, "signing-root.key": b"no key"}, "holds no private key in PEM"),
    ],
)
def test_files_that_were_lost_or_changed_are_told_and_ego_starts_all_the_same(
    ego: Ego, change: dict[str, bytes | None], said: str
) -> None:
    for name, content in change.items():
        (ego.folder / name).unlink()
        if content is not None:
            (ego.folder / name).write_bytes(content)
    ego.start()
    found = ego.signer.check()
    assert not found["ok"]
    assert said in found["detail"]
    assert ego.signer.command(ME, "an-id", "uptime", 30, 0, 0) is None
    assert ego.signer.cancel(ME, "an-id", 0) is None


def test_the_root_of_another_ego_is_refused(ego: Ego, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    KeyFolder(other / "keys").ensure(ego.clock.now())
    (ego.folder / "signing-root.key").write_bytes((other / "keys/signing-root.key").read_bytes())
    with pytest.raises(BadSetting, match=r"is not the key of signing-root\.pub"):
        KeyFolder(ego.folder).ensure(ego.clock.now(), anew=True)


# ------------------------------------------------------------------ the number of a command


def test_the_numbers_rise_also_where_the_clock_stands_still_or_goes_back(ego: Ego) -> None:
    numbers = [ego.seq() for _ in range(3)]
    ego.clock.advance(-3600)
    numbers += [ego.seq() for _ in range(3)]
    assert numbers == sorted(set(numbers))


def test_the_numbers_rise_over_a_restart_though_the_clock_was_set_back(ego: Ego) -> None:
    last = [ego.seq() for _ in range(5)][-1]
    ego.clock.advance(-86_400)
    ego.start()
    assert ego.seq() > last


def test_the_numbers_rise_without_their_file_because_the_clock_does(ego: Ego) -> None:
    last = ego.seq()
    (ego.folder / "signing.seq").unlink()
    ego.clock.advance(1)
    ego.start()
    assert ego.seq() > last


def test_the_file_is_written_once_for_many_numbers(ego: Ego) -> None:
    ego.seq()
    written = (ego.folder / "signing.seq").stat().st_mtime_ns
    for _ in range(50):
        ego.clock.advance(1)
        ego.seq()
    assert (ego.folder / "signing.seq").stat().st_mtime_ns == written
    ego.clock.advance(RESERVED / 1000)
    ego.seq()
    assert (ego.folder / "signing.seq").stat().st_mtime_ns != written
