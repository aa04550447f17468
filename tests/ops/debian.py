"""Bare Debian machines for tests: systemd-nspawn boots them, each in a network namespace of its own.

They share one cable, and each may have a way of its own to the package registries, through slirp4netns. apt, pip and npm are set
up like on the machine that runs the tests.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import ROOT, wait_until

TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "slirp4netns": "slirp4netns",
    "ip": "iproute2",
}
BASE = (
    "systemd-sysv",
    "dbus",
    "libnss-systemd",
    "sudo",
    "procps",
    "ca-certificates",
    "curl",
    "openssh-client",
    "openssh-server",
)
USER, UID = "stranger", 1000
SOURCES = ("apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)")
SETTINGS = re.compile(
    r"(PIP_|NPM_CONFIG_).*|NODE_EXTRA_CA_CERTS|SSL_CERT_(FILE|DIR)|(REQUESTS_CA|CURL_CA)_BUNDLE|(HTTPS?|NO)_PROXY",
    re.IGNORECASE,
)
FILES = {"/etc/pip.conf": "/etc/pip.conf", "~/.config/pip/pip.conf": "~/.config/pip/pip.conf", "~/.npmrc": "~/.npmrc"}


def why_not() -> str | None:
    """Why this machine cannot run others, in one line; None if it can."""
    if os.geteuid() != 0:
        return "only root can boot other machines"
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        return f"missing: apt install {' '.join(missing)}"
    if not sources():
        return "apt knows no mirror of Debian: apt update"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun, which slirp4netns needs"
    return None


def sources() -> str:
    """Where this machine gets Debian's packages from, as lines of a sources.list."""
    if shutil.which("apt-get") is None:
        return ""
    known = subprocess.run(
        [*SOURCES, "Origin: Debian", "Created-By: Packages"], capture_output=True, text=True, check=False
    )
    return known.stdout


def settings() -> dict[str, str]:
    """The variables of this process that tell pip, npm and curl the way to the registries."""
    return {name: value for name, value in os.environ.items() if SETTINGS.fullmatch(name)}


def places_for(root: Path) -> set[Path]:
    """What this machine's settings of pip and npm name: all files, and the folders that the other Debian lacks."""
    texts = [*settings().values()]
    for source in FILES:
        with contextlib.suppress(OSError):
            texts.append(Path(source).expanduser().read_text())
    named = {Path(path) for text in texts for path in re.findall(r"(?<![:/\w])(?:file://)?(/[^\s:]+)", text)}
    folders = {Path(*path.parts[:3]) for path in named if path.is_dir()}  # an index and its files have one above them
    lacking = {path for path in folders if not (root / path.relative_to("/")).exists()}
    return lacking | {path for path in named if path.is_file()}


def lend_registries(root: Path, homes: Sequence[str]) -> None:
    """Set up pip and npm in another Debian like here."""
    for source, target in FILES.items():
        for home in homes:
            with contextlib.suppress(OSError):
                there = root / target.replace("~", home).lstrip("/")
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(source).expanduser(), there)


def install(root: Path, packages: Sequence[str], base: Sequence[str] = BASE) -> str | None:
    """Install the smallest Debian, `base` and `packages` in a folder. Returns why it cannot, in one line; else None."""
    suite = next(line.split()[2] for line in sources().splitlines())
    included = ",".join(dict.fromkeys((*base, *packages)))
    made = subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={included}", suite, str(root)],
        input=sources(),
        capture_output=True,
        text=True,
        check=False,
    )
    return None if made.returncode == 0 else f"mmdebstrap: {' '.join(made.stderr.split())[-300:]}"


