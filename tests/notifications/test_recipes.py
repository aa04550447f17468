"""Every recipe of docs/alerting.md, as it stands there but for its addresses, against receivers on this machine."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from email import message_from_string
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import requests

from mirror_stage.alerts.measures import ALIASES
from mirror_stage.alerts.rulebook import RuleBook
from mirror_stage.app import create_app
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.instants import from_text
from mirror_stage.core.selector import Labels
from mirror_stage.notifications.directory import Directory
from mirror_stage.quiet.domain import suppressions
from mirror_stage.quiet.service import Quiet
from mirror_stage.runtime.alerts_commands import _without_dates
from tests.builders import make_sample
from tests.notifications.alerts import BY_NAME, Scene
from tests.notifications.sinks import Sink, sink
from tests.servers import ROOT, EgoServer, free_port, installed, listens, running_ego, wait_until

PAGE = (ROOT / "docs/alerting.md").read_text()
SECTIONS = dict(re.findall(r"^### (.+?)$(.+?)(?=^#)", PAGE, re.MULTILINE | re.DOTALL))
TOML = {
    name: tomllib.loads("\n".join(re.findall(r"^```toml\n(.+?)^```", text, re.M | re.S)))
    for name, text in SECTIONS.items()
}


class Mailbox:
    """An SMTP server in a process of its own, which prints what it gets."""

    def __init__(self, folder: Path):
        self.port, self._file = free_port(), folder / "mails"
        with self._file.open("wb") as out:
            command = [sys.executable, "-u", "-m", "aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Debugging", "stdout"]
            self.process = subprocess.Popen([*command, "-l", f"127.0.0.1:{self.port}"], stdout=out, stderr=out)
        wait_until(lambda: listens(self.port), 10, what="the mail server listens")

    @property
    def mails(self) -> list[Any]:
        """Every mail so far."""
        found = re.findall(r"-+ MESSAGE FOLLOWS -+\n(.+?)-+ END MESSAGE", self._file.read_text(), re.S)
        return [message_from_string(one.lstrip("\n"), policy=default) for one in found]


@pytest.fixture(scope="module")
def mailbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailbox]:
    box = Mailbox(tmp_path_factory.mktemp("mail"))
    yield box
    box.process.terminate()
    box.process.wait(10)


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Alertmanager."""
    program = installed("prometheus-alertmanager", "prometheus-alertmanager")
    folder, port = tmp_path_factory.mktemp("alertmanager"), free_port()
    (folder / "am.yml").write_text("route: {receiver: nobody, group_wait: 0s}\nreceivers: [{name: nobody}]\n")
    command = [
        program,
        f"--config.file={folder}/am.yml",
        f"--storage.path={folder}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--cluster.listen-address="], stdout=log, stderr=log)

    def is_ready() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        return listens(port)

    wait_until(is_ready, 20, what="Alertmanager listens")
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory, mailbox: Mailbox, request: pytest.FixtureRequest
) -> Iterator[tuple[EgoServer, dict[str, Sink]]]:
    """An EGO with the channels of all recipes, and a critical alert that all of them are told of."""
    with ExitStack() as stack:
        sinks = {name: stack.enter_context(sink()) for name in ("hook", "telegram", "slack", "phone", "pager")}
        variables = {
            "NOTIFY_HOOK": "a-token",
            "NOTIFY_TELEGRAM": f"json://127.0.0.1:{sinks['telegram'].port}/",  # their own addresses cannot be reached from here
            "NOTIFY_SLACK": f"json://127.0.0.1:{sinks['slack'].port}/",
            "NOTIFY_PHONE": f"json://127.0.0.1:{sinks['phone'].port}/",
            "NOTIFY_PAGER": "a-routing-key",
        }
        ego = stack.enter_context(running_ego(tmp_path_factory.mktemp("recipes"), variables))
        channels = {name: said for one in TOML.values() for name, said in one.get("channels", {}).items()}
        del channels["ops"]  # of a recipe that is tested without a receiver
        channels["hook"]["url"] = sinks["hook"].url
        channels["pager"]["url"] = sinks["pager"].url
        channels["mail"] |= {"server": "127.0.0.1", "port": mailbox.port, "security": "none"}
        try:
            channels["alertmanager"]["url"] = request.getfixturevalue("alertmanager")
        except pytest.skip.Exception:
            del channels["alertmanager"]
        routes = [{"name": "every", "channels": list(channels), "continue": True}]
        routes += TOML["Only what is critical at the phone, everything by mail, Korean"]["routes"]
        answer = ego.post("/api/alerting/apply", json={"document": {"channels": channels, "routes": routes}})
        assert answer.status_code == 200, answer.text
        disk = {
            "device": "/dev/sda1",
            "mountpoint": "/srv",
            "fstype": "ext4",
            "total_bytes": 100,
            "used_bytes": 98,
            "used_percent": 98.0,
        }
        ego.post_samples(make_sample("db-01", rack="R7", disks=[disk]))
        wait_until(lambda: all(one.got for one in sinks.values()) and mailbox.mails, 30, what="everybody is told")
        yield ego, sinks


