"""A URL setting that cannot be read: one line that names it and says what to do, and never a part of the password."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from mirror_stage.core.urls import database_url_trouble, redis_url_trouble, url_trouble
from tests.servers import ROOT

HTTP = ("http", "https")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@h:5432/d",
        "postgres://h/d",
        "postgresql:///d?host=/var/run/postgresql",
        "postgresql://u:p%5Bss%40@[::1]:5432/d",
        "postgresql://u:a:b!$&'()*+,;=@h/d",
        "postgresql://h/d?application_name=a@b",
        "postgresql://one,two/d",
        "postgresql:///d?host=one:5432&host=two:5433",
        "postgresql:///d?host=one,two&port=5432,5433",
        "postgresql://h/d?port=5433&sslmode=require",
    ],
)
def test_a_good_url_has_no_trouble(url: str) -> None:
    assert database_url_trouble(url) is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("h/d", "must begin with postgresql:// or postgres://"),
        ("mysql://u:pass@h/d", "must begin with postgresql:// or postgres://"),
        ("postgresql://u:pa[ss@h/d", "write [ as %5B, ] as %5D"),
        ("postgresql://u:pa@ss@h/d", "write @ as %40"),
        ("postgresql://u:pa/ss@h/d", "write / as %2F, ? as %3F, # as %23"),
        ("postgresql://u:pa#ss@h/d", "write / as %2F, ? as %3F, # as %23"),
        ("postgresql://u:pa?ss@h/d", "? as %3F"),
        ("postgresql://u:pa%ss@h/d", "write % as %25"),
        ("postgresql://u:pa ss@h/d", "write a space as %20"),
        ("postgresql://u:pass@h:abc/d", "has no port from 1 to 65535"),
        ("postgresql://u:pass@h:/d", "has no port from 1 to 65535"),
        ("postgresql://u:pass@h:70000/d", "has no port from 1 to 65535"),
        ("postgresql://u:pass@:abc/d", "has no port from 1 to 65535"),
        ("postgresql://u:pass@h:0/d", "has no port from 1 to 65535"),
        ("postgresql://u:pass@[::1/d", "an IPv6 address stands in brackets"),
        ("postgresql://u:pass@::1/d", "an IPv6 address stands in brackets"),
        ("postgresql://u:pass@[nowhere]/d", "an IPv6 address stands in brackets"),
        ("postgresql://u:pass@h:5432,h2:5432/d", "names several hosts with ports"),
        ("postgresql://u:pass@h/d?port=abc", "has a parameter port"),
        ("postgresql://u:pass@h/d?port=5432,5433", "has a parameter port"),
        ("postgresql://u:pass@h/d?port=5432&port=5433", "has a parameter twice"),
        ("postgresql://u:pass@h/d?sslmode=require&sslmode=disable", "has a parameter twice"),
        ("postgresql://u:pass@h/d?autocommit=1", "has the parameter autocommit, which EGO sets itself"),
        ("postgresql://u:pass@h/d?row_factory=x", "has the parameter row_factory, which EGO sets itself"),
        ("postgresql://u:pass%00@h/d", "has %00"),
        ("postgresql://u:pass@a\\b/d", "has a host with a character that no name of a machine has"),
    ],
)
def test_the_error_of_a_bad_url_says_what_is_wrong_and_shows_no_password(url: str, said: str) -> None:
    told = database_url_trouble(url)
    assert said in str(told)
    assert "pa" not in str(told).replace("password", "").replace("space", "").replace("parameter", "")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://u:pass@h:6379/x", "has a database that is no number"),
        ("redis://u:pass@h/0/1", "has a database that is no number"),
        ("redis://u:pass@h/0?socket_timeout=abc", "has a parameter socket_timeout with a value"),
        ("redis://u:pass@h/0?foo=1", "has a parameter that EGO does not know"),
        ("unix:///run/redis.sock?db=x", "has a parameter db with a value"),
        ("redis://u:pass@h/0?retry_on_timeout=x", "has a parameter that EGO does not know"),
    ],
)
def test_the_error_of_a_redis_that_no_library_could_read_is_one_line(url: str, said: str) -> None:
    assert said in str(redis_url_trouble(url))


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h/",
        "rediss://:p@[::1]:6379/15?ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=3",
        "redis://h?socket_timeout=1.5",
    ],
)
def test_a_redis_that_has_no_trouble_is_one_that_its_library_reads(url: str) -> None:
    assert redis_url_trouble(url) is None
    pool = redis.ConnectionPool.from_url(url)
    pool.connection_class(**pool.connection_kwargs)


@pytest.mark.parametrize("host", ["a..lan", ".", ".lan", f"{'a' * 64}.lan", "xn--ü"])
@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_a_host_that_no_resolver_can_look_up_is_refused(scheme: str, host: str) -> None:
    assert "has a host that is no name" in str(trouble_of(f"{scheme}://{host}:3000"))


@pytest.mark.parametrize("host", ["ego.lan.", "한글.lan", "10.0.0.1", "[::1]", f"{'a' * 63}.lan"])
def test_a_host_that_a_resolver_can_look_up_is_taken(host: str) -> None:
    assert trouble_of(f"http://{host}:3000") is None


def test_the_error_of_a_port_speaks_of_passwords_only_where_one_may_stand() -> None:
    assert str(trouble_of("http://ego:abc")).endswith("after the colon")
    assert "percent-encoded" in str(trouble_of("postgresql://ego:abc"))


def trouble_of(url: str) -> str | None:
    if url.startswith("http"):
        return url_trouble(url, HTTP, may_hold_password=False, needs_host=True)
    return database_url_trouble(url)


def test_an_address_of_ego_has_a_host_and_no_password() -> None:
    assert url_trouble("http://", HTTP, may_hold_password=False, needs_host=True) == "names no host"
    assert "password" in str(url_trouble("http://u:secret@ego", HTTP, may_hold_password=False, needs_host=True))


@pytest.mark.parametrize(
    ("command", "variable", "value"),
    [
        ("serve", "MIRROR_STAGE_DB_URL", "postgresql://u:pa[ss@h/db"),
        ("db current", "MIRROR_STAGE_DB_URL", "postgresql://u:pass@h:abc/db"),
        ("db current", "MIRROR_STAGE_DB_URL", "postgresql://u:pass@h/db?port=abc"),
        ("serve", "MIRROR_STAGE_REDIS_URL", "redis://:pa[ss@h"),
        ("serve", "MIRROR_STAGE_REDIS_URL", "redis://h:abc"),
        ("serve", "MIRROR_STAGE_ALLOWED_ORIGINS", "http://[::1"),
        ("reflector check", "REFLECTOR_EGO", "http://[::1"),
        ("reflector run", "REFLECTOR_EGO", "http://ego:abc"),
        ("reflector check --ego http://u:pa[ss@h", "--ego", ""),
        ("simulate --ego http://[::1", "--ego", ""),
        ("simulate --ego http://ego..lan", "--ego", ""),
        ("simulate --ego http://u:pa[ss@h:abc", "--ego", ""),
        ("admin link --url https://u:pa[ss@h", "--url", ""),
        ("enroll code --url ego.example.org", "--url", ""),
        ("enroll code --url https://ego/#k", "--url", ""),
    ],
)
def test_a_bad_url_stops_the_command_with_one_line_and_without_its_password(
    command: str, variable: str, value: str, tmp_path: Path
) -> None:
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("MIRROR_STAGE_", "REFLECT"))}
    environment |= {"PYTHONPATH": str(ROOT)} | ({variable: value} if value else {})
    ended = subprocess.run(
        [sys.executable, "-m", "mirror_stage.runtime.cli", *command.split()],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        cwd=tmp_path,
        env=environment,
    )
    (line,) = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout) == (2, "")
    assert line.startswith(f"mirror-stage: {variable}")
    assert "pass" not in line.replace("password", "")
    assert "pa[ss" not in line
