"""Rules may judge the errors of each interface: how fast its counters grow between two samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mirror_stage.alerts.domain import HUD
from mirror_stage.alerts.judge import breaches
from mirror_stage.alerts.rules import rule_of
from mirror_stage.twin.throughput import interface_errors
from tests.builders import SetClock, decoded, make_sample
from tests.pipeline.conftest import Bench

NOW = SetClock().now()
RULE = rule_of(
    "errors",
    {
        "measure": "interface.errorsPerSecond",
        "steps": [{"severity": "warning", "fire": 5, "resolve": 1}],
        "subjects": ["eth*"],
    },
    None,
    HUD,
)


def interface(name: str, errin: int | None, errout: int | None = 0) -> dict[str, Any]:
    return {"name": name, "errin": errin, "errout": errout, "is_up": True}


def test_an_interface_with_errors_fires_and_resolves_and_a_restart_ends_nothing(
    new_bench: Callable[..., Bench],
) -> None:
    bench = new_bench(rules=(RULE,))

    def after(errors: int, **fields: Any) -> list[tuple[str | None, float]]:
        bench.clock.advance(10)
        uptime = (bench.clock.now() - NOW) / 1000 + 7200
        faces = [interface("eth0", errors), interface("eth1", 0), interface("lo", errors)]
        bench.post(make_sample("a", at=bench.clock.now(), interfaces=faces, **{"uptime_seconds": uptime} | fields))
        return [(alert.subject, alert.current_value) for alert in bench.open_alerts.all()]

    assert after(1_000) == []  # there was no sample before
    assert after(1_040) == []
    assert after(1_100) == [("eth0", 6.0)]
    bench.saver.save()
    bench = bench.again(rules=(RULE,))
    assert after(1_100) == [("eth0", 6.0)]  # of what was before the start the interfaces are not known
    assert after(1_100) == []
    assert after(9, uptime_seconds=5) == []  # the machine has restarted


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ([interface("a", 10, 20)], [interface("a", 20, 40)], {"a": 3.0}),
        ([interface("a", None, 20)], [interface("a", 20, 40)], {"a": 2.0}),
        ([interface("a", 30, None)], [interface("a", 20, None)], {}),
        ([interface("a", 10)], [interface("b", 10)], {}),
        (None, None, {}),
    ],
)
def test_the_rate_of_an_interface_is_of_the_counters_that_are_known(
    before: Any, after: Any, found: dict[str, float]
) -> None:
    (first,) = decoded(make_sample("a", at=NOW, interfaces=before), received_at=NOW)
    (then,) = decoded(
        make_sample("a", at=NOW + 10_000, uptime_seconds=7210, interfaces=after), received_at=NOW + 10_000
    )
    assert interface_errors(first, then) == found
    assert interface_errors(None, then) is None


def test_a_preview_has_values_before_any_rule_asks_for_them(new_bench: Callable[..., Bench]) -> None:
    bench = new_bench()
    for errors in (1_000, 1_100):
        bench.clock.advance(10)
        uptime = (bench.clock.now() - NOW) / 1000 + 7200
        faces = [interface("eth0", errors), interface("lo", errors)]
        bench.post(make_sample("a", at=bench.clock.now(), interfaces=faces, uptime_seconds=uptime))
    (found,) = breaches(RULE, bench.twin.hosts_by_name["a"], bench.clock.now()) or ()
    assert (found.subject, found.value) == ("eth0", 10.0)
