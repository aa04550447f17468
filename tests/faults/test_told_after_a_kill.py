"""T1 for messages: EGO is killed while it tells somebody of an alert. Each message arrives once, or twice with the same key."""

from __future__ import annotations

import time
from pathlib import Path

from tests.builders import make_sample
from tests.notifications.sinks import sink
from tests.notifications.test_real import channel, routes
from tests.servers import running_ego, wait_until


def test_killed_at_any_step_it_tells_each_thing_once_or_twice_with_the_same_key(tmp_path: Path) -> None:
    """kill -9 after the commit of the alert, while the receiver has the request, and after its answer."""
    with sink() as receiver, running_ego(tmp_path) as ego:
        channel(ego, "ops", kind="webhook", url=receiver.url)
        routes(ego, {"name": "all", "channels": ["ops"]})

        def again() -> None:
            ego.kill()
            ego.rows(
                "UPDATE deliveries SET leased_until = 0, next_at = 0 WHERE state IN ('leased', 'retry')"
            )  # a minute passes
            ego.start()

        ego.post_samples(make_sample("web-01", cpu_percent=95))
        wait_until(lambda: ego.rows("SELECT 1 FROM alert_events"), 10, every=0.001, what="the alert is stored")
        again()
        killed = []

        def answer(_number: int) -> tuple[int, dict[str, str]]:
            if not killed:
                killed.append(True)
                ego.kill()
            return 200, {}

        receiver.answer = answer
        wait_until(lambda: killed, 30, what="EGO is killed while it sends")
        assert ego.rows("SELECT state FROM deliveries") == [("leased",)]
        again()
        wait_until(lambda: len(receiver.got) == 2, 20, every=0.001, what="it is sent again")
        again()
        wait_until(lambda: ego.rows("SELECT state FROM deliveries") == [("accepted",)], 20, what="it is accepted")
        time.sleep(1.2)  # one more look
        assert set(receiver.kinds) == {"opened"}
        assert len(set(receiver.keys)) == 1
        assert 2 <= len(receiver.got) <= 3
        assert len(ego.rows("SELECT id FROM alert_groups")) == 1