@dataclass
class Machine:
    """A Debian machine with an ordinary user, who may use sudo or not."""

    name: str
    root: Path
    address: str  # on the cable, such as 10.0.0.7
    may_sudo: bool = False
    has_internet: bool = True
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        return f"walk-{os.getpid()}-{self.name}"

    @property
    def _log(self) -> Path:
        """What the machine and its network have said."""
        return self.root.with_suffix(".boot")

    @property
    def home(self) -> Path:
        """The user's home folder, as this machine sees it."""
        return self.root / "home" / USER

    def prepare(self) -> None:
        """Make the user, and set up pip and npm."""
        self._chroot("useradd", "--create-home", "--shell", "/bin/bash", f"--uid={UID}", USER)
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost {self.name}\n")
        (self.root / "etc/resolv.conf").unlink(missing_ok=True)
        (self.root / "etc/resolv.conf").write_text("nameserver 10.0.2.3\n")  # slirp4netns asks this machine's
        if self.may_sudo:
            rule = self.root / "etc/sudoers.d/walk"
            kept = " ".join(settings())
            rule.write_text(f'Defaults env_keep += "{kept}"\n{USER} ALL=(ALL) NOPASSWD: ALL\n')
            rule.chmod(0o440)
        lend_registries(self.root, ("/root", f"/home/{USER}"))
        self.own(self.home)

    def own(self, path: Path) -> None:
        """Give a file or a folder to the user."""
        self._chroot("chown", "--recursive", f"{USER}:{USER}", f"/{path.relative_to(self.root)}")

    def trust(self, other: Machine) -> None:
        """Let this user log in on the other machine, with ssh and scp."""
        self.run(
            f"ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519 && ssh-keyscan {other.address} > ~/.ssh/known_hosts"
        )
        keys = other.home / ".ssh"
        keys.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(self.home / ".ssh/id_ed25519.pub", keys / "authorized_keys")
        other.own(keys)

    def start(self) -> None:
        """Boot it, and wait until its systemd is up."""
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        self._in_namespace("ip", "link", "set", "lo", "up")
        if self.has_internet:
            way_out = ["slirp4netns", "--configure", "--disable-host-loopback", "--netns-type=path"]
            self._spawn([*way_out, f"/run/netns/{self.namespace}", "tap0"])
        boot = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe"]
        boot += ["--resolv-conf=off", "--timezone=off", "--link-journal=no", f"--directory={self.root}"]
        boot += [f"--network-namespace-path=/run/netns/{self.namespace}", f"--hostname={self.name}"]
        self._spawn([*boot, *(f"--bind-ro={path}" for path in places_for(self.root))])
        wait_until(self._is_up, 90, 0.2, f"{self.name} is up")

    def run(self, script: str, seconds: float = 60, folder: str = "~") -> subprocess.CompletedProcess[str]:
        """What the user's bash does with a script."""
        return subprocess.run(
            self._as_user(script, folder),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds,
        )

    @contextlib.contextmanager
    def running(self, script: str, log: Path, folder: str = "~") -> Iterator[subprocess.Popen[bytes]]:
        """A script that runs until Ctrl-C, which it gets at the end. Fails if that does not end it within 30 s.

        nsenter ignores Ctrl-C, because it would end without waiting for the script.
        """
        with log.open("ab") as output:
            command = ["env", "--ignore-signal=INT", *self._as_user(script, folder)]
            process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise

    def stop(self) -> None:
        """Power it off, and remove its network."""
        for process in reversed(self._children):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False)

    def _as_user(self, script: str, folder: str) -> list[str]:
        variables = [f"{name}={value}" for name, value in settings().items()]
        user = ["runuser", "--user", USER, "--"]
        clean = ["env", "--default-signal=INT", "--ignore-environment", f"HOME=/home/{USER}", "LANG=C.UTF-8"]
        path = "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        return [*self._inside(), *user, *clean, path, *variables, "bash", "-c", f"cd {folder} && {script}"]

    def _inside(self) -> list[str]:
        """The words that run a command in this machine."""
        (booted,) = Path(f"/proc/{self._children[-1].pid}/task/{self._children[-1].pid}/children").read_text().split()
        return ["nsenter", f"--target={booted}", "--all"]

    def _is_up(self) -> bool:
        assert self._children[-1].poll() is None, f"systemd-nspawn has ended:\n{self._log.read_text()[-3000:]}"
        with contextlib.suppress(ValueError):  # it has not started systemd yet
            asked = subprocess.run(
                [*self._inside(), "systemctl", "is-system-running"], capture_output=True, text=True, check=False
            )
            return asked.stdout.strip() in {"running", "degraded"}
        return False

    def _spawn(self, command: list[str]) -> None:
        command = ["setpriv", "--pdeathsig=TERM", *command]  # it ends with this process
        with self._log.open("ab") as log:
            self._children.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def _chroot(self, *command: str) -> None:
        subprocess.run(["chroot", str(self.root), *command], check=True)

    def _in_namespace(self, *command: str) -> None:
        subprocess.run(["ip", "netns", "exec", self.namespace, *command], check=True)


def connect(one: Machine, other: Machine) -> None:
    """Lay a cable between two machines, with the address of each."""
    ends = [f"walk{os.getpid()}{letter}"[-15:] for letter in "ab"]
    subprocess.run(["ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1]], check=True)
    for machine, end in zip((one, other), ends, strict=True):
        subprocess.run(["ip", "link", "set", end, "netns", machine.namespace], check=True)
        machine._in_namespace("ip", "address", "add", f"{machine.address}/24", "dev", end)
        machine._in_namespace("ip", "link", "set", end, "up")


def copy_checkout(folder: Path) -> None:
    """Copy what git would take of this checkout, without its history."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
