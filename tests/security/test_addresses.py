"""An address with several spellings has one normal form."""

from __future__ import annotations

import pytest

from mirror_stage.core.addresses import network_of, normalise_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.1.2.3", "10.1.2.3"),
        (" 10.1.2.3:51234 ", "10.1.2.3"),
        ("[10.1.2.3]:80", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::FFFF:0A01:0203", "10.1.2.3"),
        ("[::ffff:10.1.2.3]:443", "10.1.2.3"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ('"[2001:db8::1]:4711"', "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("unknown", None),
        ("", None),
        ("10.1.2", None),
        ("10.1.2.3:x", None),
        ("10.1.2.3, 10.0.0.1", None),
        ("010.1.2.3", None),
    ],
)
def test_normalise_address(text: str, address: str | None) -> None:
    assert normalise_address(text) == address


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.5", "10.0.0.5/32"),
        ("10.0.0.5/8", "10.0.0.0/8"),
        ("::ffff:10.0.0.5", "10.0.0.5/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("[FD00:0::1]", "fd00::1/128"),
        ("fd00::/8", "fd00::/8"),
    ],
)
def test_network_of(text: str, network: str) -> None:
    assert str(network_of(text)) == network


@pytest.mark.parametrize("text", ["nginx", "10.0.0.0/33", "10.0.0.0/", "/8", ""])
def test_a_text_that_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither|permitted|netmask|appear"):
        network_of(text)
