"""Of a list that is too long the most important entries stay, in their order, whatever the entries are."""

from __future__ import annotations

from typing import Any

import pytest

from mirror_stage.metrics.importance import most_important, ranks

UP, BUSY = {"is_up": True}, {"bytes_sent": 10**9}
# (what stays, the list, its entries, in order of importance, best first)
ORDERS: list[tuple[str, str, list[Any]]] = [
    (
        "the primary interface, those below it, those that are up, cards, the busiest",
        "interfaces",
        [
            {"name": "bond0"}, {"name": "eth1"}, {"name": "eth5", **UP}, {"name": "veth1", **UP, **BUSY},
            {"name": "veth2", **UP}, {"name": "eth6", **BUSY}, {"name": "veth3", **BUSY}, {"name": "veth4"},
        ],
    ),
    (
        "the root, the fullest disks, and last what is full by nature",
        "disks",
        [
            {"mountpoint": "/", "used_percent": 1}, {"mountpoint": "/b", "used_percent": 98},
            {"mountpoint": "/a", "used_percent": 5}, {"mountpoint": "/snap/core/1", "used_percent": 100},
        ],
    ),
    (
        "the busiest processes",
        "top_processes",
        [{"name": "a", "cpu_percent": 9}, {"name": "b", "memory_percent": 4}, {"name": "c"}],
    ),
    ("the sensors of the CPU, then the hottest", "temperatures", [("coretemp:Core 0", 40), ("nvme:b", 60), ("nvme:a", 50)]),
    ("the first cores", "cpu_per_core", [50.0, 1.0, 99.0]),
]  # fmt: skip


@pytest.mark.parametrize(("what", "name", "best_first"), ORDERS, ids=[what for what, *_ in ORDERS])
def test_the_most_important_entries_stay(what: str, name: str, best_first: list[Any]) -> None:
    rank = ranks("bond0", {"eth1"})[name]
    given = best_first if rank is None else best_first[::-1]
    for most in range(len(best_first) + 1):
        kept = most_important(given, most, rank)
        assert kept == [entry for entry in given if entry in best_first[:most]]


@pytest.mark.parametrize("odd", [None, 1, "word", [], [1], {}, {"name": ["a"], "mountpoint": 7}, {"is_up": 1}])
@pytest.mark.parametrize("name", ["interfaces", "disks", "top_processes"])
def test_an_entry_of_any_form_can_be_ranked(name: str, odd: Any) -> None:
    good = {"name": "eth0", "mountpoint": "/", "is_up": True, "cpu_percent": 1}
    huge = good | {"bytes_sent": 10**400, "bytes_recv": 1.5, "used_percent": 10**400, "cpu_percent": True}
    assert good in most_important([odd, huge, good, odd], 2, ranks(["no", "name"])[name])


def test_a_list_of_countless_entries_is_cut_in_no_time() -> None:
    looked_at: list[Any] = []
    assert len(most_important(["x"] * 20_000, 64, lambda entry: looked_at.append(entry) or 0)) == 64
    assert len(looked_at) <= 1_100


def test_an_object_stays_an_object() -> None:
    assert most_important({"a": 1, "uplink": "sw", "b": 2}, 2, ranks(None)["tags"]) == {"a": 1, "uplink": "sw"}
