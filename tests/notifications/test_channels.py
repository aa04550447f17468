"""What each kind of channel sends, and what it makes of the receiver's answer."""

from __future__ import annotations

import gzip
import logging
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import gevent
import pytest
import requests

from mirror_stage.core.instants import HOUR, MINUTE
from mirror_stage.notifications import bounded, channels, grouping
from mirror_stage.notifications.channels import Channel, Message, send
from mirror_stage.notifications.domain import Group, Outcome, facts_of, next_try
from mirror_stage.notifications.words import Manner, text_of
from tests.notifications.alerts import fired
from tests.notifications.sinks import endless, endless_mail, hang, raw, reset, sink
from tests.servers import ROOT

T = 1_762_000_000_000
SECRET = "planted-s3cret"


def message(kind: str = "opened", severity: str = "critical") -> Message:
    made = Group("g-1", "k", "all", None, "disk_full", "R1", T, T)
    grouping.fire(made, fired("db-01", "disk_full", T, subject="/srv"))
    if kind == "over":
        grouping.end(next(iter(made.members.values())), 2, T + MINUTE, "value", 40.0)
    facts = facts_of(made, T + 2 * MINUTE)
    return Message(
        "key-1", "g-1", kind, severity, facts, text_of(kind, severity, facts, Manner(), "http://ego/"), "http://ego/", T
    )


def channel(kind: str, **settings: Any) -> Channel:
    return Channel("ops", kind, settings)


def test_a_webhook_gets_json_with_a_key() -> None:
    with sink() as receiver:
        assert send(channel("webhook"), {"url": f"{receiver.url}/hook", "secret": SECRET}, message()) == Outcome(
            True, 200
        )
    got = receiver.got[0]
    assert (got.path, got.headers["Idempotency-Key"], got.headers["Authorization"]) == (
        "/hook",
        "key-1",
        f"Bearer {SECRET}",
    )
    assert (got.body["status"], got.body["severity"], got.body["group"], got.body["open"]) == (
        "firing",
        "critical",
        "g-1",
        1,
    )
    assert got.body["alerts"][0]["subject"] == "/srv"
    assert got.body["startedAt"] == "2025-11-01T12:26:40.000Z"


def test_pagerduty_opens_and_ends_one_incident_a_group() -> None:
    with sink(lambda _: (202, {})) as receiver:
        for kind in ("opened", "over"):
            assert send(channel("pagerduty"), {"url": receiver.url, "secret": SECRET}, message(kind)).is_accepted
    first, second = (one.body for one in receiver.got)
    assert receiver.got[0].path == "/v2/enqueue"
    assert (first["event_action"], second["event_action"]) == ("trigger", "resolve")
    assert first["dedup_key"] == second["dedup_key"] == "g-1"
    assert (first["payload"]["severity"], first["payload"]["source"], first["routing_key"]) == (
        "critical",
        "db-01",
        SECRET,
    )


def test_alertmanager_gets_alerts_that_last_until_the_next_message() -> None:
    with sink() as receiver:
        for kind in ("opened", "over"):
            assert send(channel("alertmanager"), {"url": receiver.url + "/"}, message(kind)).is_accepted
    assert receiver.got[0].path == "/api/v2/alerts"
    opened, ended = receiver.got[0].body[0], receiver.got[1].body[0]
    assert opened["labels"] == ended["labels"]
    assert opened["labels"]["alertname"] == "disk_full"
    assert (opened["endsAt"], ended["endsAt"]) == ("2025-11-01T17:26:40.000Z", "2025-11-01T12:27:40.000Z")
    assert {one["labels"]["severity"] for one in receiver.got[1].body} == {"info", "warning", "critical"}


def test_a_mail_has_the_key_and_the_thread() -> None:
    mail = channels.mail_of(channel("email", sender="ego@lan", recipients=["a@lan", "b@lan"]), message())
    assert mail["Message-ID"] == "<key-1@lan>"
    assert mail["References"] == "<g-1@lan>"
    assert mail["To"] == "a@lan, b@lan"
    assert mail["Subject"] == "[CRITICAL] db-01: disk /srv is 99% used"


