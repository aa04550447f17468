"""Counts what the edge commits."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from mirror_stage.core.problems import Problem
from mirror_stage.figures.instruments import GROUP_SAMPLES, Histogram
from mirror_stage.metrics.domain import Sample
from mirror_stage.pipeline.writer import Answer, Store


class Commits:
    """Commits a group with `store`. Counts its samples by outcome, its size, and how long the commit took."""

    def __init__(self, store: Store):
        self._store = store
        self.samples = {"stored": 0, "duplicate": 0, "refused": 0}
        self.group_samples, self.seconds = Histogram(GROUP_SAMPLES), Histogram()

    def __call__(self, batches: Sequence[Sequence[Sample]]) -> list[Answer]:
        """One answer for each batch of a group, as `store` gives them."""
        began = perf_counter()
        answers = self._store(batches)
        self.seconds.observe(perf_counter() - began)
        count = accepted = duplicates = refused = 0
        for samples, answer in zip(batches, answers, strict=True):
            count += len(samples)
            if isinstance(answer, Problem):
                refused += len(samples)
            else:
                accepted += answer.accepted
                duplicates += answer.duplicates
        self.samples["stored"] += accepted - duplicates
        self.samples["duplicate"] += duplicates
        self.samples["refused"] += refused
        self.group_samples.observe(count)
        return answers
