"""Every setting: its default, a value that is taken, one that stops the start with one line, and its documentation."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mirror_stage.alerts import rules as alert_rules
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import VARIABLES, Config, doubts, from_environment, is_loopback
from mirror_stage.core.variables import OTHERS
from mirror_stage.runtime.cli import main
from mirror_stage.runtime.serving import exposure_notes, exposure_refusal, listen_address, read_settings, workers_note
from tests.proxies import certificate
from tests.servers import ROOT, EgoServer


class Setting(NamedTuple):
    field: str
    default: Any
    text: str
    value: Any
    bad: str | None  # None where every text is a good one


SETTINGS = {
    "PORT": Setting("port", 3000, "8080", 8080, "65536"),
    "MIRROR_STAGE_BIND": Setting("bind", "127.0.0.1", "::1", "::1", "a b"),
    "MIRROR_STAGE_FIELD_BIND": Setting("field_bind", None, "[::]:3001", "[::]:3001", "unix:/run/field.sock"),
    "MIRROR_STAGE_SOCKET_MODE": Setting("socket_mode", 0o600, "0660", 0o660, "0777"),
    "MIRROR_STAGE_DB_URL": Setting("db_url", None, "postgres://u:p@h:5432/d", "postgres://u:p@h:5432/d", "mysql://h/d"),
    "MIRROR_STAGE_DB_SSL": Setting("db_ssl", False, "true", True, "perhaps"),
    "MIRROR_STAGE_SQLITE_PATH": Setting("sqlite_path", Path("mirror_stage.db"), "/tmp/x.db", Path("/tmp/x.db"), None),
    "MIRROR_STAGE_REDIS_URL": Setting(
        "redis_url", None, "redis://localhost:6379", "redis://localhost:6379", "http://h"
    ),
    "WEB_CONCURRENCY": Setting("workers", 1, "2", 2, "0"),
    "MIRROR_STAGE_EGO_MONITOR_ENABLED": Setting("ego_monitor_enabled", True, "false", False, "2"),
    "MIRROR_STAGE_EGO_MONITOR_INTERVAL_MS": Setting("ego_monitor_interval_ms", 5000, "1000", 1000, "999"),
    "MIRROR_STAGE_STALE_AFTER_SECONDS": Setting("stale_after_seconds", 15, "7.5", 7.5, "0"),
    "MIRROR_STAGE_OFFLINE_AFTER_SECONDS": Setting("offline_after_seconds", 60, "90", 90, "15"),
    "EGO_HOSTNAME": Setting("ego_hostname", socket.gethostname(), "ego-01", "ego-01", "a/b"),
    "EGO_DISPLAY_NAME": Setting("ego_display_name", None, "서버실 EGO", "서버실 EGO", None),
    "EGO_PRIMARY_IP": Setting("ego_primary_ip", None, "10.0.0.100", "10.0.0.100", "10.0.0.256"),
    "EGO_RACK": Setting("ego_rack", None, "R1", "R1", None),
    "EGO_UPLINK": Setting("ego_uplink", None, "sw-r1", "sw-r1", "a/b"),
    "MIRROR_STAGE_HUB_HOSTNAME": Setting("hub_hostname", "core-switch", "spine", "spine", "100%"),
    "MIRROR_STAGE_HUB_IP": Setting("hub_ip", "10.0.0.1", "10.0.0.254", "10.0.0.254", "hub"),
    "MIRROR_STAGE_TWIN_DIAGNOSTICS": Setting("twin_diagnostics", False, "true", True, "perhaps"),
    "MIRROR_STAGE_ALERT_RULES": Setting("alert_rules", None, "rules.toml", Path("rules.toml"), "/nowhere/rules.toml"),
    "MIRROR_STAGE_SECURITY": Setting("security", "auto", "open", "open", "off"),
    "MIRROR_STAGE_TLS": Setting("tls", "auto", "off", "off", "perhaps"),
    "MIRROR_STAGE_TLS_CERT": Setting("tls_cert", None, "ego.pem", Path("ego.pem"), "/nowhere/ego.pem"),
    "MIRROR_STAGE_TLS_KEY": Setting("tls_key", None, "ego.key", Path("ego.key"), "/nowhere/ego.key"),
    "MIRROR_STAGE_TLS_DIR": Setting("tls_dir", None, "/tmp/ego.tls", Path("/tmp/ego.tls"), None),
    "MIRROR_STAGE_LOCAL_USERS": Setting("local_users", (), "alice, 1000", ("alice", "1000"), "a b"),
    "MIRROR_STAGE_LOCAL_AGENTS": Setting("local_agents", ("mirror-stage-reflector",), "agent", ("agent",), "a/b"),
    "MIRROR_STAGE_ALLOWED_HOSTS": Setting("allowed_hosts", (), "ego.lan, ego", ("ego.lan", "ego"), "a b"),
    "MIRROR_STAGE_ALLOWED_ORIGINS": Setting("allowed_origins", (), "https://a:1", ("https://a:1",), "https://a/x"),
    "MIRROR_STAGE_TRUSTED_PROXIES": Setting("trusted_proxies", (), "10.0.0.0/8", ("10.0.0.0/8",), "nginx"),
    "MIRROR_STAGE_LOG_LEVEL": Setting("log_level", "info", "debug", "debug", "loud"),
    "MIRROR_STAGE_MAX_HOSTS": Setting("max_hosts", 10_000, "20000", 20_000, "many"),
    "MIRROR_STAGE_RETENTION_RAW_HOURS": Setting("retention_raw_hours", 24, "0.5", 0.5, "0"),
    "MIRROR_STAGE_RETENTION_1M_DAYS": Setting("retention_1m_days", 30, "1.5", 1.5, "0.5"),
    "MIRROR_STAGE_RETENTION_15M_DAYS": Setting("retention_15m_days", 730, "365", 365, "29"),
    "MIRROR_STAGE_RETENTION_ALERTS_DAYS": Setting("retention_alerts_days", 90, "7.5", 7.5, "0"),
    "MIRROR_STAGE_PUBLIC_URL": Setting("public_url", None, "https://ego.lan/ms", "https://ego.lan/ms", "ego.lan"),
    "MIRROR_STAGE_NOTIFY": Setting("notify", "on", "dry", "dry", "perhaps"),
    "MIRROR_STAGE_SECRETS_KEY_FILE": Setting("secrets_key_file", None, "/tmp/n.key", Path("/tmp/n.key"), None),
    "MIRROR_STAGE_HEARTBEAT_URL": Setting("heartbeat_url", None, "https://hc.lan/x", "https://hc.lan/x", "hc.lan/x"),
    "MIRROR_STAGE_HEARTBEAT_SECONDS": Setting("heartbeat_seconds", 60, "30", 30, "0"),
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A certificate and its key."""
    chain, key = certificate(tmp_path_factory.mktemp("certificate"))
    return {"MIRROR_STAGE_TLS_CERT": str(chain), "MIRROR_STAGE_TLS_KEY": str(key)}


