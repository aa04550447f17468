"""What an edge knows about each host. The port keeps it up to date; the edge never asks the twin."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mirror_stage.core.instants import Instant
from mirror_stage.metrics.domain import Sample
from mirror_stage.pipeline.port import Message
from mirror_stage.twin.domain import Arrival, Host, Newest, correct_time
from mirror_stage.twin.throughput import set_rates

UNREAD_MAX = 8  # encoded samples of a host; older ones are dropped unread
STRANGERS_MAX = 10_000  # hosts whose agents poll but never report; those that polled longest ago are forgotten

_UNKNOWN = Newest()


class KnownHosts:
    """Id, newest sample and last poll of each host, by its name."""

    def __init__(self, to_sample: Callable[[str, bytes], Sample | None] | None = None) -> None:
        """`to_sample` decodes a sample of a host that another process has encoded; None if it is none."""
        self._to_sample = to_sample
        self.ids_by_hostname: dict[str, int] = {}
        self._newest: dict[str, Newest] = {}
        self._unread: dict[str, list[bytes]] = {}
        self._polls: dict[str, Instant] = {}

    def hear(self, message: Message) -> None:
        """Update what is known from a message of the port."""
        self.ids_by_hostname |= {hostname: host_id for hostname, (host_id, _) in message.newcomers.items()}
        done = set()
        for hostname, (before, after) in message.measured.items():
            if hostname in self.ids_by_hostname and self.newest_of(hostname) is before:
                self._newest[hostname] = after
                done.add(hostname)
        for sample in message.samples:
            if sample.hostname in self.ids_by_hostname and sample.hostname not in done:
                self._newest[sample.hostname], _ = self.newest_of(sample.hostname).after(sample)
        for hostname, at in message.polls.items():
            self._remember_poll(hostname, at)
        for hostname in message.removed:
            self.ids_by_hostname.pop(hostname, None)
            self._newest.pop(hostname, None)
            self._unread.pop(hostname, None)
            self._polls.pop(hostname, None)  # `deliverable` is false until its agent polls again

    def hear_encoded(self, samples: Iterable[tuple[str, bytes]]) -> None:
        """Note the samples of another edge, as (hostname, encoded sample). They are decoded if somebody asks for them."""
        for hostname, encoded in samples:
            if hostname in self.ids_by_hostname:
                unread = self._unread.setdefault(hostname, [])
                unread.append(encoded)
                if len(unread) > UNREAD_MAX:
                    del unread[0]

    def learn(self, host: Host) -> None:
        """Add a host as the twin has it, unless more is known of it already."""
        hostname, mine = host.hostname, self.newest_of(host.hostname).sample
        self.ids_by_hostname[hostname] = host.id
        if mine is None or (host.sample is not None and host.sample.order > mine.order):
            self._newest[hostname] = Newest(host.sample, host.late, host.rival)
        if host.last_poll_at is not None and host.last_poll_at > self._polls.get(hostname, 0):
            self._polls[hostname] = host.last_poll_at

    def adopt(self, host: Host) -> None:
        """Take a host as the owner has it, which has heard everything that is known here: nothing needs to be decoded again."""
        self._unread.pop(host.hostname, None)
        self._newest.pop(host.hostname, None)
        self.learn(host)

    def newest_of(self, hostname: str) -> Newest:
        newest = self._newest.get(hostname, _UNKNOWN)
        unread = self._unread.pop(hostname, None)
        if unread is not None:
            assert self._to_sample is not None
            for encoded in unread:
                sample = self._to_sample(hostname, encoded)
                if sample is not None:
                    newest, _ = newest.after(sample)
            self._newest[hostname] = newest
        return newest

    def sample_of(self, hostname: str) -> Sample | None:
        """The newest sample of a host; None if there is none."""
        return self.newest_of(hostname).sample

    def policy_of(self, hostname: str) -> str | None:
        """The command policy that a host's agent reports; None if unknown."""
        sample = self.newest_of(hostname).sample
        return sample.command_policy if sample is not None else None

    def last_poll_of(self, hostname: str) -> Instant | None:
        """When a host's agent last asked for commands."""
        return self._polls.get(hostname)

    def _remember_poll(self, hostname: str, at: Instant) -> None:
        self._polls.pop(hostname, None)
        self._polls[hostname] = at
        if len(self._polls) > len(self.ids_by_hostname) + STRANGERS_MAX:
            stranger = next((name for name in self._polls if name not in self.ids_by_hostname), None)
            if stranger is not None:
                del self._polls[stranger]


class Measured:
    """Works out the rates of samples that are about to be committed: each from the newest sample of its host before it."""

    def __init__(self, known: KnownHosts | Measured):
        self._before = known
        self._found: dict[str, Newest] = {}  # what was known before the first of these samples
        self._newest: dict[str, Newest] = {}

    def newest_of(self, hostname: str) -> Newest:
        newest = self._newest.get(hostname)
        if newest is None:
            newest = self._newest[hostname] = self._found[hostname] = self._before.newest_of(hostname)
        return newest

    def forget_samples(self) -> None:
        """Go back to what was known before the first sample, although the port may have told of these samples since."""
        self._newest = dict(self._found)

    def measure(self, sample: Sample) -> bool:
        """Correct the time of a sample, and set its rates if it is its host's newest. False if it is late: its rates need the history."""
        newest = self.newest_of(sample.hostname)
        correct_time(sample, newest)
        self._newest[sample.hostname], kind = newest.after(sample)
        set_rates(sample, newest.sample if kind is Arrival.FRESH else None)
        return kind is Arrival.FRESH or kind is Arrival.REANCHORED

    def changes(self) -> dict[str, tuple[Newest, Newest]]:
        """By hostname, what was known before the first sample, and what is known now."""
        return {hostname: (before, self._newest[hostname]) for hostname, before in self._found.items()}

    def keep(self, trial: Measured) -> None:
        """Take over the newest samples of `trial`, whose batch was stored."""
        self._newest |= trial._newest