@pytest.mark.parametrize(
    ("status", "headers", "is_final", "wait"),
    [
        (500, {}, False, None),
        (503, {"Retry-After": "120"}, False, 120_000),
        (429, {"Retry-After": "soon"}, False, None),
        (408, {}, False, None),
        (425, {}, False, None),
        (404, {}, True, None),
        (401, {}, True, None),
        (302, {"Location": "http://127.0.0.1:9/elsewhere"}, True, None),
    ],
)
def test_each_answer_has_its_outcome(status: int, headers: dict[str, str], *, is_final: bool, wait: int | None) -> None:
    with sink(lambda _: (status, headers)) as receiver:
        found = send(channel("webhook"), {"url": f"{receiver.url}/{SECRET}"}, message())
    assert (found.is_accepted, found.status, found.is_final, found.retry_after) == (False, status, is_final, wait)
    assert len(receiver.got) == 1
    assert SECRET not in str(found.detail)


LOADS = """
from gevent import monkey
monkey.patch_all()
import gevent
from mirror_stage.notifications.channels import apprise_trouble
beats = []
def beat():
    while True:
        beats.append(1)
        gevent.sleep(0.005)
gevent.spawn(beat)
asked = [gevent.spawn(apprise_trouble, "json://127.0.0.1:9/x") for _ in range(3)]
gevent.joinall(asked)
print(len(beats), [one.value for one in asked])
"""


def test_apprise_is_loaded_while_the_event_loop_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True, check=True, cwd=ROOT)
    beats, answers = done.stdout.split(" ", 1)
    assert answers.strip() == "[None, None, None]"
    assert int(beats) > 10  # one or two, if it was loaded in the loop


def test_a_retry_after_may_be_a_date_by_the_receivers_clock() -> None:
    assert channels.of_status(429, "Sat, 01 Nov 2025 12:36:40 GMT", T).retry_after == 10 * MINUTE
    assert channels.of_status(429, "Sat, 01 Nov 2025 12:36:40 GMT").retry_after is None


def test_a_broken_connection_is_tried_again_and_tells_no_address() -> None:
    with raw(reset) as url:
        found = send(channel("webhook"), {"url": f"{url}/{SECRET}"}, message())
    assert found == Outcome(False, None, "the connection failed or broke (ConnectionError)")


def test_nobody_who_listens_is_tried_again() -> None:
    found = send(channel("webhook"), {"url": f"http://127.0.0.1:9/{SECRET}"}, message())
    assert (found.is_accepted, found.is_final) == (False, False)
    assert SECRET not in str(found.detail)


def test_no_url_is_final() -> None:
    assert send(channel("webhook"), {"url": "nonsense"}, message()).is_final


def test_logins_of_this_machine_are_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password planted\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with sink() as receiver:
        send(channel("webhook"), {"url": receiver.url}, message())
    assert "Authorization" not in receiver.got[0].headers


def test_libraries_log_no_address(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), sink() as receiver:
        send(channel("webhook"), {"url": f"{receiver.url}/{SECRET}"}, message())
        send(channel("apprise"), {"url": f"json://127.0.0.1:{receiver.port}/{SECRET}"}, message())
        logging.getLogger("mirror_stage").debug("caught")
    assert "caught" in caplog.text
    assert SECRET not in caplog.text
    assert len(receiver.got) == 2


def test_apprise_follows_no_redirect_even_if_its_address_asks_for_it() -> None:
    with sink() as other, sink(lambda _: (302, {"Location": other.url})) as receiver:
        found = send(channel("apprise"), {"url": f"json://127.0.0.1:{receiver.port}/?redirect=yes"}, message())
    assert not found.is_accepted
    assert (len(receiver.got), len(other.got)) == (1, 0)


@pytest.mark.parametrize("url", ["syslog://", "dbus://", "macosx://", "nonsense://x", "windows://"])
def test_what_would_act_on_this_machine_is_refused(url: str) -> None:
    assert channels.apprise_trouble(url)
    assert send(channel("apprise"), {"url": url}, message()).is_final


