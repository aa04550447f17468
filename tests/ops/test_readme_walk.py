"""Every command of the README and of three pages beside it, as they stand there, on two bare Debian machines.

On `ego` a person without sudo has this checkout and what the README says to install. `titan-02` is the second host: there
the person may use sudo. In a third network namespace a man stands between them when the line is pasted, and from then on. Minutes
long; `make test-long` runs it. MIRROR_STAGE_TEST_README=README.ko.md walks the Korean page instead.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.man import MODES, Man
from tests.ops import debian
from tests.ops.debian import Machine
from tests.servers import ROOT, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

README = os.environ.get("MIRROR_STAGE_TEST_README", "README.md")
OTHER = "titan-02"
CHECKOUT = "~/mirror-stage"
RUNS_ON = re.compile(r"\bmake (run|demo)\b|\breflector run\b|\bsimulate\b(?!.*--seconds)")  # until Ctrl-C
ON_THE_OTHER = re.compile(r"^sudo |^/opt/mirror-stage/|^# /etc/")
PORT, DEMO_PORT = 3000, 3001


@dataclass(frozen=True)
class Block:
    """A block of code of a page, and the heading above it."""

    section: str
    language: str
    code: str

    def lines(self) -> list[str]:
        """The commands of a block of shell: one a line, without its comment."""
        joined = self.code.replace("\\\n", " ")
        return [line for line in (re.sub(r"\s+# .*$", "", each) for each in joined.splitlines()) if line]


def blocks(page: str) -> list[Block]:
    """The blocks of code of a page, in their order."""
    found, section = [], ""
    for heading, language, code in re.findall(
        r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S
    ):
        section = heading or section
        if not heading:
            found.append(Block(section, language, code))
    return found


def packages_of(text: str) -> list[str]:
    """The packages that a text tells people to install."""
    return sorted({name for names in re.findall(r"sudo apt install ([\w. -]+)`", text) for name in names.split()})


class Walk:
    """Does what a page says, and keeps what runs until Ctrl-C."""

    def __init__(self, ego: Machine, other: Machine, man: Man, folder: Path):
        self.ego, self.other, self.man, self._folder = ego, other, man, folder
        self.said: list[tuple[str, str]] = []  # each command with its output
        self._serving = contextlib.ExitStack()
        self.is_exposed = False  # EGO asks everybody for a credential
        self._auth: str | None = None

    def block(self, block: Block) -> None:
        if block.language == "toml":
            self._set(block.code)
        elif block.language == "text":
            self._paste()
        elif block.language == "python":
            self._listen(block.code)
        elif any(RUNS_ON.search(line) for line in block.lines()):
            for line in block.lines():
                self.is_exposed = self.is_exposed or "MIRROR_STAGE_BIND=0.0.0.0" in line
                self._line(line)
        elif block.language == "sh":
            machine = self.other if ON_THE_OTHER.search(block.code) else self.ego
            self._run(machine, block.code)

    def _line(self, line: str) -> None:
        """One command of a block in which some commands run until Ctrl-C."""
        if "make run" in line:
            self.end()
            process = self._serving.enter_context(self.ego.running(line, self._log(line), CHECKOUT))
            self.until(lambda: process.poll() is not None or self.hosts(), 1200, line)
            assert process.poll() is None, f"{line} has ended:\n{self._log(line).read_text()[-3000:]}"
        elif RUNS_ON.search(line):
            self._until_seen(line)
        else:
            self._run(self.ego, line, 3000)

    def _paste(self) -> None:
        """Paste on the other machine the line that `enroll code` has printed."""
        line = self.said[-1][1].strip()
        assert line.endswith("| sudo sh"), line
        self._paste_where_a_man_interferes(line)
        began = time.monotonic()
        self._run(self.other, line)
        self.until(lambda: self.hosts().get(OTHER, {}).get("status") == "online", 60, f"{OTHER} is online")
        print(f"from the paste to the first sample: {time.monotonic() - began:.0f} s")

    def _paste_where_a_man_interferes(self, line: str) -> None:
        """Nothing is installed. At the end he only listens, and goes on with that."""
        self.man.stand_between()
        for mode in MODES:
            self.man.turn(mode)
            ended = self.other.run(line, 120)
            assert "curl: (" in ended.stderr, ended
            assert self.man.count(mode) >= 1
            assert self.other.run("find /opt /etc -path '*mirror-stage*'").stdout == ""
            assert b"ms_enroll" not in self.man.heard(mode)
        self.man.turn("pass")

    def _until_seen(self, line: str) -> None:
        """Run a demo, a simulation or an agent until its hosts are in the twin, then end it with Ctrl-C."""
        wanted = int(next(iter(re.findall(r"--hosts (\d+)", line)), 60))
        is_beside = bool(self.hosts())
        began = datetime.now(UTC)
        with self.ego.running(line, self._log(line), CHECKOUT):
            if "make demo" in line:
                self.until(lambda: self.heard_since(began, DEMO_PORT if is_beside else PORT) >= wanted, 120, line)
            elif "simulate" in line:
                self.until(lambda: self.heard_since(began) >= wanted, 120, line)
            else:
                name = shlex.split(line)[shlex.split(line).index("--hostname") + 1]
                self.until(lambda: self.hosts().get(name, {}).get("status") == "online", 60, line)
                self.after(block_after(line))

    def after(self, block: Block | None) -> None:
        """The block that the page wants run meanwhile."""
        if block is not None:
            self._run(self.ego, block.code)

    def _run(self, machine: Machine, script: str, seconds: float = 300) -> None:
        folder = CHECKOUT if machine is self.ego else "~"
        started = time.monotonic()
        ended = machine.run(script, seconds, folder)
        self.said.append((script, ended.stdout))
        print(f"\n$ {script.strip()}\n{ended.stdout[-3000:]}{ended.stderr[-2000:]}[{time.monotonic() - started:.0f} s]")
        assert ended.returncode == 0, f"{script}\n{ended.stdout}{ended.stderr}"

    def _set(self, code: str) -> None:
        """Put settings in the file that the first line names, in the place of their comments."""
        first, *settings = code.splitlines()
        file = first.removeprefix("# ")
        for line in settings:
            name = line.partition(" = ")[0]
            change = f"s|^(# )?{name} = .*|{line}|"
            self._run(self.other, f"sudo sed --in-place --regexp-extended {shlex.quote(change)} {file}")
            self._run(self.other, f"grep --line-regexp --fixed-strings {shlex.quote(line)} {file}")

    def _listen(self, code: str) -> None:
        (self.ego.home / "mirror-stage/listen.py").write_text(code)
        with self.ego.running(".venv/bin/python -u listen.py", self._log("listen"), CHECKOUT):
            self.until(lambda: OTHER in self._log("listen").read_text(), 30, "a frame with the second host")

    def hosts(self, port: int = PORT) -> dict[str, dict[str, Any]]:
        """The hosts of the twin, by name; none while no EGO answers."""
        found = self.asked("/api/twin/state", port=port)
        return {} if found is None else {host["hostname"]: host for host in found["hosts"]}

    def asked(self, path: str, body: dict[str, str] | None = None, port: int = PORT) -> Any:
        """What EGO answers, over https once it is open to the network; None if it does not, or refuses."""
        if self.is_exposed and self._auth is None:
            made = self.ego.run(".venv/bin/mirror-stage tokens create --role operator", 60, CHECKOUT)
            self._auth = f"--insecure --header {shlex.quote(f'Authorization: Bearer {made.stdout.strip()}')}"
        how = f"--header 'Content-Type: application/json' --data {shlex.quote(json.dumps(body))}" if body else ""
        scheme, auth = ("https", self._auth) if self.is_exposed else ("http", "")
        answer = self.ego.run(f"curl --silent --fail {auth} {how} {scheme}://127.0.0.1:{port}{path}", 20)
        return json.loads(answer.stdout) if answer.returncode == 0 else None

    def heard_since(self, began: datetime, port: int = PORT) -> int:
        """How many hosts have reported since then; an earlier simulation had the same ones."""
        seen = [str(host["lastSeen"]) for host in self.hosts(port).values() if host["lastSeen"]]
        return sum(datetime.fromisoformat(text) > began for text in seen)

    def until(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        logs = sorted(self._folder.glob("*.log"), key=lambda log: log.stat().st_mtime)
        try:
            wait_until(condition, seconds, 0.5, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{logs[-1].read_text()[-3000:] if logs else ''}") from None
        print(f"\n$ {what}\nseen")

    def end(self) -> None:
        """Ctrl-C for `make run`."""
        self._serving.close()

    def _log(self, line: str) -> Path:
        return self._folder / f"{re.sub(r'[^a-z0-9]+', '-', line.lower())[:60]}.log"


def block_after(line: str) -> Block | None:
    """The block that follows the one of an agent that runs until Ctrl-C: it needs that agent."""
    if not RUNS_ON.search(line):
        return None
    page = blocks("docs/agent.md")
    return next((after for before, after in itertools.pairwise(page) if line in before.lines()), None)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """Both machines, booted and connected."""
    reason = debian.why_not()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("walk")
    ego = Machine("ego", folder / "ego", address="10.0.0.100")
    other = Machine(OTHER, folder / OTHER, address="10.0.0.7", may_sudo=True, has_internet=False)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        reason = debian.install(ego.root, packages_of((ROOT / README).read_text()))
        if reason:
            pytest.skip(f"no package mirror: {reason}")
        subprocess.run(["cp", "--archive", str(ego.root), str(other.root)], check=True)
        for machine in (ego, other):
            machine.prepare()
            stack.callback(machine.stop)
            machine.start()
        debian.connect(ego, other)
        man = Man(folder / "man", other.namespace, ego.namespace)
        stack.callback(man.stop)
        man.start()
        debian.copy_checkout(ego.home / "mirror-stage")
        ego.own(ego.home / "mirror-stage")
        ego.trust(other)
        walked = Walk(ego, other, man, folder)
        stack.callback(walked.end)
        yield walked


def test_the_readme_leads_from_nothing_to_a_signed_command_on_a_second_host(walk: Walk) -> None:
    walk.ego.run(
        "echo EGO_PRIMARY_IP=10.0.0.100 > .env", folder=CHECKOUT
    )  # its other network leads to the package mirrors
    for block in blocks(README):
        walk.block(block)
    host = walk.hosts()[OTHER]
    assert (host["rack"], host["room"]) == ("R1", "cellar")
    assert "load average" in walk.said[-1][1]
    heard = walk.man.heard("pass")
    assert len(heard) > 10_000, "the man has had all that the host has sent"
    assert not [secret for secret in (b"ms_enroll", b"ms_agent", b"load average", b"Authorization") if secret in heard]
    walk.man.step_aside()
    settings = walk.other.run("sudo cat /etc/mirror-stage/reflector.toml").stdout
    assert re.search(r"^ego_signing_key = ", settings, re.MULTILINE)


def test_each_pattern_of_the_readmes_allow_list_works_in_the_installed_service(walk: Walk) -> None:
    (block,) = (block for block in blocks(README) if block.language == "toml")
    (patterns,) = re.findall(r"^command_allow = (.*)$", block.code, re.MULTILINE)
    for pattern in json.loads(patterns):
        command = pattern.replace("*", "mirror-stage")  # a folder that the agent has made
        made = walk.asked("/api/commands", {"hostname": OTHER, "command": command})

        def ended(id: str = made["id"]) -> Any:
            answer = walk.asked(f"/api/commands/{id}")
            return answer if answer["completedAt"] else None

        result = wait_until(ended, 30, 0.5, command)
        assert (result["status"], result["exitCode"]) == ("succeeded", 0), result


@pytest.mark.parametrize("page", ["docs/api.md", "docs/simulator.md", "docs/agent.md"])
def test_a_page_beside_the_readme_works_as_it_stands(page: str, walk: Walk) -> None:
    if walk.is_exposed:  # these pages are for an EGO that listens on its own machine only
        walk.end()
        walk.ego.run("rm .env", folder=CHECKOUT)
        walk.is_exposed = False
        walk.block(Block("", "sh", "make run"))
    for command in re.findall(r"`(\.venv/bin/pip install [^`]+)`", (ROOT / page).read_text()):
        walk.block(Block("", "sh", command))
    done: list[Block] = []
    for block in blocks(page):
        needs_agent = any(block_after(line) == block for before in done for line in before.lines())
        if not needs_agent and block.language not in {"ini", "text"}:  # the line to paste was pasted for the README
            walk.block(block)
        done.append(block)
    assert done


def test_what_install_wrote_is_gone_after_uninstall(walk: Walk) -> None:
    (command,) = set(re.findall(r"`(sudo \S+ reflector uninstall --purge)`", (ROOT / "docs/agent.md").read_text()))
    walk.block(Block("", "sh", command))
    assert walk.other.run("sudo find /etc /var/lib -path '*mirror-stage*'").stdout.split() == []
