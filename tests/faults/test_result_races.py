"""T17: two results for one command at the same moment. One wins, the other is refused, and this never changes."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.builders import unique_hostname
from tests.faults import print_figures, short_and_full
from tests.faults.agents import at_once, batches_of, claim, command, create, lose, report
from tests.servers import EgoServer

AT_ONCE = 5  # commands of one host that are handed out together


def handed_out(ego: EgoServer, count: int) -> list[str]:
    """The ids of `count` commands that wait for their result."""
    ids: list[str] = []
    while len(ids) < count:
        hostname = unique_hostname("race")
        created = [create(ego, hostname) for _ in range(min(AT_ONCE, count - len(ids)))]
        assert claim(ego, hostname) == created
        ids += created
    return ids


def race(ego: EgoServer, id: str, stdouts: tuple[str, str], *, late: bool) -> tuple[int, int]:
    """The statuses of two reports at the same moment, the winner's first. Checks the command afterwards."""
    answers = at_once(*(lambda stdout=stdout: report(ego, id, stdout) for stdout in stdouts))
    won = [answer for answer in answers if answer.status_code == 201]
    assert len(won) == 1, [answer.status_code for answer in answers]
    lost = next(answer for answer in answers if answer is not won[0])
    stands = command(ego, id)
    assert stands["stdout"] == won[0].json()["stdout"]
    assert (stands["status"], stands["late"]) == ("succeeded", late)
    return won[0].status_code, lost.status_code


@pytest.mark.parametrize("races", short_and_full(20, 1_000))
def test_one_of_two_results_wins(ego: EgoServer, races: int) -> None:
    ids = handed_out(ego, races)
    losers: Counter[tuple[str, int]] = Counter()
    for number, id in enumerate(ids):
        kind, stdouts = ("same", ("done", "done")) if number % 2 else ("different", ("one", "other"))
        losers[kind, race(ego, id, stdouts, late=False)[1]] += 1
    events = Counter(ego.get(f"/api/commands/{id}/events").json()["total"] for id in ids)
    print_figures(
        "T17", races=races, one_winner=races, losers={f"{kind} {status}": n for (kind, status), n in losers.items()}
    )
    assert losers == {("same", 200): races // 2, ("different", 409): races - races // 2}
    assert events == {3: races}  # created, claimed, reported once


@pytest.mark.parametrize("races", short_and_full(5, 200))
def test_a_late_result_is_accepted_exactly_once(ego: EgoServer, races: int) -> None:
    ids = handed_out(ego, races)
    for some in batches_of(ids, 100):
        lose(ego, *some)
    losers: Counter[int] = Counter()
    for id in ids:
        losers[race(ego, id, ("one", "other"), late=True)[1]] += 1
        assert report(ego, id, "a third").status_code == 409
        assert report(ego, id, command(ego, id)["stdout"]).status_code == 200
    events = Counter(ego.get(f"/api/commands/{id}/events").json()["total"] for id in ids)
    print_figures("T17", late_results=races, accepted_once=losers[409])
    assert losers == {409: races}
    assert events == {4: races}  # created, claimed, lost, reported late


def test_a_result_that_races_a_cancel_wins_and_a_closed_command_takes_none(ego: EgoServer) -> None:
    for id in handed_out(ego, 10):
        reported, cancelled = at_once(
            lambda id=id: report(ego, id), lambda id=id: ego.post(f"/api/commands/{id}/cancel")
        )
        assert reported.status_code == 201
        assert cancelled.status_code in {202, 409}
        assert command(ego, id)["status"] == "succeeded"
    closed = handed_out(ego, 3)
    lose(ego, *closed)
    for id in closed:
        reported, cancelled = at_once(
            lambda id=id: report(ego, id), lambda id=id: ego.post(f"/api/commands/{id}/cancel")
        )
        stands = command(ego, id)
        assert (reported.status_code, cancelled.status_code) in {(201, 409), (409, 200)}
        assert (stands["status"], stands["reason"]) == (
            ("succeeded", None) if reported.status_code == 201 else ("timeout", "lost")
        )