def test_a_receiver_that_hangs_is_cut_off() -> None:
    """Without gevent's patches the library's own limit ends it; tests/notifications/test_real.py shows the outer one."""
    with raw(hang) as url, pytest.MonkeyPatch.context() as patch:
        patch.setattr(channels, "SENT_WITHIN_SECONDS", 0.3)
        found = send(channel("webhook"), {"url": url}, message())
    assert found == Outcome(False, None, "no answer in time (ReadTimeout)")
    gevent.sleep(0)


def test_the_waits_between_tries_grow_to_ten_minutes_and_end_after_a_day() -> None:
    failed, now, waits = Outcome(False, 500), T, []
    for attempts in range(1, 1000):
        again = next_try(attempts, T, now, failed)
        if again is None:
            break
        waits.append((again - now) // 1000)
        now = again
    assert waits[:7] == [5, 15, 45, 120, 300, 600, 600]
    assert 23.8 * HOUR < now - T < 24 * HOUR


def test_a_retry_after_is_obeyed_up_to_an_hour() -> None:
    assert next_try(1, T, T, Outcome(False, 429, retry_after=20 * MINUTE)) == T + 20 * MINUTE
    assert next_try(1, T, T, Outcome(False, 429, retry_after=9 * HOUR)) == T + HOUR
    assert next_try(1, T, T, Outcome(False, 429, retry_after=0)) == T + 5_000


@pytest.mark.parametrize(
    ("kind", "url", "shown"),
    [
        ("webhook", f"https://user:{SECRET}@hooks.lan:8443/{SECRET}?t={SECRET}", "https://hooks.lan:8443"),
        ("apprise", f"tgram://{SECRET}/1234", "tgram://"),
        ("webhook", "env:NOTIFY_HOOK", "env:NOTIFY_HOOK"),
        ("pagerduty", None, "https://events.pagerduty.com"),
    ],
)
def test_people_see_where_a_channel_goes_and_nothing_secret(kind: str, url: str | None, shown: str) -> None:
    assert channels.shown_host(channel(kind), url) == shown


@pytest.mark.parametrize(
    ("kind", "behave"),
    [
        ("webhook", endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000)),
        ("apprise", endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000)),
        ("apprise", endless(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n", b"x" * 65_536)),
        ("email", endless_mail),
    ],
)
def test_a_receiver_that_never_stops_is_cut(kind: str, behave: Any) -> None:
    with raw(behave) as url:
        port = int(url.rpartition(":")[2])
        made = channel(kind, server="127.0.0.1", port=port, security="none", sender="a@b.c", recipients=["d@e.f"])
        secrets = {"url": f"json://127.0.0.1:{port}" if kind == "apprise" else url}
        began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = Outcome(True)
        with gevent.Timeout(15, False):
            found = send(made, secrets, message())
    assert not found.is_accepted
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began < 100 * 1024  # KiB, with what is imported


def test_a_packed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    bounded.bound_all_requests()
    with raw(lambda one: (one.recv(65536), one.sendall(head + bomb), one.close())[2]) as url:
        assert requests.get(url, timeout=10).content == bomb


@pytest.mark.parametrize(
    "url",
    [
        "workflows://host/12345/{0}/?template=/etc/passwd",
        "workflows://host/12345/{0}/?template=http://127.0.0.1:1/",
        "discord://4174216298/{0}?template=/etc/passwd",
        "fcm://project@/?keyfile=/etc/passwd",
        "vapid://me@example.org/you@example.org?keyfile=/etc/passwd",
        "mailto://a:b@example.org?pgp=yes&pgppub=/etc/passwd",
        "mqtt://example.org/topic",
    ],
)
def test_apprise_reads_no_file_and_speaks_only_http(url: str) -> None:
    assert channels.apprise_trouble(url.format("a" * 64))
    from apprise import AppriseAttachment

    assert not AppriseAttachment("/etc/passwd")[0].path
