"""The settings of an agent, where they come from, and the errors about bad values."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.reflector import settings as module
from mirror_stage.reflector.settings import SETTINGS, VARIABLES, Settings, settings_from
from mirror_stage.reflector.state import StateFolder, default_state_dir
from tests.servers import ROOT

SHIPPED = (ROOT / "config/reflector.toml").read_text()
ENVIRONMENTAL = {"hostname", "state_dir"}  # settings whose default depends on the machine


@pytest.fixture(autouse=True)
def no_file_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "FILE", tmp_path / "none.toml")


def uncommented() -> dict[str, Any]:
    """The settings of the shipped file after all its examples are uncommented."""
    lines = [line.removeprefix("# ") for line in SHIPPED.splitlines()]
    named = tuple(f"{row.name} = " for row in SETTINGS)
    return tomllib.loads("\n".join(line for line in lines if line.startswith(named)))


def test_the_shipped_file_has_every_setting_and_sets_none() -> None:
    assert tomllib.loads(SHIPPED) == {}
    assert set(uncommented()) == {row.name for row in SETTINGS}


def test_the_shipped_file_shows_the_built_in_defaults(tmp_path: Path) -> None:
    built_in = Settings()
    shown = {name: value for name, value in uncommented().items() if name not in ENVIRONMENTAL}
    fixed = {name for name in shown if getattr(built_in, name) not in (None, {}, ())}
    assert fixed >= {"interval_seconds", "spool_max_mib", "spool_max_hours", "command_policy", "command_concurrency"}
    assert {name: shown[name] for name in fixed} == {name: getattr(built_in, name) for name in fixed}


def test_every_example_of_the_shipped_file_is_a_good_value(tmp_path: Path) -> None:
    certificates, file = tmp_path / "ca.pem", tmp_path / "reflector.toml"
    certificates.touch()
    lines = [line.removeprefix("# ") for line in SHIPPED.splitlines() if line.partition(" = ")[0][2:] in uncommented()]
    lines.remove('ego_pin = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="')  # instead of ego_ca
    text = "\n".join(lines)
    for example in ("/etc/mirror-stage/ego-root.pem", "/etc/mirror-stage/token"):
        text = text.replace(example, str(certificates))
    file.write_text(text)
    found = settings_from({}, {}, file)
    assert (found.ego, found.rack, found.tags["room"]) == ("http://10.0.0.100:3000", "R1", "cellar")
    assert found.all_tags["uplink"] == "switch-r1"


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_is_in_the_contract(variable: str) -> None:
    contract = (ROOT / "docs/contract.md").read_text()
    assert variable in contract or variable.replace("REFLECTOR_", "…_", 1) in contract


def test_a_flag_wins_over_a_variable_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "reflector.toml"
    file.write_text('rack = "file"\nip = "10.0.0.3"\nuplink = "file"\n')
    environment = {"REFLECTOR_RACK": "variable", "REFLECTOR_IP": "10.0.0.2", "REFLECTOR_CONFIG": str(file)}
    found = settings_from({"rack": "flag", "ip": None}, environment)
    assert (found.rack, found.ip, found.uplink) == ("flag", "10.0.0.2", "file")


def test_a_setting_as_text_means_the_same_as_a_table(tmp_path: Path) -> None:
    file = tmp_path / "reflector.toml"
    file.write_text(
        'tags = { room = "a", tier = "db" }\nposition = { x = 1, y = 2.5, z = -3 }\ncommand_allow = ["a b", "c,d"]'
    )
    texts = {
        "REFLECTOR_TAGS": "room=a, tier=db", "REFLECTOR_POSITION": "1,2.5,-3", "REFLECTOR_COMMAND_ALLOW": "a b\nc,d\n",
    }  # fmt: skip
    assert settings_from({}, texts) == settings_from({}, {}, file)


def test_an_older_name_of_a_setting_still_works(tmp_path: Path) -> None:
    file = tmp_path / "reflector.toml"
    file.write_text(f'ca_file = "{file}"')
    assert settings_from({}, {}, file).ego_ca == file
    assert settings_from({}, {"REFLECTOR_CA_FILE": str(file)}).ego_ca == file
    with pytest.raises(BadSetting, match=r"^REFLECTOR_CA_FILE: there is no file"):
        settings_from({}, {"REFLECTOR_CA_FILE": "/nowhere"})


@pytest.mark.parametrize(("text", "allowed"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_a_switch_is_also_a_text(text: str, allowed: bool) -> None:
    assert settings_from({}, {"REFLECTOR_ALLOW_PLAIN": text}).allow_plain is allowed


def test_there_is_one_way_to_trust_ego(tmp_path: Path) -> None:
    given = {"ego_ca": str(tmp_path / "ca.pem"), "ego_pin": "sha256//" + "A" * 43 + "="}
    (tmp_path / "ca.pem").touch()
    with pytest.raises(BadSetting, match=r"^ego_pin: ego_ca is set, too"):
        settings_from(given, {})


def test_the_shell_can_be_allowed_by_the_file_only(tmp_path: Path) -> None:
    assert not settings_from({"command_shell": True}, {}).command_shell
    with pytest.raises(BadSetting, match="REFLECTOR_COMMAND_SHELL: only the file may set this"):
        settings_from({}, {"REFLECTOR_COMMAND_SHELL": "true"})
    (tmp_path / "reflector.toml").write_text("command_shell = true")
    assert settings_from({}, {}, tmp_path / "reflector.toml").command_shell


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ego", "10.0.0.100:3000", "must be like http://10.0.0.100:3000"),
        ("ego", "http://user:secret@ego", "must not hold a name or a password"),
        ("ego", "http://ego:99999", "has no port from 1 to 65535"),
        ("ego", "http://ego:x", "has no port from 1 to 65535"),
        ("ego", "http://[::1", "an IPv6 address stands in brackets"),
        ("ego", "ftp://user:secret@ego", "must begin with http:// or https://"),
        ("hostname", "a/b", "/"),
        ("ip", "10.0.0", "must be an IPv4 address"),
        ("ip", "::1", "must be an IPv4 address"),
        ("rack", "r" * 65, "has 65 characters; at most 64"),
        ("position", "1,2,x", "must be a number"),
        ("tags", "room", "must be name=value"),
        ("interval_seconds", "0.5", "from 1 to 3600"),
        ("interval_seconds", "nan", "from 1 to 3600"),
        ("interval_seconds", "soon", "from 1 to 3600"),
        ("spool_max_mib", "1.5", "whole number"),
        ("ego_ca", "/nowhere/ca.pem", "there is no file /nowhere/ca.pem"),
        ("ego_pin", "sha256//AAAA", "must be sha256// and 44 characters of base64"),
        ("ego_pin", "A" * 43 + "=", "must be sha256//"),
        ("token_file", "/nowhere/token", "there is no file /nowhere/token"),
        ("allow_plain", "yes", "must be true or false"),
        ("log_level", "loud", "must be one of debug, info, warning, error"),
        ("command_policy", "some", "must be one of off, allow_list, all"),
        ("command_concurrency", "0", "from 1 to 64"),
    ],
)
def test_a_bad_value_is_named_with_its_place(name: str, value: str, said: str) -> None:
    variable = f"REFLECTOR_{name.upper()}"
    with pytest.raises(BadSetting) as caught:
        settings_from({}, {variable: value})
    assert str(caught.value).startswith(f"{variable}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    with pytest.raises(BadSetting, match=f"^--{name.replace('_', '-')}: "):
        settings_from({name: value}, {})


def test_a_file_that_an_editor_of_windows_has_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "reflector.toml"
    file.write_bytes(b'\xef\xbb\xbfego = "http://ego:3000"\r\n')
    assert settings_from({}, {}, file).ego == "http://ego:3000"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("interval_seconds = true", "interval_seconds in "),
        ("interval = 5\nspool = 1", "interval, spool: no such setting"),
        ("interval_second = 5", "no such setting; did you mean interval_seconds?"),
        ("interval_seconds = ", "cannot be read"),
        ('command_policy = "allow_list"', "allow_list needs patterns in command_allow"),
        ('command_shell = "yes"', "must be true or false"),
        ("command_allow = [1]", "must be a list of texts"),
    ],
)
def test_a_bad_file_is_named(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "reflector.toml"
    file.write_text(content)
    with pytest.raises(BadSetting) as caught:
        settings_from({}, {}, file)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_misspelt_variable_names_the_nearest() -> None:
    with pytest.raises(
        BadSetting, match=r"^REFLECTOR_INTERVAL: there is no such setting; did you mean REFLECTOR_INTER"
    ):
        settings_from({}, {"REFLECTOR_INTERVAL": "5"})
    with pytest.raises(BadSetting, match=r"^REFLECTER_EGO: there is no such setting; did you mean REFLECTOR_EGO\?"):
        settings_from({}, {"REFLECTER_EGO": "http://ego:3000"})
    assert (
        settings_from({}, {"REFLECTOR_SERVICE_HOST": "10.0.0.9", "REFLECTOR_PORT": "tcp://10.0.0.9:80"}) == Settings()
    )


@pytest.mark.parametrize("quotes", ['""', "''", "\u201c\u201d"])
def test_a_variable_in_quotes_is_named(quotes: str) -> None:
    quoted = f"{quotes[0]}titan-01{quotes[1]}"
    with pytest.raises(BadSetting, match=r"^REFLECTOR_HOSTNAME: stands in quotes"):
        settings_from({}, {"REFLECTOR_HOSTNAME": quoted})
    assert settings_from({}, {"REFLECTOR_COMMAND_ALLOW": quoted}).command_allow == (quoted,)


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="there is no such file"):
        settings_from({}, {}, tmp_path / "missing.toml")
    assert settings_from({}, {}) == Settings()


def test_a_state_folder_serves_one_agent(tmp_path: Path) -> None:
    first = StateFolder(tmp_path / "state")
    with pytest.raises(BadSetting, match="another agent uses"):
        StateFolder(tmp_path / "state")
    first.release()
    StateFolder(tmp_path / "state").release()
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadSetting, match="state_dir: cannot use"):
        StateFolder(tmp_path / "file" / "state")


def test_the_state_folder_is_at_home_if_the_systems_folder_is_not_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    assert default_state_dir({"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "mirror-stage-reflector"
    assert default_state_dir({}).parts[-3:] == (".local", "state", "mirror-stage-reflector")


def test_a_hostname_loses_its_last_dot_and_defaults_to_the_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named = settings_from({"hostname": "titan-01."}, {})
    assert (named.hostname, named.is_named) == ("titan-01", True)
    monkeypatch.setattr("socket.gethostname", lambda: "vm-7.lan.")
    own = settings_from({}, {})
    assert (own.hostname, own.is_named) == ("vm-7.lan", False)
