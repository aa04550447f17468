"""What crosses between workers: the kinds of entries in the stream, and their form in msgpack.

Whoever can write into Redis can write such entries. So a decoder takes nothing but the declared types, and no entry
carries a command to run. A field that a later version adds at the end of a form is ignored by an older one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import reduce
from math import isfinite
from operator import attrgetter, or_
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import orjson

from mirror_stage.core.instants import DAY, LATEST, Instant
from mirror_stage.metrics.decoder import SampleStruct
from mirror_stage.metrics.domain import INTERVAL_MAX_SECONDS, Sample
from mirror_stage.pipeline.port import Message
from mirror_stage.twin.domain import Host, Rival
from mirror_stage.twin.frames import Step
from mirror_stage.twin.throughput import LinkRates

VERSION = b"1"  # of the forms below; entries of another version are ignored, and counted

# The kinds of entries. Those of the owner carry its generation.
HAPPENED = b"happened"  # a Message of an edge
STEP = b"step"  # what the owner's next frame has changed
WHOLE = b"whole"  # a whole frame of the owner
HERE = b"here"  # a worker has found that Redis takes its entries
WANTED = b"wanted"  # an edge asks for a whole frame
ASKED = b"asked"  # an edge asks the owner to show, or to record, everything before this entry
ANSWERED = b"answered"  # the owner has done that
TOLD = b"told"  # an event for the clients of every worker
WOKEN = b"woken"  # agents of these hosts have something to fetch
PRINTED = b"printed"  # a chunk of a command's output

_CHANGES = re.compile(r"[a-z]+(-[a-z]+)*-(update|changed)")  # the names of events that every worker tells

KnownSample = Callable[[str], Sample | None]  # the newest sample of a host that this worker has

# Each number has a range. A NaN, or an instant of the year 300000, would stop the frames of everybody.
_Instant = Annotated[int, msgspec.Meta(ge=0, le=LATEST + DAY)]
_Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
_Place = tuple[_Finite, _Finite, _Finite]
_Status = Literal["online", "stale", "offline"]
_INSTANTS = re.compile(r"(.*_)?(at|since)")


def _in_range(hint: Any, name: str = "") -> Any:
    """The type with the range of its numbers; those that `name` calls an instant have that of an instant."""
    if hint is int:
        return _Instant if _INSTANTS.fullmatch(name) else _Whole
    if hint is float:
        return _Finite
    inner = tuple(one if one is ... else _in_range(one, name) for one in get_args(hint))
    if isinstance(hint, UnionType):
        return reduce(or_, inner)
    return get_origin(hint)[inner] if inner else hint


def _hints_of(kind: Any) -> dict[str, Any]:
    return {name: _in_range(hint, name) for name, hint in get_type_hints(kind).items()}


_SAMPLE = tuple(one.name for one in fields(Sample))
_HINTS = _hints_of(Sample) | {
    "interval_seconds": Annotated[float, msgspec.Meta(ge=0, le=INTERVAL_MAX_SECONDS)] | None,
    "details": SampleStruct | None,
}
# A sample in the stream. It has the attributes and properties of a Sample, so what reads samples takes it for one: to
# copy it into a Sample would cost more than to decode it.
SampleForm: Any = msgspec.defstruct(
    "SampleForm",
    [(name, _HINTS[name]) for name in _SAMPLE],
    array_like=True,
    gc=False,
    namespace={name: one for name, one in vars(Sample).items() if isinstance(one, property)},
)
_of_sample = attrgetter(*_SAMPLE)
_AT_DETAILS = _SAMPLE.index("details")


class RivalForm(msgspec.Struct, array_like=True, gc=False):
    sample: SampleForm
    since: _Instant | None


_HOST = tuple(one.name for one in fields(Host))
_HOST_HINTS = _hints_of(Host) | {
    "role": Literal["hub", "ego", "host"],
    "status": _Status,
    "severity": Literal["info", "warning", "critical"] | None,
    "sample": SampleForm | None,
    "rival": RivalForm | None,
}
HostForm: Any = msgspec.defstruct("HostForm", [(name, _HOST_HINTS[name]) for name in _HOST], array_like=True, gc=False)
_of_host = attrgetter(*_HOST)
_AT_SAMPLE, _AT_RIVAL = _HOST.index("sample"), _HOST.index("rival")
_VALUES = ("sample", "last_seen_at", "rates", "utilization", "status")
_AT_VALUES = tuple(_HOST.index(name) for name in _VALUES)


class ValuesForm(msgspec.Struct, array_like=True, gc=False):
    """New values of a host that every worker knows; `at` and `received_at` name the sample, which every worker has."""

    id: _Whole
    at: _Instant
    received_at: _Instant
    last_seen_at: _Instant | None
    rates: LinkRates | None
    utilization: _Finite | None
    status: _Status


class MessageForm(msgspec.Struct, array_like=True, gc=False):
    newcomers: dict[str, tuple[_Whole, _Place]]
    hostnames: list[str]  # of `samples`, in their order
    samples: list[msgspec.Raw]
    polls: dict[str, _Instant]
    removed: list[str]
    acknowledged: list[str] = []


class FrameForm(msgspec.Struct, array_like=True, gc=False):
    """A step of the owner's frames: hosts in full, hosts that have new values only, hosts that left. Or a whole frame: `hosts` are all hosts."""

    epoch: Annotated[str, msgspec.Meta(pattern="^[0-9a-z]{1,16}$")]  # it is a part of a header
    revision: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    at: _Instant
    hosts: list[HostForm]
    values: list[ValuesForm] = []
    removed: list[int] = []


