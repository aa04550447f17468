"""Decodes samples on two paths: fast by a msgspec decoder compiled from the marshmallow schema, slow by the schema.

The fast path decodes and validates about 70 times faster. A sample that it refuses goes to marshmallow, which decides and
writes the error message; the fast path never accepts more. Both paths end in `metrics.domain.normalise`. Then every text
of a sample is made printable, so that no client has to do it.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

import gevent
import msgspec
from marshmallow import Schema, ValidationError, fields, validate

from mirror_stage.core import strict_json
from mirror_stage.core.names import BadField, is_printable, printable
from mirror_stage.core.problems import Invalid
from mirror_stage.metrics import importance
from mirror_stage.metrics.domain import Sample, normalise
from mirror_stage.metrics.importance import DIAGNOSTICS_MAX, most_important
from mirror_stage.metrics.schemas import SAMPLES_MAX, SampleSchema
from mirror_stage.web.problem_json import ERRORS_MAX
from mirror_stage.web.schemas import Number, Text, Truth, Whole, rows_of

SAMPLE_BYTES_MAX = 64 * 1024
ERRORS_OF_SAMPLE_MAX = 10
TOO_LARGE = 10**400  # for a float
_NOT_EXAMINED = {"field": "", "message": f"not examined: {ERRORS_MAX} errors of this batch are known already"}
_YIELD_EVERY_FAST = 50  # the slow path yields after each sample: 64 bad disks take milliseconds
_LARGE_BYTES = 8 * 1024  # after such a sample too: 64 KiB of what has to be escaped take 40 ms


class NoFastPath(TypeError):
    """A field or validator that `compile_struct` does not know. Without it the fast path would accept too much."""


def compile_struct(schema: type[Schema]) -> type[msgspec.Struct]:
    """A msgspec struct that accepts no more than `schema` does, with the same attribute names.

    Its `with_text` has the names of the members that are, or contain, texts.
    """
    for hooks in schema._hooks.values():
        if hooks:
            raise NoFastPath(f"{schema.__name__} has hooks")
    members: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for name, member in schema().fields.items():
        kind = _kind(member)
        members.append((name, kind) if member.required else (name, kind | None, None))
    with_text = tuple(name for name, member in schema().fields.items() if _has_text(member))
    name = f"Decoded{schema.__name__}"
    return msgspec.defstruct(name, members, namespace={"with_text": with_text}, gc=False, kw_only=True)


def _has_text(member: fields.Field[Any]) -> bool:
    inner = member.inner if isinstance(member, fields.List) else member
    return not isinstance(inner, Number | Whole | Truth)


def _kind(member: fields.Field[Any]) -> Any:
    """The msgspec type of a marshmallow field."""
    if member.data_key not in {None, member.name}:
        raise NoFastPath(f"{member.name} has another name on the wire")
    if member.required == member.allow_none:
        raise NoFastPath(f"{member.name} must be either required or nullable")
    return _annotated(_plain_kind(member), member)


def _plain_kind(member: fields.Field[Any]) -> Any:
    plain = {Text: str, Number: float, Whole: int, Truth: bool}.get(type(member))
    if plain is not None:
        return plain
    if isinstance(member, fields.Nested):
        return compile_struct(type(member.schema))
    if isinstance(member, fields.List):
        return list[_annotated(_plain_kind(member.inner), member.inner)]  # type: ignore[misc]
    if isinstance(member, fields.Dict) and type(member.key_field) is Text and member.value_field is not None:
        return dict[str, _annotated(_plain_kind(member.value_field), member.value_field)]  # type: ignore[misc]
    raise NoFastPath(f"{type(member).__name__} of {member.name}")


def _annotated(kind: Any, member: fields.Field[Any]) -> Any:
    for rule in member.validators:
        if isinstance(rule, validate.Range) and rule.max_inclusive:
            least = {"ge" if rule.min_inclusive else "gt": rule.min}
            kind = Annotated[kind, msgspec.Meta(**least, le=rule.max)]
        elif isinstance(rule, validate.Length) and rule.equal is None:
            kind = Annotated[kind, msgspec.Meta(min_length=rule.min, max_length=rule.max)]
        elif isinstance(rule, validate.Regexp) and not rule.regex.flags & re.IGNORECASE:
            kind = Annotated[kind, msgspec.Meta(pattern="^" + str(rule.regex.pattern))]
        elif isinstance(rule, validate.OneOf):
            kind = Literal[tuple(rule.choices)]
        else:
            raise NoFastPath(f"{type(rule).__name__} of {member.name}")
    return kind


SampleStruct: Any = compile_struct(SampleSchema)


class _Envelope(msgspec.Struct):
    samples: list[msgspec.Raw]


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_sample = msgspec.json.Decoder(SampleStruct).decode
_schema = SampleSchema()
MENDED_MAX = 100  # so many samples of a batch are mended entry by entry: each takes up to 10 ms


@dataclass(slots=True)
class Batch:
    """The good samples of one request, and the errors of the others: `{"index", "field", "message"}` each.

    `dropped` counts the entries that were left out of diagnostic lists: `{"index", "field", "count"}` each.
    """

    samples: list[Sample] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)


def decode_batch(body: bytes) -> Batch:
    """The samples of a request body, in its order. Raises Invalid if the body is not a batch.

    Lets other greenlets run in between: a body of 1,000 samples takes 20 ms.
    """
    batch, slow = Batch(), 0
    for index, raw in enumerate(split(body)):
        try:
            batch.samples.append(decode_fast(raw))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _NotFast):
            slow += 1
            examined = len(batch.errors) < ERRORS_MAX
            sample, errors, dropped = (
                decode_slow(raw, may_mend=slow <= MENDED_MAX) if examined else (None, [_NOT_EXAMINED], {})
            )
            if sample is not None:
                batch.samples.append(sample)
                batch.dropped += [{"index": index, "field": name, "count": count} for name, count in dropped.items()]
            batch.errors += [{"index": index, **error} for error in errors]
            gevent.sleep(0)
        except BadField as error:
            batch.errors.append({"index": index, "field": error.field, "message": error.message})
        if index % _YIELD_EVERY_FAST == _YIELD_EVERY_FAST - 1 or len(raw) > _LARGE_BYTES:
            gevent.sleep(0)
    return batch


class _NotFast(ValueError):
    """A sample that the slow path has to judge, because only it gives a good error message."""


def split(body: bytes) -> list[memoryview]:
    """The bytes of each sample. Raises Invalid if the body is not a batch."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"the body is not UTF-8 (byte {error.start})") from error
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        samples = _decode_envelope(body).samples
    except (msgspec.MsgspecError, RecursionError):
        return [memoryview(json.dumps(_without_infinity(sample)).encode()) for sample in _samples_of(body)]
    _check_count(len(samples))
    return [memoryview(raw) for raw in samples]