DISK, LAPTOP = "A disk of a database server fills, in Telegram, but not at night", "A laptop that sleeps"
RACK, NIGHT = "Planned work on a rack", "What is critical at any hour, the rest by day"


class Applied:
    """An EGO in memory that has a recipe, and what it would tell: alerts come from the test, no message is sent."""

    def __init__(self, recipe: str, now: str):
        app = create_app(Config(testing=True))
        self.ego, self.now = app.extensions["mirror_stage"], from_text(now)
        self.ego[Clock].now = lambda: self.now
        answer = app.test_client().post("/api/alerting/apply", json={"document": _without_dates(TOML[recipe])})
        assert answer.status_code == 200, answer.text
        self.scene = Scene(
            self.ego[Directory].routes, quiet_reasons=self.ego[Quiet].reasons, muted=self.ego[Quiet].muted
        )
        self.scene.clock.instant = self.now
        self.labels: dict[str, Labels] = {}
        self.scene.notifier._labels_of = lambda host: self.labels.get(host, Labels(host))

    def step(self, until: str | None = None, seconds: float = 15) -> list[tuple[str, str]]:
        """(channel, kind) of what is told within some seconds, or until then."""
        self.now = self.scene.clock.instant = self.scene.clock.now() if until is None else from_text(until)
        count = len(self.scene.step(seconds))
        return [(one.channel, one.kind) for one in self.scene.deliveries()[:count]]


@pytest.mark.skipif("disk.daysToFull" not in ALIASES, reason="this EGO has no measure disk.daysToFull yet")
def test_a_disk_that_will_be_full_soon_is_told_by_day(monkeypatch: pytest.MonkeyPatch) -> None:
    applied = Applied(DISK, "2026-12-01T23:00:00+01:00")
    rule = applied.ego[RuleBook].get("db_disk_full_soon").rule
    assert (rule.where.text, rule.is_above, rule.is_breached(2.5), rule.is_breached(4)) == (
        "tier:db",
        False,
        True,
        False,
    )
    monkeypatch.setitem(BY_NAME, rule.name, rule)
    applied.scene.fire("db-01", rule.name, subject="/srv")
    applied.scene.fire("db-01", "memory_high")
    assert applied.step() == applied.step("2026-12-02T06:59:00+01:00") == []
    assert applied.step("2026-12-02T07:00:00+01:00") == [("telegram", "opened")]


def test_nobody_hears_of_a_laptop_that_sleeps_but_of_its_full_disk() -> None:
    applied = Applied(LAPTOP, "2026-12-01T12:00:00Z")
    applied.labels["ada-book"] = Labels("ada-book", tags={"kind": "laptop"})
    for host in ("ada-book", "db-01"):
        applied.scene.caused(applied.scene.fire(host, "host_offline"), host)
    applied.scene.fire("ada-book", "disk_full", subject="/")
    assert applied.step() == [("ops", "opened")] * 2
    told = {(each["hostname"], each["rule"]) for one in applied.scene.deliveries() for each in one.facts["members"]}
    assert told == {("db-01", "host_offline"), ("ada-book", "disk_full")}


def test_planned_work_keeps_a_rack_quiet_until_its_hosts_are_back() -> None:
    applied = Applied(RACK, "2026-12-01T12:00:00Z")
    alert, quiet = applied.scene.fire("db-01", "host_offline"), applied.ego[Quiet]
    in_rack = Labels("db-01", rack="R2")
    (version,) = quiet.listed("maintenance", None)
    assert [
        [one.id for one in suppressions([version], alert, labels, from_text(f"2026-12-05T{at}Z"), quiet.grace)]
        for labels, at in ((in_rack, "06:59:59"), (in_rack, "07:00:00"), (in_rack, "11:05:59"), (in_rack, "11:06:00"), (Labels("x"), "08:00:00"))
    ] == [[], ["move-r2"], ["move-r2"], [], []]  # fmt: skip


def test_by_night_only_what_is_critical_is_told_and_the_rest_in_the_morning() -> None:
    applied = Applied(NIGHT, "2026-12-01T23:00:00+09:00")
    applied.scene.fire("a", "memory_high")
    applied.scene.fire("b", "swap_full", severity="critical")
    assert applied.step() == [("phone", "opened")]
    assert applied.scene.deliveries()[0].facts["rule"] == "swap_full"
    applied.scene.accept_all()
    assert applied.step("2026-12-02T07:00:00+09:00") == [("phone", "opened"), ("phone", "repeat")]