def test_the_table_above_has_every_variable() -> None:
    assert set(SETTINGS) == set(VARIABLES)


@pytest.mark.parametrize("variable", SETTINGS)
def test_a_setting_that_is_not_set_has_its_default(variable: str) -> None:
    setting = SETTINGS[variable]
    assert getattr(from_environment(), setting.field) == getattr(Config(), setting.field) == setting.default


PAIRS = {
    "MIRROR_STAGE_TLS_CERT": "MIRROR_STAGE_TLS_KEY",
    "MIRROR_STAGE_TLS_KEY": "MIRROR_STAGE_TLS_CERT",
}  # both or neither


@pytest.mark.parametrize("variable", SETTINGS)
def test_a_good_value_is_taken(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = SETTINGS[variable]
    if variable in PAIRS:
        monkeypatch.setenv(PAIRS[variable], "other.pem")
    monkeypatch.setenv(variable, setting.text)
    assert getattr(from_environment(), setting.field) == setting.value


@pytest.mark.parametrize("variable", [variable for variable, setting in SETTINGS.items() if setting.bad is not None])
def test_a_bad_value_is_one_line_that_names_it(
    variable: str, monkeypatch: pytest.MonkeyPatch, certified: dict[str, str]
) -> None:
    monkeypatch.setenv(variable, SETTINGS[variable].bad or "")
    if variable in PAIRS:
        monkeypatch.setenv("MIRROR_STAGE_TLS", "on")
        monkeypatch.setenv(PAIRS[variable], certified[PAIRS[variable]])
    with pytest.raises(BadSetting) as raised:
        read_settings()
    assert str(raised.value).startswith(f"{variable}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("MIRROR_STAGE_BIND", "127.0.0.1:3119", "the port goes into PORT"),
        ("MIRROR_STAGE_BIND", "[::1", "one bracket only"),
        ("MIRROR_STAGE_BIND", "::1]", "one bracket only"),
        ("MIRROR_STAGE_BIND", "*", "must be an address"),
        ("MIRROR_STAGE_BIND", "unix:", "must be an address"),
        ("MIRROR_STAGE_BIND", '"0.0.0.0"', "MIRROR_STAGE_BIND: stands in quotes"),
        ("MIRROR_STAGE_BIND", "\u201c0.0.0.0\u201d", "MIRROR_STAGE_BIND: stands in quotes"),
        ("EGO_RACK", "'R1'", "EGO_RACK: stands in quotes"),
        ("PORT", "0", "PORT: Must be greater than or equal to 1"),
        ("MIRROR_STAGE_SQLITE_PATH", "~nobody-here/ego.db", "MIRROR_STAGE_SQLITE_PATH: begins with ~"),
        ("MIRROR_STAGE_SQLITE_PATH", "sqlite:///ego.db", "MIRROR_STAGE_SQLITE_PATH: is a URL"),
        ("MIRROR_STAGE_HUB_IP", "10.0.0", "not '10.0.0'$"),
    ],
)
def test_the_error_of_a_bad_value_says_what_is_wrong(
    variable: str, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(BadSetting, match=said):
        read_settings()


@pytest.mark.parametrize(
    "program", ["mirror_stage.runtime.cli serve", "mirror_stage.runtime.cli db current", "gunicorn"]
)
def test_a_misspelt_key_of_the_alert_rules_stops_the_start(program: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text("[cpu_load_high]\nfireat = 95\n")
    words = [*program.split(), *(["-c", str(ROOT / "gunicorn.conf.py"), "wsgi:app"] if program == "gunicorn" else [])]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MIRROR_STAGE_ALERT_RULES": str(file)}
    run = subprocess.run(
        [sys.executable, "-m", *words], env=environment, capture_output=True, text=True, check=False, timeout=90
    )
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"mirror-stage: MIRROR_STAGE_ALERT_RULES: {file}: [cpu_load_high]: fireat is not one of")
    assert line.endswith("did you mean fire_at?")


def ego(command: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """How a command of EGO ends in this folder, with these variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MIRROR_STAGE_")}
    return subprocess.run(
        [sys.executable, "-m", "mirror_stage.runtime.cli", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        env=environment | {"PYTHONPATH": str(ROOT)} | settings,
    )


def test_a_bad_value_stops_the_command_line_with_status_2() -> None:
    run = ego("serve", {"MIRROR_STAGE_EGO_MONITOR_INTERVAL_MS": "999"})
    assert (run.returncode, run.stdout) == (2, "")
    (line,) = run.stderr.splitlines()
    assert line.startswith("mirror-stage: MIRROR_STAGE_EGO_MONITOR_INTERVAL_MS: ")


def test_the_environment_wins_over_dotenv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=3001\nEGO_RACK=R7\n")
    monkeypatch.setenv("PORT", "3002")
    assert (from_environment().port, from_environment().ego_rack) == (3002, "R7")
    assert from_environment(read_dotenv=False).ego_rack is None


@pytest.mark.parametrize("where", ["environment", ".env"])
@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("MIRROR_STAGE_RETENTION_DAYS", "MIRROR_STAGE_RETENTION_1M_DAYS"),
        ("MIRROR_STAGE_PORT", "PORT"),
        ("mirror_stage_log_level", "MIRROR_STAGE_LOG_LEVEL"),
        ("MIRRORSTAGE_BIND", "MIRROR_STAGE_BIND"),
        ("EGO_HOSTNAM", "EGO_HOSTNAME"),
        ("WEB_CONCURENCY", "WEB_CONCURRENCY"),
    ],
)
def test_a_misspelt_name_stops_the_start_and_names_the_nearest(
    where: str, variable: str, nearest: str, tmp_path: Path
) -> None:
    if where == ".env":
        (tmp_path / ".env").write_text(f"{variable}=3\n")
    run = ego("serve", {variable: "3"} if where == "environment" else {})
    assert (run.returncode, run.stdout) == (2, "")
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"mirror-stage: {variable}: there is no such setting; did you mean {nearest}?")


NEAR = [
    ("EGO_HOST", "EGO_HOSTNAME"),
    ("EGO_IP", "EGO_PRIMARY_IP"),
    ("EGO_PORT", "PORT"),
    ("EGO_BIND", "MIRROR_STAGE_BIND"),
    ("PROT", "PORT"),
    ("MIRROR_BIND", "MIRROR_STAGE_BIND"),
]


@pytest.mark.parametrize(("variable", "meant"), NEAR)
def test_a_name_that_may_be_another_programs_is_told_and_stops_nothing(
    variable: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "3")
    assert from_environment() == Config()
    (line,) = doubts()
    assert line == f"{variable}: is no setting of EGO, so it changes nothing; did you mean {meant}?"


def test_a_doubtful_name_is_told_at_the_start_and_by_doctor(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LOG_LEVEL=debug\n")
    ego_server = EgoServer(tmp_path, {"EGO_HOST": "atlas"})
    try:
        ego_server.start()
        assert "EGO_HOST: is no setting of EGO, so it changes nothing; did you mean EGO_HOSTNAME?" in ego_server.log
        assert (
            "LOG_LEVEL: is no setting of EGO, so it changes nothing; did you mean MIRROR_STAGE_LOG_LEVEL?"
            in ego_server.log
        )
    finally:
        ego_server.stop()
    said = ego("doctor", {"EGO_HOST": "atlas"}).stdout
    assert "did you mean EGO_HOSTNAME?" in said
    assert "did you mean MIRROR_STAGE_LOG_LEVEL?" in said


@pytest.mark.parametrize("variable", ["EGO_HOST", "EGO_TOP"])
def test_in_egos_own_file_every_name_that_begins_with_ego_is_a_setting(variable: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"{variable}=3\n")
    with pytest.raises(BadSetting, match=f"^{variable}: there is no such setting"):
        from_environment()


def test_a_variable_of_another_program_changes_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    others = {
        "EGO_TOP": "/opt/ego",
        "EGO_URL": "http://127.0.0.1:3000",
        "EGO_CONFDIR": "/opt/ego/conf",
        "HOSTNAME": "atlas",
        "PORT0": "31000",  # schedulers of containers
        "PORTS": "31000,31001",
        "PGPORT": "5432",
        "LOG_LEVEL": "debug",
        "REDIS_URL": "redis://10.0.0.9",
        "MIRROR_STAGE_HUD": "build",
        "MIRROR_STAGE_COMMAND_ID": "x",
        "MIRROR_STAGE_SERVICE_HOST": "10.0.0.9",  # Kubernetes, where the service is called mirror-stage
        "MIRROR_STAGE_PORT": "tcp://10.0.0.9:3000",
        "MIRROR_STAGE_PORT_3000_TCP_ADDR": "10.0.0.9",
    }
    for name, value in others.items():
        monkeypatch.setenv(name, value)
    assert (from_environment(), doubts()) == (Config(), [])


@pytest.mark.parametrize("variable", SETTINGS)
def test_an_empty_value_is_as_if_it_was_not_set(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "")
    assert from_environment() == Config()


def test_a_path_in_the_home_folder_is_found_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MIRROR_STAGE_SQLITE_PATH", "~/ego.db")
    assert from_environment().sqlite_path == tmp_path / "ego.db"


def test_a_variable_that_the_file_sets_to_two_values_is_told_and_the_last_one_counts(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=3201\nEGO_RACK=R1\nPORT=3202\nEGO_RACK=R1\n")
    assert (from_environment().port, doubts()) == (
        3202,
        [".env, line 3: PORT was set above to another value; this line counts"],
    )


def test_hyphens_in_a_name_are_underscores_that_somebody_meant(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MIRROR-STAGE-BIND=0.0.0.0\n")
    with pytest.raises(BadSetting, match="did you mean MIRROR_STAGE_BIND"):
        from_environment()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"MIRROR_STAGE_BIND": "192.0.2.1"}, "MIRROR_STAGE_BIND: cannot listen on 192.0.2.1:"),
        ({"MIRROR_STAGE_BIND": "no.such.host.invalid"}, "MIRROR_STAGE_BIND: cannot listen on no.such.host.invalid:"),
        (
            {"MIRROR_STAGE_BIND": "unix:/nowhere/ego.sock"},
            "MIRROR_STAGE_BIND: cannot listen on unix:/nowhere/ego.sock: there is no folder",
        ),
        ({"MIRROR_STAGE_BIND": "unix:/"}, "MIRROR_STAGE_BIND: cannot listen on unix:/: that is no socket"),
    ],
)
def test_an_address_that_nobody_can_listen_on_is_blamed_and_not_the_port(
    settings: dict[str, str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert main(["serve"]) == 1
    assert capsys.readouterr().err.startswith(f"mirror-stage: {said}")


def test_files_that_an_editor_of_windows_has_written_are_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfPORT=3201\r\nMIRROR_STAGE_ALERT_RULES=rules.toml\r\n")
    (tmp_path / "rules.toml").write_bytes(b"\xef\xbb\xbf[cpu_load_high]\r\nfire_at = 95\r\n")
    settings = read_settings()
    assert settings.port == 3201
    assert {rule.name: rule.fire_at for rule in alert_rules.load(settings)}["cpu_load_high"] == 95


def test_every_variable_of_another_part_is_used_by_one_of_them() -> None:
    parts = ["Makefile", "hatch_build.py", "mirror_stage/reflector/family.py", "tests/servers.py"]
    text = "".join(
        (ROOT / part).read_text()
        for part in [*parts, "tests/history/test_timescale.py", "tests/ops/test_readme_walk.py"]
    )
    assert [name for name in OTHERS if name not in text] == []


@pytest.mark.parametrize("line", ["PORT 3201", "PORT: 3201", "PORT", "=3201", 'EGO_RACK="R7'])
def test_a_line_of_dotenv_without_a_value_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"# mine\nEGO_RACK=R7\n\n{line}\n")
    with pytest.raises(BadSetting, match=r"^\.env, line 4: must be NAME=value"):
        from_environment()


@pytest.mark.parametrize("document", ["config/ego.env.example", "docs/contract.md"])
def test_every_variable_is_documented(document: str) -> None:
    text = (ROOT / document).read_text()
    short = text.replace("`…_", "`MIRROR_STAGE_")  # the contract's table writes a repeated beginning as an ellipsis
    assert [variable for variable in VARIABLES if not re.search(rf"\b{variable}\b", short)] == []


def test_the_example_shows_the_defaults_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = dict(re.findall(r"^# ([A-Z0-9_]+)=(.*)$", (ROOT / "config/ego.env.example").read_text(), re.MULTILINE))
    assert set(shown) == set(VARIABLES)
    for variable, text in shown.items():
        if text:
            monkeypatch.setenv(variable, text)
    assert from_environment() == Config()


@pytest.mark.parametrize(
    ("bind", "port", "address"),
    [
        ("127.0.0.1", 3000, "127.0.0.1:3000"),
        ("localhost", 80, "localhost:80"),
        ("::1", 3000, "[::1]:3000"),
        ("[::]", 3000, "[::]:3000"),
        ("unix:/run/ego.sock", 3000, "unix:/run/ego.sock"),
    ],
)
def test_the_listen_address_is_made_of_the_bind_address_and_the_port(bind: str, port: int, address: str) -> None:
    assert listen_address(Config(bind=bind, port=port)) == address


@pytest.mark.parametrize(
    ("address", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("unix:/x", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.100", False),
        ("", False),
        ("ego.example.org", False),
    ],
)
def test_only_loopback_addresses_and_unix_sockets_are_local(address: str, is_local: bool) -> None:
    assert is_loopback(address) == is_local


@pytest.mark.parametrize(
    ("text", "port"),
    [("10.0.0.100:3001", 3001), ("0.0.0.0:1", 1), ("[::]:65535", 65535), ("[FD00::1]:3001", 3001)],
)
def test_the_listener_of_agents_of_another_make_has_an_address_and_a_port(
    monkeypatch: pytest.MonkeyPatch, text: str, port: int
) -> None:
    monkeypatch.setenv("MIRROR_STAGE_FIELD_BIND", text)
    assert from_environment().field_port == port


@pytest.mark.parametrize(
    "text",
    ["3001", ":3001", "10.0.0.100", "10.0.0.100:0", "10.0.0.100:65536", "::1:3001", "[::1]", "ego:3001", "unix:/run/f.sock", "10.0.0.100:3000"],
)  # fmt: skip
def test_another_form_or_egos_own_port_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("MIRROR_STAGE_FIELD_BIND", text)
    with pytest.raises(BadSetting, match=r"\AMIRROR_STAGE_FIELD_BIND: .+\Z"):
        from_environment()


@pytest.mark.parametrize(
    ("settings", "has_tls"),
    [
        ({}, False),
        ({"bind": "::1"}, False),
        ({"bind": "unix:/run/ego.sock"}, False),
        ({"security": "strict"}, False),
        ({"bind": "0.0.0.0"}, True),
        ({"bind": "10.0.0.100", "security": "strict"}, True),
        ({"bind": "0.0.0.0", "security": "open"}, False),
        ({"bind": "0.0.0.0", "tls": "off"}, False),
        ({"bind": "0.0.0.0", "security": "open", "tls": "on"}, True),
        ({"tls": "on"}, True),
    ],
)
def test_exposure_turns_tls_on_unless_ego_runs_open(settings: dict[str, Any], has_tls: bool) -> None:
    assert Config(**settings).has_tls is has_tls


@pytest.mark.parametrize(
    ("addresses", "settings", "starts"),
    [
        (["127.0.0.1:3000"], {}, True),
        (["[::1]:3000"], {}, True),
        (["unix:/run/ego.sock"], {}, True),
        (["0.0.0.0:3000"], {"bind": "0.0.0.0"}, True),
        (["0.0.0.0:3000"], {"bind": "0.0.0.0", "security": "strict"}, True),
        (["0.0.0.0:3000"], {"bind": "0.0.0.0", "tls": "off"}, True),
        (["0.0.0.0:3000"], {"bind": "0.0.0.0", "security": "open"}, True),
        (["0.0.0.0:3000"], {}, False),  # from gunicorn's own option or from systemd
        ([":3000"], {"security": "strict"}, False),
        (["127.0.0.1:3000", "10.0.0.100:3000"], {}, False),
        (["127.0.0.1:3000", "10.0.0.100:3000"], {"tls": "on"}, True),
        (["127.0.0.1:3000", "10.0.0.100:3001"], {"field_bind": "10.0.0.100:3001"}, True),  # plain on purpose
        (["127.0.0.1:3000", "10.0.0.100:3002"], {"field_bind": "10.0.0.100:3001"}, False),
        (
            ["unix:/run/ego.sock", "10.0.0.100:3001"],
            {"bind": "unix:/run/ego.sock", "field_bind": "10.0.0.100:3001"},
            True,
        ),
    ],
)
def test_ego_refuses_an_address_of_the_network_that_no_setting_knows(
    addresses: list[str], settings: dict[str, Any], starts: bool
) -> None:
    reason = exposure_refusal(addresses, Config(**settings))
    assert (reason is None) == starts
    assert reason is None or ("MIRROR_STAGE_" in reason and "\n" not in reason)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, []),
        ({"bind": "0.0.0.0"}, ["mirror-stage admin link"]),
        ({"bind": "0.0.0.0", "tls": "off"}, ["mirror-stage admin link", "MIRROR_STAGE_TLS=off"]),
        ({"bind": "0.0.0.0", "security": "open"}, ["MIRROR_STAGE_SECURITY=open"]),
        ({"security": "open"}, ["MIRROR_STAGE_SECURITY=open"]),
        ({"tls_cert": Path("a"), "tls_key": Path("b")}, ["MIRROR_STAGE_TLS_CERT"]),
    ],
)
def test_every_start_says_who_reaches_ego_and_what_is_in_the_clear(settings: dict[str, Any], said: list[str]) -> None:
    config = Config(**settings)
    notes = list(exposure_notes([listen_address(config)], config))
    assert len(notes) == len(said)
    assert all(words in note for words, note in zip(said, notes, strict=True))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"MIRROR_STAGE_TLS_CERT": "a"}, "MIRROR_STAGE_TLS_KEY: is not set"),
        ({"MIRROR_STAGE_TLS_KEY": "a"}, "MIRROR_STAGE_TLS_CERT: is not set"),
        (
            {"MIRROR_STAGE_TLS": "on", "MIRROR_STAGE_BIND": "unix:/run/ego.sock"},
            "MIRROR_STAGE_TLS: on needs an address",
        ),
    ],
)
def test_settings_of_tls_that_cannot_be_together(
    given: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, text in given.items():
        monkeypatch.setenv(variable, text)
    with pytest.raises(BadSetting, match=named):
        read_settings()


def test_a_note_says_why_ego_runs_only_one_worker() -> None:
    both = {"db_url": "postgresql://h/d", "redis_url": "redis://h"}
    assert workers_note(1, Config()) is None
    assert workers_note(4, Config(**both)) is None
    for name, variable in (("db_url", "MIRROR_STAGE_DB_URL"), ("redis_url", "MIRROR_STAGE_REDIS_URL")):
        lacking = workers_note(4, Config(**{**both, name: None})) or ""
        assert variable in lacking
        assert "one worker" in lacking