def decode_fast(raw: memoryview) -> Sample:
    """One sample, by the compiled decoder. Raises MsgspecError, BadField or _NotFast."""
    content = bytes(raw)
    has_escapes = b"\\" in content
    if len(content) > SAMPLE_BYTES_MAX or (has_escapes and b"\\u0000" in content) or strict_json.is_too_deep(content):
        raise _NotFast
    sample = normalise(_decode_sample(content))
    return with_escapes(sample) if has_escapes or not _is_printable(content) else sample


def _is_printable(content: bytes) -> bool:
    """Whether no text of a sample without JSON's escapes can need one of ours. False: each has to be looked at."""
    return b"\x7f" not in content if content.isascii() else is_printable(content.decode())


def decode_slow(
    raw: memoryview, *, may_mend: bool = True
) -> tuple[Sample | None, list[dict[str, str]], dict[str, int]]:
    """(sample, or None; its errors; how many entries were left out of each list), by marshmallow."""
    content = bytes(raw)
    if len(content) > SAMPLE_BYTES_MAX:
        return None, [{"field": "", "message": f"a sample is at most {SAMPLE_BYTES_MAX // 1024} KiB of JSON"}], {}
    try:
        sample = strict_json.load(content)
        dropped = mend(sample, one_by_one=may_mend) if isinstance(sample, dict) else {}
        return with_escapes(normalise(msgspec.convert(_schema.load(sample), SampleStruct))), [], dropped
    except ValidationError as error:
        rows = list(rows_of(error.normalized_messages()))
        if len(rows) > ERRORS_OF_SAMPLE_MAX:
            more = len(rows) - ERRORS_OF_SAMPLE_MAX + 1
            rows = [*rows[: ERRORS_OF_SAMPLE_MAX - 1], {"field": "", "message": f"and {more} more errors"}]
        return None, rows, {}
    except BadField as error:
        return None, [{"field": error.field, "message": error.message}], {}
    except ValueError as why:
        return None, [{"field": "", "message": f"the sample {why}"}], {}