def test_every_other_example_of_the_page_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    client = create_app(Config(testing=True)).test_client()
    ops = {"kind": "webhook", "url": "https://x.lan"}
    for title in ("Not at night", "If a channel fails", "Rules and silences in the same file"):
        (block,) = re.findall(rf"^## {title}\n\n```toml\n(.+?)^```", PAGE, re.S | re.M)
        document = _without_dates(tomllib.loads(block))
        document["channels"] = {"ops": ops, **document.get("channels", {})}
        answer = client.post("/api/alerting/plan", json={"document": document})
        assert (answer.status_code, bool(answer.json["changes"])) == (200, True), answer.text  # type: ignore[index]


Told = tuple[EgoServer, dict[str, Sink]]


def test_the_page_has_the_recipes_that_are_tested_here() -> None:
    assert list(TOML) == [
        DISK, LAPTOP, RACK, NIGHT, "A public status page's webhook", "E-mail", "Telegram", "Slack", "PagerDuty", "Alertmanager beside it",
        "Only what is critical at the phone, everything by mail, Korean",
    ]  # fmt: skip


def test_the_minute_at_the_top_of_the_page_is_a_document_that_egos_take(told: Told) -> None:
    ego, _ = told
    first = tomllib.loads(re.sub("^ {3}", "", re.findall(r"```toml\n(.+?)```", PAGE, re.S)[0], flags=re.M))
    assert ego.post("/api/alerting/plan", json={"document": first}).status_code == 200
    second = tomllib.loads(re.findall(r"## Who hears what\n\n```toml\n(.+?)```", PAGE, re.S)[0])
    channels = {name: {"kind": "webhook", "url": "https://x.lan"} for name in ("phone", "ops")}
    assert ego.post("/api/alerting/plan", json={"document": second | {"channels": channels}}).status_code == 200


def test_a_webhook_is_told(told: Told) -> None:
    got = told[1]["hook"].got[0]
    assert got.headers["Authorization"] == "Bearer a-token"
    assert (got.body["rule"], got.body["rack"], got.body["severity"], got.body["alerts"][0]["subject"]) == (
        "disk_full",
        "R7",
        "critical",
        "/srv",
    )


def test_a_mail_comes(told: Told, mailbox: Mailbox) -> None:
    mail = mailbox.mails[0]
    assert mail["Subject"] == "[CRITICAL] db-01: disk /srv is 98% used"
    assert (mail["From"], mail["To"]) == ("ego@example.org", "ops@example.org")
    assert mail["Message-ID"].endswith("@example.org>")
    assert "db-01: disk /srv is 98% used, since" in mail.get_content()


def test_telegram_is_told_in_korean_and_slack_in_english(told: Told) -> None:
    sinks = told[1]
    assert sinks["telegram"].got[0].body["title"] == "[위험] db-01: 디스크 /srv 사용률 98%"
    assert sinks["slack"].got[0].body["title"] == "[CRITICAL] db-01: disk /srv is 98% used"


@pytest.mark.parametrize(
    "url",
    [
        "tgram://123456789:AAABBBCCCDDDEEEFFFGGGHHHIIIJJJKKKLL/987654321",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops",
    ],
)
def test_apprise_knows_the_addresses_of_the_page(url: str) -> None:
    from mirror_stage.notifications.channels import apprise_trouble

    assert apprise_trouble(url) is None


def test_pagerduty_opens_an_incident(told: Told) -> None:
    body = told[1]["pager"].got[0].body
    assert (body["routing_key"], body["event_action"], body["payload"]["severity"]) == (
        "a-routing-key",
        "trigger",
        "critical",
    )


def test_the_phone_has_its_own_words(told: Told) -> None:
    phone = told[1]["phone"]
    titles = {one.body["title"] for one in phone.got}
    assert "[위험] db-01: 디스크 /srv 사용률 98%" in titles
    assert "위험 db-01: 디스크 /srv 사용률 98%," in phone.got[0].body["message"]


def test_a_real_alertmanager_shows_the_group(told: Told, alertmanager: str) -> None:
    def groups() -> Any:
        return requests.get(f"{alertmanager}/api/v2/alerts/groups", timeout=10).json()

    found = wait_until(groups, 10, what="Alertmanager has a group")
    labels = found[0]["alerts"][0]["labels"]
    assert labels == {
        "alertname": "disk_full", "host": "db-01", "severity": "critical", "subject": "/srv", "rack": "R7", "route": "every",
    }  # fmt: skip
    assert found[0]["alerts"][0]["status"]["state"] == "active"
