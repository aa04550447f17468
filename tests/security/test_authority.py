"""EGO's own authority and a certificate of the operator's: made, renewed, replaced, refused; with a settable clock."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config
from mirror_stage.runtime import doctor
from mirror_stage.tls import certificates, names
from mirror_stage.tls.service import ServerCertificate, Shown
from tests.accounts import needs_root
from tests.command_line import forked
from tests.proxies import certificate
from tests.security import raw
from tests.servers import ROOT, EgoServer, running_ego, wait_until

DAY = 86_400


class Machine:
    """An EGO's certificate on a machine whose clock, names and addresses a test sets."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.config = Config(tls="on", sqlite_path=folder / "ego.db")
        self.folder = self.config.authority_folder
        self.now, self.names = time.time(), ("ego", "127.0.0.1")
        monkeypatch.setattr(names, "of_this_machine", lambda _config: self.names)
        self.certificate = ServerCertificate(self.config, lambda: self.now)

    def shown(self) -> Shown:
        """What EGO shows after it has looked."""
        self.certificate.look()
        assert self.certificate.shown is not None
        return self.certificate.shown


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path, monkeypatch)
    made.certificate.prepare()
    return made


def shown_by(ego: EgoServer) -> str:
    """The fingerprint of the certificate that a new connection gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with raw.connect(ego) as plain, context.wrap_socket(plain) as client:
        der = client.getpeercert(True)
    assert der is not None
    return certificates.read(ssl.DER_cert_to_PEM_cert(der).encode()).fingerprint


def test_it_is_renewed_at_two_thirds_of_its_life_and_the_keys_stay(machine: Machine) -> None:
    first = machine.shown()
    machine.now += 58 * DAY
    assert machine.shown() == first
    machine.now += 2 * DAY
    second = machine.shown()
    assert second.certificate.ends - first.certificate.ends == pytest.approx(60 * DAY, abs=2)
    assert (second.certificate.pin, second.root) == (first.certificate.pin, first.root)
    assert machine.certificate.trouble is None


def test_it_is_renewed_when_a_name_or_an_address_is_new_and_not_when_one_leaves(machine: Machine) -> None:
    first = machine.shown()
    machine.names = ("ego", "127.0.0.1", "10.0.0.7", "fd00::7")
    second = machine.shown()
    assert set(second.certificate.names) == {"ego", "127.0.0.1", "10.0.0.7", "fd00::7"} != set(first.certificate.names)
    machine.names = ("ego",)
    assert machine.shown() == second


def test_a_certificate_of_a_time_to_come_is_made_anew_when_the_clock_is_right_again(machine: Machine) -> None:
    machine.now += 1000 * DAY
    leapt = machine.shown()
    machine.now -= 1000 * DAY
    assert machine.shown() != leapt
    assert machine.shown().certificate.is_valid(machine.now)


def test_without_the_roots_key_ego_says_what_to_do_20_days_before_the_end(machine: Machine, tmp_path: Path) -> None:
    first = machine.shown()
    shutil.move(machine.folder / "root.key", tmp_path / "safe")
    machine.now = first.certificate.ends - 21 * DAY
    assert machine.shown() == first
    assert machine.certificate.check()["ok"]
    machine.now += 2 * DAY
    assert machine.shown() == first
    found = machine.certificate.check()
    assert not found["ok"]
    assert "root.key" in found["detail"]
    assert "mirror-stage tls renew" in found["detail"]
    with pytest.raises(BadSetting, match=r"root\.key is not there; put it back"):
        machine.certificate.renew()
    shutil.move(tmp_path / "safe", machine.folder / "root.key")
    assert machine.shown().certificate.ends > first.certificate.ends
    assert machine.certificate.check()["ok"]


def test_without_the_roots_key_ego_says_which_address_is_missing(machine: Machine) -> None:
    (machine.folder / "root.key").unlink()
    machine.names = ("ego", "10.0.0.7")
    machine.shown()
    assert "lacks 10.0.0.7" in machine.certificate.check()["detail"]


def test_the_end_of_the_root_is_said_half_a_year_before(machine: Machine) -> None:
    root = machine.shown().root
    assert root is not None
    machine.now = root.ends - 100 * DAY
    assert machine.shown().certificate.ends <= root.ends
    assert "EGO's own authority ends on" in machine.certificate.check()["detail"]


@pytest.mark.parametrize("lost", ["server.pem", "server.key"])
def test_a_lost_server_file_is_made_anew_and_clients_go_on_trusting(machine: Machine, lost: str) -> None:
    before = machine.shown()
    (machine.folder / lost).unlink()
    after = machine.shown()
    assert (after.root, after != before) == (before.root, True)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(after.chain, after.key)


def test_a_lost_root_is_not_replaced_without_a_word(machine: Machine) -> None:
    (machine.folder / "root.pem").unlink()
    with pytest.raises(BadSetting, match=r"root\.pem is not there, although clients trust it; put it back, or move"):
        machine.certificate.prepare()


def test_a_clock_that_was_never_set_makes_no_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, monkeypatch)
    machine.now = 1000.0
    with pytest.raises(BadSetting, match="this machine's clock says 1970-01-01"):
        machine.certificate.prepare()
    assert not list(machine.folder.glob("*.pem"))


def as_link(path: Path, elsewhere: Path) -> None:
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


def as_second_name(path: Path, elsewhere: Path) -> None:
    os.link(path, elsewhere)


@pytest.mark.parametrize("name", ["root.key", "root.pem", "server.key", "server.pem", "lock", "."])
def test_nothing_is_read_or_written_through_a_link(machine: Machine, name: str, tmp_path: Path) -> None:
    as_link(machine.folder / name if name != "." else machine.folder, tmp_path / "elsewhere")
    with pytest.raises(BadSetting, match=r"^MIRROR_STAGE_TLS_DIR: "):
        machine.certificate.renew()


@needs_root
@pytest.mark.parametrize("name", ["root.key", "server.key", "."])
def test_a_file_of_another_user_is_refused(machine: Machine, name: str) -> None:
    path = machine.folder / name if name != "." else machine.folder
    os.chown(path, 65534, 65534)
    if name != ".":
        with pytest.raises(BadSetting, match="EGO's own user"):
            machine.certificate.renew()
        return
    with pytest.raises(BadSetting):  # root acts as the owner of the folder, to whom the files do not belong
        machine.certificate.renew()


def test_files_that_others_could_read_are_made_private(machine: Machine) -> None:
    machine.folder.chmod(0o755)
    (machine.folder / "server.key").chmod(0o644)
    machine.certificate.renew()
    assert stat.S_IMODE(machine.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((machine.folder / "server.key").stat().st_mode) == 0o600


def test_the_names_of_the_certificate_are_those_by_which_clients_reach_ego() -> None:
    config = Config(
        allowed_hosts=("ego.example.org:3000", "[fd00::5]"), ego_primary_ip="10.0.0.100", ego_hostname="서버"
    )
    found = names.of_this_machine(config)
    assert {"ego.example.org", "fd00::5", "10.0.0.100", "127.0.0.1", "::1", "localhost"} <= set(found)
    assert socket.gethostname().lower() in found
    assert all(name.isascii() for name in found)  # a certificate has no other names
    assert found == names.of_this_machine(config)


# ------------------------------------------------------------------ a running EGO


def test_a_running_ego_renews_a_certificate_that_is_due_and_new_connections_get_it(tmp_path: Path) -> None:
    with running_ego(tmp_path, {"MIRROR_STAGE_TLS": "on"}) as ego, raw.connect(ego) as plain:
        context = ssl.create_default_context(cafile=ego.trusted)
        open_before = context.wrap_socket(plain, server_hostname="127.0.0.1")
        folder = tmp_path / "ego.tls"
        root, root_key, key = ((folder / name).read_bytes() for name in ("root.pem", "root.key", "server.key"))
        due = certificates.make_server(key, names.of_this_machine(Config()), root, root_key, time.time() - 61 * DAY)
        (folder / "server.pem").write_bytes(due + root)

        def is_renewed() -> bool:
            shown = certificates.read((folder / "server.pem").read_bytes())
            return shown.ends > time.time() + 80 * DAY and shown_by(ego) == shown.fingerprint

        wait_until(is_renewed, 15, every=0.5, what="new connections get a new certificate")
        open_before.sendall(b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert open_before.recv(4096).startswith(b"HTTP/1.1 200")
        assert ego.get("/api/health/ready").json()["checks"]["tls"]["ok"]
        assert "TLS: new connections get another certificate" in ego.log
        assert "Traceback" not in ego.log


def test_a_certificate_of_ones_own_is_shown_and_replaced_without_a_restart(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    settings = {"MIRROR_STAGE_TLS": "on", "MIRROR_STAGE_TLS_CERT": str(chain), "MIRROR_STAGE_TLS_KEY": str(key)}
    with running_ego(tmp_path, settings) as ego:
        first = shown_by(ego)
        assert certificates.read(chain.read_bytes()).fingerprint == first
        assert ego.get("/api/tls/root.pem").status_code == 404
        assert not list((tmp_path / "ego.tls").glob("root.*"))  # there are only the keys that sign commands
        key.write_text("half a file")
        wait_until(lambda: "MIRROR_STAGE_TLS_KEY" in ego.log, 15, every=0.2, what="EGO says that the key is bad")
        assert shown_by(ego) == first
        certificate(tmp_path)
        second = certificates.read(chain.read_bytes()).fingerprint
        wait_until(lambda: shown_by(ego) == second, 15, every=0.2, what="EGO shows the new certificate")


def start_refused(folder: Path, **settings: str) -> str:
    """The one line with which gunicorn ends at the start."""
    server = EgoServer(folder, {"MIRROR_STAGE_TLS": "on", **settings}).start(wait=False)
    assert server.process is not None
    assert server.process.wait(60) == 2
    return server.log.splitlines()[-1]


def others_may_read(chain: Path, key: Path) -> None:
    key.chmod(0o644)


def other_key(chain: Path, key: Path) -> None:
    key.write_bytes(certificates.new_key())


def encrypted_key(chain: Path, key: Path) -> None:
    command = ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:x", "-out", str(key) + ".new"]
    subprocess.run(command, check=True, capture_output=True)
    shutil.move(str(key) + ".new", key)


def expired(chain: Path, key: Path) -> None:
    root_key = certificates.new_key()
    long_ago = time.time() - 200 * DAY
    root = certificates.make_root(root_key, "root", long_ago)
    chain.write_bytes(certificates.make_server(key.read_bytes(), ["ego"], root, root_key, long_ago))


def not_there(chain: Path, key: Path) -> None:
    chain.unlink()


def not_pem(chain: Path, key: Path) -> None:
    chain.write_text("-----BEGIN NOTHING-----")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (others_may_read, "MIRROR_STAGE_TLS_KEY: {key} can be read by other users; run: chmod 6"),
        (other_key, "MIRROR_STAGE_TLS_KEY: {key} is not the key of the certificate; name the key of {chain}"),
        (encrypted_key, "MIRROR_STAGE_TLS_KEY: {key} is encrypted"),
        (expired, "MIRROR_STAGE_TLS_CERT: {chain} expired on 20"),
        (not_there, "MIRROR_STAGE_TLS_CERT: {chain} cannot be read: No such file or directory"),
        (not_pem, "MIRROR_STAGE_TLS_CERT: {chain} holds no certificate in PEM"),
    ],
)
def test_a_bad_certificate_is_one_line_that_says_what_to_do(
    change: Callable[[Path, Path], None], said: str, tmp_path: Path
) -> None:
    chain, key = certificate(tmp_path)
    change(chain, key)
    config = Config(tls="on", tls_cert=chain, tls_key=key)
    with pytest.raises(BadSetting) as refused:
        ServerCertificate(config).prepare()
    assert str(refused.value).startswith(said.format(chain=chain, key=key))
    assert "\n" not in str(refused.value)


def test_gunicorn_ends_with_that_line(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    key.chmod(0o644)
    line = start_refused(tmp_path, MIRROR_STAGE_TLS_CERT=str(chain), MIRROR_STAGE_TLS_KEY=str(key))
    assert line.startswith(f"mirror-stage: MIRROR_STAGE_TLS_KEY: {key} can be read by other users")


def test_gunicorn_ends_with_one_line_where_the_folder_cannot_be_used(tmp_path: Path) -> None:
    assert start_refused(tmp_path, MIRROR_STAGE_TLS_DIR="/proc/ego.tls").startswith(
        "mirror-stage: MIRROR_STAGE_TLS_DIR: "
    )


@pytest.mark.parametrize("change", [{}, {"MIRROR_STAGE_SECURITY": "strict", "MIRROR_STAGE_TLS": "off"}])
def test_an_ego_on_the_network_starts_and_says_what_that_means(change: dict[str, str], tmp_path: Path) -> None:
    class Exposed(EgoServer):
        @property
        def has_tls(self) -> bool:
            return "MIRROR_STAGE_TLS" not in self.settings

    with running_ego(tmp_path, {"MIRROR_STAGE_BIND": "0.0.0.0", **change}, kind=Exposed) as ego:
        assert ego.get("/api/health").text == "ok"
        assert "everybody needs a credential: mirror-stage admin link" in ego.log
        assert ("MIRROR_STAGE_TLS=off" in ego.log) == ("MIRROR_STAGE_TLS" in change)
        assert ego.get("/api/twin/state").status_code in {401, 403}


# ------------------------------------------------------------------ doctor and the command line


def test_doctor_says_whose_certificate_it_is_and_what_clients_trust(machine: Machine) -> None:
    shown = machine.shown()
    assert shown.root is not None
    found = doctor.tls(machine.config)
    assert found.level == "ok"
    assert shown.certificate.fingerprint in found.seen
    assert shown.root.pin in found.advice
    assert "mirror-stage tls root" in found.advice
    assert doctor.tls(Config()).seen == "off: EGO speaks plain HTTP"
    assert doctor.tls(Config(bind="0.0.0.0", tls="off")).level == "warning"
    assert (
        doctor.tls(replace(machine.config, sqlite_path=machine.folder.with_name("other.db"))).level == "ok"
    )  # not made yet


def test_doctor_warns_before_the_end_and_calls_the_end_a_problem(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)  # good for two days
    found = doctor.tls(Config(tls="on", tls_cert=chain, tls_key=key))
    assert (found.level, "renew it and replace the files" in found.advice) == ("warning", True)
    expired(chain, key)
    assert doctor.tls(Config(tls="on", tls_cert=chain, tls_key=key)).level == "problem"


def run(folder: Path, *words: str, **settings: str) -> Any:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), **settings}
    return forked(["tls", *words], cwd=folder, env=environment)


def test_the_command_line_shows_renews_and_prints_the_root(tmp_path: Path) -> None:
    assert json.loads(run(tmp_path, "show", "--json").stdout) == {"tls": False, "certificate": {}, "trouble": None}
    assert "there is no certificate yet" in run(tmp_path, "show", MIRROR_STAGE_TLS="on").stdout
    assert run(tmp_path, "root").returncode == 1
    assert run(tmp_path, "renew").returncode == 0
    folder = tmp_path / "mirror_stage.tls"
    assert run(tmp_path, "root").stdout == (folder / "root.pem").read_text()
    shown = json.loads(run(tmp_path, "show", "--json", MIRROR_STAGE_TLS="on").stdout)
    root = certificates.read((folder / "root.pem").read_bytes())
    server = certificates.read((folder / "server.pem").read_bytes())
    about = shown["certificate"]
    assert (shown["tls"], about["rootPin"], about["pin"]) == (True, root.pin, server.pin)
    assert (about["fingerprint"], about["rootFingerprint"]) == (server.fingerprint, root.fingerprint)
    assert root.pin in run(tmp_path, "show").stdout
    assert run(tmp_path, "renew").returncode == 0
    assert certificates.read((folder / "server.pem").read_bytes()).pin == server.pin
