"""What the log says of a job that fails: each problem once, and nothing of a job that a stop of EGO overtook."""

from __future__ import annotations

import logging

import pytest

from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Unavailable
from mirror_stage.runtime.jobs import Job, every
from mirror_stage.runtime.scheduler import _guarded
from mirror_stage.storage.db import Storage
from mirror_stage.web.services import Services


@pytest.fixture
def ego() -> Services:
    services: Services = create_app(Config(testing=True)).extensions["mirror_stage"]
    return services


def test_a_problem_of_a_job_is_one_line_until_the_job_works_again(
    ego: Services, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    runs = iter([True, True, False, True])

    def sometimes(_ego: Services) -> None:
        if next(runs):
            raise Unavailable("the database does not answer")

    for _ in range(4):
        _guarded(Job(sometimes, every(1)), ego)
    problem = "sometimes: the database does not answer; it runs again"
    assert caplog.messages == [problem, "sometimes: works again", problem]


def test_a_job_that_a_stop_of_ego_overtook_is_no_news(ego: Services, caplog: pytest.LogCaptureFixture) -> None:
    def overtaken(ego: Services) -> None:
        ego[Storage].close()
        ego[Storage].read(lambda _tx: None)

    with pytest.raises(Unavailable):
        overtaken(ego)
    _guarded(Job(overtaken, every(1)), ego)
    assert caplog.messages == []
