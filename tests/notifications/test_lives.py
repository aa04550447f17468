"""Any life of alerts, silences, maintenance, mute times, acknowledgements, causes and failing channels, generated.

Whatever happens: no problem is lost, there is no end without its problem, and nobody who got a problem misses its end.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from mirror_stage.access.domain import ADMIN, LOCAL, Actor
from mirror_stage.alerts.domain import SEVERITIES
from mirror_stage.core.config import Config
from mirror_stage.core.instants import DAY, HOUR, MINUTE, SECOND
from mirror_stage.core.selector import parse
from mirror_stage.notifications.channels import Channel, Message
from mirror_stage.notifications.directory import Directory, Wanted
from mirror_stage.notifications.domain import ENDS, WAS, Outcome, Route
from mirror_stage.notifications.secrets import Secrets
from mirror_stage.notifications.sending import Sender
from mirror_stage.notifications.words import Manner
from mirror_stage.quiet.domain import MAINTENANCE, MUTE_TIME, SILENCE, Maintenance, Silence
from mirror_stage.quiet.mute_times import WEEKDAYS, MuteTime
from mirror_stage.quiet.service import Quiet
from tests.notifications.alerts import Scene

ME = Actor(LOCAL, "ada", role=ADMIN)
HOSTS, RULES = ("a", "b", "c"), ("cpu_load_high", "disk_full")
OUTCOMES = {
    "ok": Outcome(True, 200),
    "busy": Outcome(False, 503, "503"),
    "gone": Outcome(False, 410, "410", is_final=True),
}
Key = tuple[str, str]  # host, rule
Told = tuple[str, str, dict[Key, str]]  # kind, group, the open problems with their severities


class Receiver(Sender):
    """A sender whose receivers answer as the test says, and note what they accepted."""

    health: dict[str, str]
    got: dict[str, list[Told]]

    def attempt(self, channel: Channel, message: Message) -> Outcome:
        outcome = OUTCOMES[self.health[channel.name]]
        if outcome.is_accepted:
            parts = message.facts.get("messages") or [{"kind": message.kind, **message.facts}]
            for one in parts:
                members = {
                    (each["hostname"], each["rule"]): each["severity"]
                    for each in one["members"]
                    if each["endedAt"] is None
                }
                self.got[channel.name].append((one["kind"], one["group"], members))
        return outcome


class Lives(RuleBasedStateMachine):
    """A scene with two routes: `all` to `ops`, whose fallback is `sms`, and `urgent` to `phone`, for what is critical."""

    @initialize()
    def begin(self) -> None:
        self.scene = Scene()
        scene: Any = self.scene
        self.quiet = Quiet(
            scene.storage, scene.clock, hosts_named=lambda _names: [], fleet=list, open_alerts=list, rule_names=lambda: RULES, grace=6 * MINUTE, kept=DAY,
            tell=lambda *_: None, is_leading=lambda: True,
        )  # fmt: skip
        scene.options |= {
            "quiet_reasons": self.quiet.reasons, "muted": self.quiet.muted,
        }  # fmt: skip
        self.routes = [
            Route("urgent", ("phone",), min_severity="critical", continues=True),
            Route("all", ("ops",), min_severity="info"),
        ]
        scene.routes[:] = self.routes
        scene.restarted()
        directory = Directory(scene.storage, scene.clock, Secrets(Config(testing=True)))
        for name, rate, fallback in (("sms", 600, None), ("ops", 4, "sms"), ("phone", 600, None)):
            directory.create(Wanted(name, "webhook", {}, Manner(), rate, {"url": "http://127.0.0.1:9"}, fallback), ME)
        self.sender = Receiver(scene.storage, scene.clock, directory, url="http://ego", kept=0)
        self.sender.health = dict.fromkeys(("sms", "ops", "phone"), "ok")
        self.sender.got = {name: [] for name in self.sender.health}
        self.offline = set[str]()

    # ------------------------------------------------------------------ what happens

    def alert(self, host: str, of_rule: str) -> Any:
        self.scene.clock.advance(0.001)  # no two things happen at the same instant
        return next((one for one in self.scene.open.get(host, {}).values() if one.metric == of_rule), None)

    @rule(host=st.sampled_from(HOSTS), of_rule=st.sampled_from(RULES), severity=st.sampled_from(SEVERITIES))
    def fires(self, host: str, of_rule: str, severity: str) -> None:
        if host not in self.offline and self.alert(host, of_rule) is None:
            self.scene.fire(host, of_rule, severity=severity)

    @rule(host=st.sampled_from(HOSTS), of_rule=st.sampled_from(RULES))
    def ends(self, host: str, of_rule: str) -> None:
        alert = self.alert(host, of_rule)
        if alert is not None:
            self.scene.end(alert)

    @rule(host=st.sampled_from(HOSTS), of_rule=st.sampled_from(RULES), severity=st.sampled_from(SEVERITIES))
    def becomes(self, host: str, of_rule: str, severity: str) -> None:
        alert = self.alert(host, of_rule)
        if alert is not None and alert.severity != severity:
            if SEVERITIES.index(severity) > SEVERITIES.index(alert.severity):
                self.acknowledged(alert, None)
            self.scene.become(alert, severity)

    @rule(host=st.sampled_from(HOSTS), cause=st.sampled_from([None, "a", "sw-r1"]))
    def goes_offline(self, host: str, cause: str | None) -> None:
        if host in self.offline:
            return
        self.offline.add(host)
        self.scene.clock.advance(0.001)
        for alert in list(self.scene.open.get(host, {}).values()):
            self.scene.end(alert, "host-offline")
        offline = self.scene.fire(host, "host_offline")
        if cause is not None:
            self.scene.clock.advance(0.001)
            self.scene.caused(offline, cause)

    @rule(host=st.sampled_from(HOSTS))
    def comes_back(self, host: str) -> None:
        if host in self.offline:
            self.offline.discard(host)
            self.scene.end(self.alert(host, "host_offline"))

    @rule(host=st.sampled_from((*HOSTS, "*")), minutes=st.integers(1, 60), up_to=st.sampled_from(SEVERITIES))
    def silenced(self, host: str, minutes: int, up_to: str) -> None:
        now = self.scene.clock.now()
        self.quiet.create(
            SILENCE, Silence(parse(f"host:{host}"), None, None, None, up_to, now, now + minutes * MINUTE, ""), ME
        )

    @rule(host=st.sampled_from(HOSTS), minutes=st.integers(1, 30))
    def worked_on(self, host: str, minutes: int) -> None:
        now = self.scene.clock.now()
        self.quiet.create(MAINTENANCE, Maintenance(parse(f"host:{host}"), now, now + minutes * MINUTE, None, ""), ME)

    @rule()
    def silences_end(self) -> None:
        for one in self.quiet.listed(SILENCE, "on"):
            self.quiet.end(SILENCE, one.id, ME)

    @rule(passes=st.sampled_from(["critical", "none"]), minutes=st.integers(2, 45))
    def night_falls(self, passes: str, minutes: int) -> None:
        """From now on, for so many minutes, by the wall clock of Berlin."""
        if "night" in self.quiet.mute_times():
            self.quiet.end(MUTE_TIME, "night", ME)
        minute = (self.scene.clock.now() // MINUTE + 60) % 1440  # Berlin in winter
        self.quiet.create(
            MUTE_TIME,
            MuteTime(frozenset(range(len(WEEKDAYS))), minute, (minute + minutes) % 1440, "Europe/Berlin"),
            ME,
            id="night",
        )
        self.scene.routes[:] = [replace(one, mute_times=("night",), passes=passes) for one in self.routes]

    @rule(host=st.sampled_from(HOSTS), of_rule=st.sampled_from(RULES), minutes=st.integers(1, 60))
    def acknowledges(self, host: str, of_rule: str, minutes: int) -> None:
        alert = self.alert(host, of_rule)
        if alert is not None:
            self.acknowledged(alert, self.scene.clock.now() + minutes * MINUTE)

    def acknowledged(self, alert: Any, until: int | None) -> None:
        at = None if until is None else self.scene.clock.now()
        self.scene.open[alert.hostname][alert.key] = replace(
            self.scene.open[alert.hostname][alert.key], ack_by="ada", ack_at=at, ack_until=until
        )

    @rule(channel=st.sampled_from(["ops", "phone"]), health=st.sampled_from(["ok", "busy", "gone"]))
    def channel_changes(self, channel: str, health: str) -> None:
        self.sender.health[channel] = "busy" if (channel, health) == ("phone", "gone") else health  # it has no fallback

    @rule()
    def restarts(self) -> None:
        self.scene.restarted()

    @rule(seconds=st.sampled_from([1, 11, 61, 301, 1801]))
    def time_passes(self, seconds: int) -> None:
        for _ in range(3):
            self.scene.clock.advance(seconds / 3)
            self.look()
        self.check_ends()

    def look(self) -> None:
        self.scene.notifier.step()
        self.sender.send_due()
        self.sender.wait(30)

    # ------------------------------------------------------------------ what holds

    def check_ends(self) -> None:
        """No end without its problem, and none that was told as never told."""
        for channel, got in self.sender.got.items():
            known = set[str]()
            for kind, group, _ in got:
                if kind in ENDS:
                    assert (group in known) is (kind != WAS), (channel, got)
                known.add(group)

    def teardown(self) -> None:
        """Everybody answers again, nothing is quiet any more, time goes by; then everything ends."""
        if not hasattr(self, "scene"):
            return
        self.sender.health = dict.fromkeys(self.sender.health, "ok")
        self.settle(2 * HOUR)
        self.check_problems()
        for host in list(self.offline):
            self.comes_back(host)
        for of_host in list(self.scene.open.values()):
            for alert in list(of_host.values()):
                self.scene.end(alert)
        self.settle(2 * HOUR)
        self.check_ends()
        self.check_that_all_is_over()

    def settle(self, lasts: int) -> None:
        for _ in range(12):
            self.scene.clock.advance(lasts / 12 / SECOND)
            for _ in range(3):
                self.look()
                self.scene.clock.advance(21)  # more messages than a minute takes

    def check_problems(self) -> None:
        """Each open problem was told to the channel of its route or the fallback, as severe as it is, and its end was not."""
        for host, of_host in self.scene.open.items():
            for alert in of_host.values():
                places = [("ops", "sms")] + ([("phone",)] if alert.severity == "critical" else [])
                for place in places:
                    got = [one for channel in place for one in self.sender.got[channel]]
                    told = [members.get((host, alert.metric)) for _, _, members in got]
                    ranks = [SEVERITIES.index(one) for one in told if one is not None]
                    assert max(ranks, default=-1) >= SEVERITIES.index(alert.severity), (
                        host,
                        alert.metric,
                        alert.severity,
                        place,
                        got,
                    )
        for group in (self.scene.notifier._groups or {}).values():
            if group.closed_at is None and group.told_at is not None:
                heard = [kind for got in self.sender.got.values() for kind, of_group, _ in got if of_group == group.id]
                assert not [kind for kind in heard if kind in ENDS], (group.id, heard)

    def check_that_all_is_over(self) -> None:
        """Whoever got a problem got its end; where the channel refused it, the fallback did."""
        for channel, got in self.sender.got.items():
            for group in {of_group for _, of_group, _ in got}:
                last = [kind for kind, of_group, _ in got if of_group == group][-1]
                elsewhere = {kind for kind, of_group, _ in self.sender.got["sms"] if of_group == group} & ENDS
                assert last in ENDS or (channel == "ops" and elsewhere), (channel, group, got)


QUICK = settings(max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))


def test_no_problem_is_lost_and_no_end() -> None:
    run_state_machine_as_test(Lives, settings=QUICK)


@pytest.mark.long
def test_no_problem_is_lost_and_no_end_in_five_hundred_lives() -> None:
    run_state_machine_as_test(Lives, settings=settings(QUICK, max_examples=500, stateful_step_count=40))