class Ask(msgspec.Struct, array_like=True, gc=False):
    """`number` is the asker's own. `is_recorded`: alerts and identities must be in the database, too."""

    number: int
    is_recorded: bool


class Answer(msgspec.Struct, array_like=True, gc=False):
    worker: str
    number: int


class Event(msgspec.Struct, array_like=True, gc=False):
    """An event for clients; `payload` is JSON. An event of the same subject with a lower version comes too late."""

    namespace: str
    event: str
    subject: str
    version: int
    payload: bytes

    @property
    def is_for_clients(self) -> bool:
        """Whether clients can read it. What is not JSON, or has a name of Socket.IO's own, would end their connections."""
        try:
            return _CHANGES.fullmatch(self.event) is not None and isinstance(orjson.loads(self.payload), dict)
        except orjson.JSONDecodeError:
            return False


class ChunkForm(msgspec.Struct, array_like=True, gc=False):
    """A chunk of the output of the command `id`."""

    id: str
    seq: int
    stream: str
    text: str


UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)  # what a decoder raises for anything else

encode = msgspec.msgpack.Encoder().encode
_decode_message = msgspec.msgpack.Decoder(MessageForm).decode
_decode_sample = msgspec.msgpack.Decoder(SampleForm).decode
decode_frame = msgspec.msgpack.Decoder(FrameForm).decode
decode_ask = msgspec.msgpack.Decoder(Ask).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
decode_event = msgspec.msgpack.Decoder(Event).decode
decode_names = msgspec.msgpack.Decoder(list[str]).decode
decode_chunk = msgspec.msgpack.Decoder(ChunkForm).decode


def of_message(message: Message) -> bytes:
    """A message of an edge."""
    return encode(
        MessageForm(
            dict(message.newcomers),
            [sample.hostname for sample in message.samples],
            [msgspec.Raw(encode(SampleForm(*_of_sample(sample)))) for sample in message.samples],
            dict(message.polls),
            list(message.removed),
            list(message.acknowledged),
        )
    )


def to_message(body: bytes) -> tuple[Message, list[tuple[str, bytes]]]:
    """The message without its samples, and those as (hostname, encoded sample). Raises UNREADABLE for anything else."""
    form = _decode_message(body)
    if len(form.hostnames) != len(form.samples):
        raise msgspec.ValidationError("each sample needs a hostname")
    samples = [(hostname, bytes(raw)) for hostname, raw in zip(form.hostnames, form.samples, strict=True)]
    message = Message(newcomers=form.newcomers, polls=form.polls, removed=form.removed, acknowledged=form.acknowledged)
    return message, samples


