"""Transitions are published in the order of their versions, each once, whatever the order in which commits return."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.commands.domain import Command
from mirror_stage.commands.events import InOrder

ANY = Command(*[None] * len(fields(Command)))  # type: ignore[arg-type]


def transition(version: int, id: str = "a", status: str = "running") -> Command:
    return replace(ANY, id=id, version=version, status=status)


class Published:
    """An InOrder, and the versions that it has published."""

    def __init__(self) -> None:
        self.versions: list[tuple[str, int]] = []
        self.in_order = InOrder(lambda command: self.versions.append((command.id, command.version)))


@pytest.fixture
def published() -> Published:
    return Published()


def test_transitions_in_order_are_published_at_once(published: Published) -> None:
    with published.in_order.writing(), published.in_order.writing():
        for version in (1, 2, 3):
            published.in_order.offer([transition(version)])
            assert published.versions[-1] == ("a", version)


def test_a_transition_waits_for_its_predecessor(published: Published) -> None:
    with published.in_order.writing(), published.in_order.writing():
        published.in_order.offer([transition(2)])
        assert published.versions == []
        published.in_order.offer([transition(1)])
        assert published.versions == [("a", 1), ("a", 2)]


def test_transitions_of_other_commands_do_not_wait(published: Published) -> None:
    with published.in_order.writing():
        published.in_order.offer([transition(2)])
        published.in_order.offer([transition(1, "b")])
        assert published.versions == [("b", 1)]


def test_a_transition_does_not_wait_for_a_predecessor_that_no_write_here_can_bring(published: Published) -> None:
    with ExitStack() as others:
        others.enter_context(published.in_order.writing())
        published.in_order.offer([transition(7)])
        assert published.versions == []
        with published.in_order.writing():  # this write began later, so it can only bring later versions
            others.close()
            assert published.versions == [("a", 7)]


def test_a_command_that_has_ended_is_forgotten(published: Published) -> None:
    published.in_order.offer([transition(1), transition(2, status="succeeded")])
    assert not published.in_order._versions_by_id


@settings(deadline=None)
@given(st.lists(st.permutations([1, 2, 3, 4]), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_every_order_of_commits_is_published_in_order_of_versions(orders: list[list[int]], random: object) -> None:
    published = Published()
    arrivals = [(f"command-{n}", version) for n, order in enumerate(orders) for version in order]
    random.shuffle(arrivals)  # type: ignore[attr-defined]
    writes = [published.in_order.writing() for _ in arrivals]
    for write in writes:
        write.__enter__()
    for write, (id, version) in zip(writes, arrivals, strict=True):
        published.in_order.offer([transition(version, id, "succeeded" if version == 4 else "running")])
        write.__exit__(None, None, None)
    for n in range(len(orders)):
        assert [version for id, version in published.versions if id == f"command-{n}"] == [1, 2, 3, 4]
