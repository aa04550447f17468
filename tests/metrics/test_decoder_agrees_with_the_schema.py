"""The compiled decoder never accepts more than the marshmallow schema, and never gives another value."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import Schema, fields, post_load, validate

from mirror_stage.core.names import BadField
from mirror_stage.metrics.decoder import NoFastPath, compile_struct, decode_batch, decode_fast, decode_slow
from mirror_stage.metrics.schemas import SampleSchema
from mirror_stage.web.schemas import SAFE_WHOLE, Number, Text, Truth, Whole
from tests.builders import make_sample

numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-5, 2**70),
    st.sampled_from([0, 12.0, 12.7, 100, 100.0001, -1, 2**53 - 1, 2**53]),
)
texts = st.one_of(
    st.text(max_size=8), st.sampled_from(["", "x" * 161, "\0", "10.0.0.1", "10.0.0.256", "off", "all", "1.5", "한"])
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
FULL = make_sample(at="2026-03-01T12:00:00.123456Z") | {
    "cpu_temperature": 51.5, "gpu_temperature": None, "net_bytes_tx": 5, "net_bytes_rx": SAFE_WHOLE, "disk_read_bytes": 7, "ip": "10.0.0.9", "ipv4": None,
    "rack": " R1 ", "position": {"x": 1, "z": 2.5}, "memory_total_bytes": 64 * 2**30, "cpu_model": "Xeon", "cpu_logical_cores": 8.0,
    "primary_interface_speed_mbps": 1000, "tags": {"room": "A", "uplink": "sw"}, "cpu_per_core": [1, 2.5], "swap_used_percent": 0,
    "disks": [{"mountpoint": "/", "used_percent": 28.3, "total_bytes": 10, "is_read_only": False}],
    "interfaces": [{"name": "eth0", "is_up": True, "speed_mbps": None}],
    "temperatures": {"cpu": 51.5}, "top_processes": [{"name": "init", "pid": 1}], "command_policy": "allow_list", "unknown_key": [1e308, {"a": None}],
}  # fmt: skip


@st.composite
def near_valid(draw: st.DrawFn) -> dict[str, Any]:
    """Mostly a valid sample; now and then a member is dropped, or is anything."""
    sample = dict(FULL)
    for name in draw(st.lists(st.sampled_from(sorted(FULL)), max_size=3, unique=True)):
        match draw(st.sampled_from(["drop", "number", "text", "anything", "inner"])):
            case "drop":
                del sample[name]
            case "number":
                sample[name] = draw(numbers)
            case "text":
                sample[name] = draw(texts)
            case "anything":
                sample[name] = draw(anything)
            case "inner":
                inner = sample[name]
                if isinstance(inner, list) and inner and isinstance(inner[0], dict):
                    sample[name] = [inner[0] | {draw(st.sampled_from(sorted(inner[0]))): draw(anything)}]
                elif isinstance(inner, dict):
                    sample[name] = inner | {draw(texts): draw(anything)}
    return sample


@settings(max_examples=200, deadline=None)
@given(near_valid())
def test_the_schema_accepts_whatever_the_fast_path_accepts_with_the_same_values(sample: dict[str, Any]) -> None:
    raw = memoryview(json.dumps(sample).encode())
    slow, errors, _ = decode_slow(raw)
    try:
        fast = decode_fast(raw)
    except (BadField, msgspec.MsgspecError, ValueError) as refused:
        expected = [{"field": refused.field, "message": refused.message}] if isinstance(refused, BadField) else errors
        assert (slow is None, errors) == (bool(errors), expected)  # the schema decides, and words it
    else:
        assert slow == fast


def test_the_fast_path_takes_the_usual_sample() -> None:
    usual = {name: value for name, value in FULL.items() if name != "cpu_logical_cores"}
    raw = memoryview(json.dumps(usual).encode())
    assert decode_fast(raw) == decode_slow(raw)[0]


def with_text(member: fields.Field[Any], text: str) -> Any:
    """A value of the field, with the text wherever a text can stand."""
    match member:
        case Number() | Whole():
            return 1
        case Truth():
            return True
        case fields.Nested():
            return {name: with_text(inner, text) for name, inner in member.schema.fields.items()}
        case fields.List():
            return [with_text(member.inner, text)]
        case fields.Dict():
            return {text: with_text(member.value_field, text)}  # type: ignore[arg-type]
    return text


@pytest.mark.parametrize("decode", [decode_fast, lambda raw: decode_slow(raw)[0]])
@pytest.mark.parametrize("ensure_ascii", [True, False])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\u001b[2J"),
        ("a\nb\x7f", r"a\nb\u007f"),
        ("\x9b1m", r"\u009b1m"),
        ("a\u202eb\u2066", r"a\u202eb\u2066"),
        ("a\u3164\ufe0f", r"a\u3164\ufe0f"),
        ("\U000e0041", r"\udb40\udc41"),
        (r"C:\new", r"C:\new"),
        ("웹 서버 é", "웹 서버 é"),
    ],
)
def test_what_cannot_be_seen_is_a_visible_escape_in_every_text(
    decode: Any, ensure_ascii: bool, text: str, shown: str
) -> None:
    usual = {"hostname": "web-01", "timestamp": FULL["timestamp"], "ip": None, "ipv4": None, "command_policy": None}
    every = {name: with_text(member, text) for name, member in SampleSchema().fields.items()} | usual
    sample = decode(memoryview(json.dumps(every, ensure_ascii=ensure_ascii).encode()))
    expected = {name: with_text(member, shown) for name, member in SampleSchema().fields.items()} | usual
    assert msgspec.to_builtins(sample.details) == expected
    assert (sample.agent_version, sample.platform, sample.rack) == (shown, shown, shown)
    assert (sample.tags, sample.primary_interface, sample.agent_instance) == ({shown: shown}, shown, shown)


def test_values_are_judged_as_the_host_sent_them() -> None:
    tags = {"primary_interface_speed_mbps": "1000\n"}
    sample = decode_fast(memoryview(json.dumps(FULL | {"cpu_logical_cores": 8, "rack": "R1\n", "tags": tags}).encode()))
    assert (sample.net_capacity_gbps, sample.rack) == (1.0, "R1")


def test_every_field_of_the_contract_arrives() -> None:
    sample = decode_slow(memoryview(json.dumps(FULL).encode()))[0]
    assert sample is not None
    assert (sample.ip, sample.rack, sample.position, sample.command_policy) == (
        "10.0.0.9",
        "R1",
        (1.0, 0.0, 2.5),
        "allow_list",
    )
    assert (sample.net_bytes_rx, sample.disk_read_bytes) == (SAFE_WHOLE, 7)
    assert (sample.fullest_disk_percent, sample.net_capacity_gbps) == (28.3, 1.0)
    assert sample.details.cpu_logical_cores == 8


def test_a_bad_sample_is_named_by_its_index_among_good_ones() -> None:
    samples = [make_sample() for _ in range(5)]
    samples[3]["cpu_load"] = "12"
    del samples[4]["platform"]
    batch = decode_batch(json.dumps({"samples": samples}).encode())
    assert len(batch.samples) == 3
    assert [(row["index"], row["field"]) for row in batch.errors] == [(3, "cpu_load"), (4, "platform")]


@pytest.mark.parametrize("body", [b'\xef\xbb\xbf{"samples": [%s]}', b'{"note": "\\ud800", "samples": [%s]}'])
def test_in_an_odd_body_too_a_number_beyond_a_float_costs_its_entry_and_in_a_gauge_the_sample(body: bytes) -> None:
    sensors, gauge = (make_sample("h", **{name: 0}) for name in ("temperatures", "cpu_temperature"))
    taken = decode_batch(
        body % json.dumps(sensors).replace('"temperatures": 0', '"temperatures": {"a": -1e400, "b": 40}').encode()
    )
    assert ([sample.details.temperatures for sample in taken.samples], taken.errors) == ([{"b": 40}], [])
    refused = decode_batch(
        body % json.dumps(gauge).replace('"cpu_temperature": 0', '"cpu_temperature": 1e400').encode()
    )
    assert refused.errors == [{"index": 0, "field": "cpu_temperature", "message": "must be a finite number"}]


def test_a_schema_that_the_compiler_cannot_map_is_refused_at_import() -> None:
    class Hooked(Schema):
        a = Text(required=True)

        @post_load
        def shout(self, loaded: Any, **_kwargs: Any) -> Any:
            return loaded

    class Coercing(Schema):
        a = fields.Integer(required=True)

    class Odd(Schema):
        a = Number(required=True, validate=validate.NoneOf([1]))

    for schema in (Hooked, Coercing, Odd):
        with pytest.raises(NoFastPath):
            compile_struct(schema)
    assert compile_struct(SampleSchema).__name__ == "DecodedSampleSchema"
