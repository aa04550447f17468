"""What a scrape of a real EGO says."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.servers import EgoServer

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def series(text: str, *, kinds: tuple[str, ...] = ()) -> Series:
    """Every series of an answer in plain text, of these kinds of metrics if any are given."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            if not kinds or family.type in kinds:
                key = (one.name, frozenset(one.labels.items()))
                assert key not in found, f"{key} is there twice"
                found[key] = one.value
    return found


def value(text: str, name: str, **labels: str) -> float:
    """The value of the one series with this name and these labels; 0 if there is none yet."""
    found = [
        number for (its, has), number in series(text).items() if its == name and labels.items() <= dict(has).items()
    ]
    assert len(found) <= 1, (name, labels, found)
    return found[0] if found else 0.0


def figure(ego: EgoServer, name: str, **labels: str) -> float:
    """The same, of EGO's own figures now."""
    answer = ego.get("/metrics")
    assert answer.status_code == 200, answer.text
    return value(answer.text, name, **labels)
