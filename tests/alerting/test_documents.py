"""Everything that decides who is told, as one document: exported, planned, applied, and read-only afterwards."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import tomli_w
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirror_stage.app import create_app
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.instants import DAY, HOUR, Instant, to_text
from mirror_stage.runtime.alerts_commands import _without_null

NOW: Instant = 1_800_000_000_000
FULL: dict[str, Any] = {
    "channels": {"ops": {"kind": "webhook", "url": "env:NOTIFY_OPS"}},
    "routes": [{"name": "all", "channels": ["ops"], "muteTimes": ["night"], "passes": "none"}],
    "rules": {"web_cpu": {"measure": "cpuLoad", "where": "tier:edge", "steps": [{"severity": "warning", "fire": 80, "resolve": 70}]}},
    "silences": {"noise": {"where": "rack:R1", "rule": "disk_full", "endsAt": to_text(NOW + DAY)}},
    "maintenance": {"move": {"where": "rack:R2", "beginsAt": to_text(NOW + HOUR), "endsAt": to_text(NOW + DAY), "note": "new floor"}},
    "muteTimes": {"night": {"weekdays": ["mon", "sun"], "from": "22:00", "to": "07:00", "zone": "Asia/Seoul"}},
}  # fmt: skip


class Ego:
    """An EGO in memory whose clock the test sets."""

    def __init__(self) -> None:
        app = create_app(Config(testing=True))
        self.client: FlaskClient = app.test_client()
        self.now = NOW
        app.extensions["mirror_stage"][Clock].now = lambda: self.now

    def ask(self, what: str, document: Any, status: int = 200, **said: Any) -> Any:
        answer = self.client.post(f"/api/alerting/{what}", json={"document": document, **said})
        assert answer.status_code == status, answer.text
        return answer.json["changes"] if status == 200 else answer.json["detail"]

    def export(self) -> dict[str, Any]:
        """What EGO has, through the file of the command line."""
        return tomllib.loads(tomli_w.dumps(_without_null(self.client.get("/api/alerting").json)))


@pytest.fixture
def ego() -> Ego:
    return Ego()


def told(changes: list[dict[str, str]]) -> set[tuple[str, str]]:
    return {(one["what"], one["change"]) for one in changes}


def test_a_document_has_everything_and_says_what_it_changes(ego: Ego) -> None:
    kinds = {"channel", "rule", "silence", "maintenance", "mute-time"}
    assert told(ego.ask("plan", FULL)) == {(one, "added") for one in kinds} | {("routes", "changed")}
    assert ego.export()["rules"] == {}
    ego.ask("apply", FULL)
    exported = ego.export()
    assert exported["rules"] == FULL["rules"]
    assert exported["silences"]["noise"] == FULL["silences"]["noise"] | {"beginsAt": to_text(NOW)}
    assert exported["maintenance"] == FULL["maintenance"]
    assert exported["muteTimes"] == FULL["muteTimes"]
    ego.now += HOUR  # a silence without a beginning has begun, and does not begin anew
    assert ego.ask("plan", FULL, prune=True) == ego.ask("plan", exported, prune=True) == []
    assert told(ego.ask("apply", {}, prune=True)) == {(one, "removed") for one in kinds} | {("routes", "changed")}
    assert [one for one in ego.export().values() if one] == []


def test_a_document_without_routes_leaves_them(ego: Ego) -> None:
    ego.ask("apply", FULL)
    assert ego.ask("apply", {"rules": FULL["rules"]}) == []
    assert [one["name"] for one in ego.export()["routes"]] == ["all"]


def test_a_route_and_its_mute_time_come_and_go_together(ego: Ego) -> None:
    ego.ask("apply", FULL)
    without = FULL | {"muteTimes": {}}
    assert "there is no mute time night" in ego.ask("apply", without, status=400, prune=True)
    assert ego.ask("plan", without) == []
    without["routes"] = [{"name": "all", "channels": ["ops"]}]
    assert told(ego.ask("apply", without, prune=True)) == {("mute-time", "removed"), ("routes", "changed")}


def test_one_fault_costs_the_whole_document(ego: Ego) -> None:
    for section, name, fault, text in (
        ("rules", "web_cpu", {"measure": "cpuLaod"}, "rules.web_cpu.measure: must be one of"),
        ("rules", "cpu_load_high", {"measure": "cpuLoad", "for": "3x"}, "rules.cpu_load_high.for"),
        ("silences", "noise", {"where": "rack:R1", "rule": "disk_ful", "endsAt": to_text(NOW + DAY)}, "no alert rule"),
        ("silences", "noise", {"where": "rack:R1", "lastsSeconds": 60}, "write endsAt instead"),
        ("silences", "Noise", {"where": "rack:R1", "endsAt": to_text(NOW + DAY)}, "small letters"),
        (
            "silences",
            "noise",
            {"where": "rack:R1", "endsAt": to_text(NOW + 99 * DAY)},
            "silence noise: endsAt: it lasts longer",
        ),
        ("muteTimes", "night", {**FULL["muteTimes"]["night"], "zone": "Seoul"}, "there is no time zone"),
        ("maintenance", "move", {"where": "rak:R1", "endsAt": to_text(NOW + DAY)}, "rak"),
    ):
        assert text in ego.ask("apply", FULL | {section: {name: fault}}, status=400)
    assert [one for one in ego.export().values() if one] == []


def test_what_came_from_a_file_is_changed_there_only(ego: Ego) -> None:
    ego.ask("apply", FULL)
    client, rule = ego.client, FULL["rules"]["web_cpu"]
    for answer in (
        client.put("/api/alert-rules/web_cpu", json=rule),
        client.delete("/api/alert-rules/web_cpu"),
        client.delete("/api/silences/noise"),
        client.put("/api/maintenance/move", json=FULL["maintenance"]["move"]),
        client.delete("/api/mute-times/night"),
    ):
        assert (answer.status_code, "kept in a file" in answer.json["detail"]) == (409, True), answer.json
    assert client.get("/api/alert-rules/web_cpu").json["source"] == "file"
    assert client.get("/api/silences").json["items"][0]["source"] == "file"
    copy = client.post("/api/alert-rules", json={"name": "mine", **rule})
    assert (copy.status_code, copy.json["source"]) == (201, "hud")


def test_pruning_ends_no_silence_that_somebody_made_by_hand(ego: Ego) -> None:
    made = ego.client.post("/api/silences", json={"where": "rack:R1", "lastsSeconds": 60}).json["id"]
    assert ego.ask("apply", {}, prune=True) == []
    exported = ego.export()
    assert list(exported["silences"]) == [made]
    assert ego.ask("plan", exported, prune=True) == []
    ego.now += HOUR  # a file may hold silences that are over
    assert ego.ask("plan", exported, prune=True) == []
    assert ego.export()["silences"] == {}


def test_a_built_in_rule_is_changed_and_is_again_as_it_was(ego: Ego) -> None:
    steps = [{"severity": "critical", "fire": 99, "resolve": 90}]
    assert told(ego.ask("apply", {"rules": {"disk_full": {"steps": steps}}})) == {("rule", "changed")}
    exported = ego.export()["rules"]
    assert exported == {"disk_full": {"measure": "diskUsedPercent", "steps": steps}}
    assert ego.ask("plan", {"rules": exported}) == []
    ego.ask("apply", {}, prune=True)
    assert ego.client.get("/api/alert-rules/disk_full").json["source"] == "built-in"


def test_a_plan_holds_until_somebody_changes_anything(ego: Ego) -> None:
    plan = ego.client.post("/api/alerting/plan", json={"document": FULL}).json["planId"]
    ego.client.post("/api/mute-times", json={"name": "noon", **FULL["muteTimes"]["night"]})
    assert "was changed" in ego.ask("apply", FULL, status=409, planId=plan)
    plan = ego.client.post("/api/alerting/plan", json={"document": FULL}).json["planId"]
    ego.ask("apply", FULL, planId=plan)


# ------------------------------------------------------------------ export, apply, no change

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,12}", fullmatch=True)
WHERE = st.sampled_from(["*", "tier:edge", "host:web-* -tag:env=lab", 'rack:R1,R2 room:"Hall 2, left"'])
TEXT = st.text("ab 가나'\"\\#=[]", max_size=12).map(str.strip)
LATER = st.integers(1, 20 * 24).map(lambda hours: to_text(NOW + hours * HOUR))
WAIT = st.sampled_from(["0s", "90s", "3m", "2h", "1d"])
SEVERITY = st.sampled_from(["info", "warning", "critical"])


def some(**members: Any) -> st.SearchStrategy[dict[str, Any]]:
    """A table that has each of these members, or not."""
    return st.fixed_dictionaries({}, optional=members)


STEPS = st.lists(st.integers(1, 100), min_size=1, max_size=3, unique=True).map(
    lambda values: [
        {"severity": severity, "fire": float(value), "resolve": value - 0.5}
        for severity, value in zip(("info", "warning", "critical"), sorted(values), strict=False)
    ]
)
FIGURES = {
    "for": WAIT, "resolveFor": WAIT, "noData": st.sampled_from(["resolve", "keep", "alert"]), "noDataAfter": WAIT, "enabled": st.booleans(),
}  # fmt: skip
OVERRIDES = st.lists(
    st.tuples(WHERE, some(**FIGURES).filter(bool)).map(lambda two: {"where": two[0], **two[1]}), max_size=2
)
RULE = st.tuples(
    st.sampled_from(["cpuLoad", "disk.usedPercent", "memoryAvailableBytes"]), STEPS, some(where=WHERE, overrides=OVERRIDES, **FIGURES)
).map(lambda parts: {"measure": parts[0], "steps": parts[1], **parts[2]})  # fmt: skip
CHANGED = some(**FIGURES, overrides=OVERRIDES)
HOURS = st.fixed_dictionaries(
    {"weekdays": st.lists(st.sampled_from(["mon", "wed", "sun"]), min_size=1, max_size=3, unique=True), "zone": st.sampled_from(["UTC", "Asia/Seoul"]),
     "from": st.sampled_from(["00:00", "22:00"]), "to": st.sampled_from(["07:00", "24:00"])}
)  # fmt: skip
CHANNEL = st.fixed_dictionaries(
    {"kind": st.just("webhook"), "url": st.sampled_from(["env:NOTIFY_ONE", "https://hooks.lan/planted"])},
    optional={"language": st.sampled_from(["en", "ko"]), "title": TEXT.filter(bool), "ratePerMinute": st.integers(1, 600), "secret": st.just("planted")},
)  # fmt: skip


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    channels = draw(st.dictionaries(NAMES, CHANNEL, max_size=3))
    for name, other in zip(channels, list(channels)[1:], strict=False):
        if draw(st.booleans()):
            channels[name]["fallback"] = other
    mute_times = draw(st.dictionaries(NAMES, HOURS, max_size=2))
    muted = st.lists(st.sampled_from(sorted(mute_times)), unique=True) if mute_times else st.just([])
    route = st.fixed_dictionaries(
        {"channels": st.lists(st.sampled_from(sorted(channels)), unique=True) if channels else st.just([])},
        optional={
            "muteTimes": muted,
            "passes": st.sampled_from(["info", "none"]),
            "where": WHERE,
            "rules": st.just(["disk_*"]),
            "minSeverity": SEVERITY,
            "continue": st.booleans(),
        },
    )
    end = st.fixed_dictionaries(
        {"where": WHERE, "endsAt": LATER}, optional={"note": TEXT, "beginsAt": st.just(to_text(NOW + 1000))}
    )
    bound = st.fixed_dictionaries(
        {"hostname": st.just("web-1"), "rule": st.just("disk_full"), "subject": st.just("/srv"), "endsAt": LATER}
    )
    weekly = st.fixed_dictionaries({"where": WHERE, "weekly": HOURS})
    return {
        "channels": channels,
        "routes": [{"name": name, **draw(route)} for name in draw(st.lists(NAMES, max_size=3, unique=True))],
        "rules": draw(st.dictionaries(NAMES.filter(lambda name: name != "preview"), RULE, max_size=3))
        | draw(st.dictionaries(st.sampled_from(["disk_full", "cpu_load_high"]), CHANGED, max_size=2)),
        "silences": draw(
            st.dictionaries(NAMES, end | bound | end.flatmap(lambda one: st.just({**one, "upTo": "info"})), max_size=3)
        ),
        "maintenance": draw(st.dictionaries(NAMES, end | weekly, max_size=2)),
        "muteTimes": mute_times,
    }


@pytest.fixture(scope="module")
def lasting() -> Ego:
    return Ego()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(document=documents())
def test_what_is_exported_and_applied_changes_nothing(lasting: Ego, document: dict[str, Any]) -> None:
    """Whatever EGO had before: after a document it has this one, and what it exports is this one."""
    lasting.ask("apply", document, prune=True)
    exported = lasting.export()
    assert "planted" not in str(exported)
    for same in (document, exported):
        assert lasting.ask("plan", same, prune=True) == []
    assert lasting.ask("apply", exported, prune=True) == []
