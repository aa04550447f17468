"""A moment of a large fleet takes much memory, so only a few are worked out at once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import gevent
import pytest

from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.core.problems import NotFound, Problem, Unavailable
from mirror_stage.past import service
from mirror_stage.past.service import Past


def test_few_moments_are_worked_out_at_once_and_the_others_wait_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    past = create_app(Config(testing=True)).extensions["mirror_stage"][Past]
    under_way, most = 0, 0

    def moment(*_: Any) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        gevent.sleep(0.1)
        under_way -= 1
        raise NotFound("this test has no past")

    def outcome(ask: Any) -> type[Problem] | None:
        try:
            ask()
        except Problem as why:
            return type(why)
        return None

    monkeypatch.setattr(past, "moment", moment)
    for seconds, refused in ((10.0, False), (0.05, True)):
        monkeypatch.setattr(service, "QUEUE_SECONDS", seconds)
        asks = [lambda: past.body(1), lambda: past.diff(1, 2, {})] * 4
        found = Counter(one.get() for one in [gevent.spawn(outcome, ask) for ask in asks])
        assert most == service.AT_ONCE
        assert found[NotFound] >= service.AT_ONCE
        assert (found[Unavailable] > 0) == refused