def to_sample(hostname: str, raw: bytes) -> Sample | None:
    """A sample of a message, of this host; None for anything else."""
    try:
        sample: Sample = _decode_sample(raw)
    except UNREADABLE:
        return None
    return sample if sample.hostname == hostname else None


def of_step(step: Step) -> bytes:
    """A step of the owner's frames. The diagnostics stay out: every worker has them from the samples."""
    hosts, values = [], []
    for host in step.touched.values():
        sample = host.sample
        if sample is None or host.id in step.upserted or not sample.is_whole:
            hosts.append(_host_form(host, with_details=False))
        else:
            values.append(
                ValuesForm(
                    host.id,
                    sample.at,
                    sample.received_at,
                    host.last_seen_at,
                    host.rates,
                    host.utilization,
                    host.status,  # type: ignore[arg-type]  # one of Status
                )
            )
    return encode(FrameForm(step.epoch, step.revision, step.at, hosts, values, list(step.removed)))


def of_whole(epoch: str, revision: int, at: Instant, hosts: Iterable[Host], *, with_details: bool = True) -> bytes:
    """A whole frame."""
    return encode(FrameForm(epoch, revision, at, [_host_form(host, with_details=with_details) for host in hosts]))


def to_step(frame: FrameForm, here: Callable[[int], Host | None], known: KnownSample) -> Step | None:
    """The step. None if this worker lacks a host or a sample that it is about: then it needs a whole frame.

    `here` returns a host of this worker's newest frame by its slot.
    """
    touched = {form.id: _host(form, known) for form in frame.hosts}
    upserted = frozenset(touched)
    for form in frame.values:
        host = here(form.id)
        sample = known(host.hostname) if host is not None else None
        if host is None or sample is None or (sample.at, sample.received_at) != (form.at, form.received_at):
            if host is None or host.sample is None or host.sample.at != form.at:
                return None
            sample = host.sample
        touched[form.id] = _with_values(host, sample, form)
    return Step(frame.epoch, frame.revision, frame.at, touched, upserted, frozenset(frame.removed))


def _with_values(host: Host, sample: Sample, form: ValuesForm) -> Host:
    """`dataclasses.replace` would take five times as long."""
    _must_be_in_range(form.rates)
    values = list(_of_host(host))
    told = (sample, form.last_seen_at, form.rates, form.utilization, form.status)
    for place, value in zip(_AT_VALUES, told, strict=True):
        values[place] = value
    return Host(*values)


def to_hosts(frame: FrameForm, known: KnownSample) -> list[Host]:
    """The hosts of a whole frame."""
    return [_host(form, known) for form in frame.hosts]


def _host_form(host: Host, *, with_details: bool) -> Any:
    values = list(_of_host(host))
    if host.sample is not None:
        values[_AT_SAMPLE] = _sample_form(host.sample, with_details=with_details)
    if host.rival is not None:
        values[_AT_RIVAL] = RivalForm(_sample_form(host.rival.sample, with_details=False), host.rival.since)
    return HostForm(*values)


def _sample_form(sample: Sample, *, with_details: bool) -> Any:
    values = list(_of_sample(sample))
    if not with_details:
        values[_AT_DETAILS] = None
    return SampleForm(*values)


def _must_be_in_range(*values: Any) -> None:
    """Raise ValidationError if there is a number in these values that is out of range, however deep."""
    for value in values:
        if isinstance(value, float) and not isfinite(value):
            raise msgspec.ValidationError("a number is not finite")
        if isinstance(value, Mapping):
            _must_be_in_range(*value.values())
        elif is_dataclass(value):
            _must_be_in_range(*(getattr(value, one.name) for one in fields(value)))


def _host(form: Any, known: KnownSample) -> Host:
    _must_be_in_range(form.rates, form.late, form.forecasts)
    host = Host(*_of_host(form))
    if form.sample is not None and form.sample.details is None:
        mine = known(form.hostname)
        if mine is not None and (mine.at, mine.received_at) == (form.sample.at, form.sample.received_at):
            host.sample = mine
        elif mine is not None:
            form.sample.details = mine.details  # older ones are better than none
    if form.rival is not None:
        host.rival = Rival(form.rival.sample, form.rival.since)
    return host