def with_escapes(sample: Sample) -> Sample:
    """The same sample. A control character, bidi mark or invisible letter in any of its texts is now a visible escape.

    That is done last: `normalise` has to judge the values as the host sent them.
    """
    for name, value in vars(sample).items():
        setattr(sample, name, _with_escapes(value))
    return sample


def _with_escapes(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_with_escapes(one) for one in value]
    if isinstance(value, dict):
        return {_with_escapes(name): _with_escapes(one) for name, one in value.items()}
    if isinstance(value, msgspec.Struct):
        for name in value.with_text:  # type: ignore[attr-defined]  # `compile_struct` adds it
            setattr(value, name, _with_escapes(getattr(value, name)))
    return value


def mend(sample: dict[str, Any], *, one_by_one: bool) -> dict[str, int]:
    """Cut the diagnostic lists of a sample to what the schema accepts. Returns how many entries each list lost.

    One odd sensor or disk must not hide its host. With `one_by_one` a list that is too long keeps its most important
    entries, and malformed ones are dropped. Without it, a list with any error is dropped as a whole.
    """
    dropped: dict[str, int] = {}
    ranks = importance.ranks(sample.get("primary_interface"))
    for name, most in DIAGNOSTICS_MAX.items():
        given = sample.get(name)
        if given is None:
            continue
        member = _schema.fields[name]
        cut = partial(most_important, most=most, rank=ranks[name])
        kept = _well_formed(member, given, cut) if one_by_one else (given if _is_good(member, given) else None)
        if kept is None or len(kept) < len(given):
            sample[name] = kept or None
            dropped[name] = len(given) - len(kept or ()) if isinstance(given, list | dict) else 1
    return dropped


def _well_formed(member: fields.Field[Any], given: Any, cut: Callable[[Any], Any]) -> Any:
    """A list or an object, cut, without entries that are malformed; None if it is neither."""
    if isinstance(member, fields.Dict) and isinstance(given, dict):
        return {
            key: value
            for key, value in cut(given).items()
            if _is_good(member.value_field, value) and _is_good(member.key_field, key)
        }
    if isinstance(member, fields.List) and isinstance(given, list):
        return [entry for entry in cut(given) if _is_good(member.inner, entry)]
    return None


def _is_good(member: Any, value: Any) -> bool:
    try:
        member.deserialize(value)
    except ValidationError:
        return False
    return True


def _samples_of(body: bytes) -> list[Any]:
    """The samples of a body that the fast path refused. Raises Invalid with the reason."""
    try:
        loaded = strict_json.load(body)
    except ValueError as why:
        raise Invalid(f"the body {why}") from why
    if not isinstance(loaded, dict) or not isinstance(loaded.get("samples"), list):
        expected = 'must be an object with a list: {"samples": [...]}'
        raise Invalid(f"the body {expected}", errors=[{"field": "samples", "message": expected}])
    samples: list[Any] = loaded["samples"]
    _check_count(len(samples))
    return samples


def _without_infinity(value: Any) -> Any:
    """The value with a whole number that is as much too large for a float: JSON has no infinity."""
    if isinstance(value, dict):
        return {name: _without_infinity(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_infinity(one) for one in value]
    return int(math.copysign(1, value)) * TOO_LARGE if isinstance(value, float) and math.isinf(value) else value


def _check_count(count: int) -> None:
    if not 1 <= count <= SAMPLES_MAX:
        detail = f"a batch has 1 to {SAMPLES_MAX} samples, this one {count}"
        raise Invalid(detail, errors=[{"field": "samples", "message": detail}])
