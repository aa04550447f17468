"""Commands that run as another account than the agent's cannot read what is the agent's, and end as all others do."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.reflector import check
from mirror_stage.reflector.account import CAPABILITIES, Account, account_of, become_able
from mirror_stage.reflector.credential import Enrolment, save
from mirror_stage.reflector.execution import Execution
from mirror_stage.reflector.settings import Settings
from tests.accounts import ANOTHER, OTHER, as_account, needs_root
from tests.builders import unique_hostname
from tests.reflector.processes import AgentProcess, running_agent
from tests.reflector.scripted_ego import ScriptedEgo
from tests.reflector.test_commands import Queue
from tests.servers import ROOT, wait_until

NAME = pwd.getpwuid(OTHER).pw_name
LISTED = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in CAPABILITIES)
AS_SERVICE = (
    *("setpriv", f"--reuid={ANOTHER}", f"--regid={ANOTHER}", "--clear-groups", "--no-new-privs"),
    *(f"--inh-caps=-all,{LISTED}", f"--ambient-caps=-all,{LISTED}", f"--bounding-set=-all,{LISTED}"),
)
# Says what a command can read of the agent, which is its parent, and what it is itself.
LOOKS = """
for file in {state}/enrolment {state}/journal {state}/lock /proc/$PPID/environ /proc/$PPID/mem; do
  head -c 1 $file >/dev/null 2>&1 && echo READ $file
done
ls {state} {state}/spool /proc/$PPID/fd >/dev/null 2>&1 && echo LISTED
kill -0 $PPID 2>/dev/null && echo KILLS
echo uid $(id -u) groups $(id -G) umask $(umask) home $HOME user $USER
grep -E 'Cap(Prm|Eff|Amb)' /proc/self/status
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every account may enter, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="mirror-stage-account-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def printed(agent: AgentProcess, queue: Queue, scripted: ScriptedEgo) -> str:
    """What LOOKS prints as a command of this agent."""
    id = queue.add(shlex.join(["sh", "-c", LOOKS.format(state=agent.state)]))
    (asked,) = scripted.wait_for(f"/{id}/result", seconds=20)
    assert asked.content["status"] == "succeeded", (asked.content, agent.log)
    return str(asked.content["stdout"])


def made(folder: Path, uid: int) -> AgentProcess:
    """An agent that is enrolled and does not run yet."""
    agent = AgentProcess(folder, "", hostname=unique_hostname("agent"))
    agent.state.mkdir(mode=0o700)
    os.chown(agent.state, uid, uid)
    save(agent.state, Enrolment("k" * 43, token="ms_agent_secret", hostname=agent.hostname))
    return agent


@needs_root
@pytest.mark.parametrize(("uid", "prefix"), [(0, ()), (ANOTHER, AS_SERVICE)], ids=["as root", "with capabilities"])
def test_a_command_cannot_read_what_is_the_agents(
    folder: Path, scripted: ScriptedEgo, uid: int, prefix: tuple[str, ...]
) -> None:
    if not as_account(ANOTHER, lambda: os.access(ROOT / "mirror_stage/app.py", os.R_OK)):
        pytest.skip("another account cannot read this checkout")
    queue, hostname = Queue(scripted), made(folder, uid).hostname
    flags = ("--allow-commands", "--command-user", NAME)
    with running_agent(folder, scripted.url, *flags, hostname=hostname, prefix=prefix) as agent:
        said = printed(agent, queue, scripted).splitlines()
        home = pwd.getpwuid(OTHER).pw_dir
        groups = " ".join(map(str, os.getgrouplist(NAME, pwd.getpwuid(OTHER).pw_gid)))
        assert said[0] == f"uid {OTHER} groups {groups} umask 0022 home {home} user {NAME}"
        assert [line.split()[1].strip("0") for line in said[1:]] == [""] * 3
        sample = scripted.wait_for("/batch")[0]
        assert sample.headers["Authorization"] == "Bearer ms_agent_secret"


@needs_root
def test_without_such_an_account_a_command_can_read_it(folder: Path, scripted: ScriptedEgo) -> None:
    """So the test above looks at the right files."""
    queue, hostname = Queue(scripted), made(folder, 0).hostname
    with running_agent(folder, scripted.url, "--allow-commands", hostname=hostname) as agent:
        said = printed(agent, queue, scripted)
        assert said.count("READ") >= 4
        assert "LISTED\nKILLS\n" in said


@needs_root
@pytest.mark.parametrize("script", ["sleep 61", "(setsid sh -c 'sleep 61 & echo $! >pid; wait' &) ; sleep 60"])
def test_no_process_of_that_account_outlives_its_timeout(folder: Path, script: str) -> None:
    os.chown(folder, OTHER, OTHER)
    pid_file, account = folder / "pid", account_of(NAME, 0)
    text = f"echo $$ >{pid_file}; {script.replace('>pid', f'>{pid_file}')}"
    execution = Execution(unique_hostname("id"), ["/bin/sh", "-c", text], 0.7, lambda *_: None, account=account)
    thread = threading.Thread(target=execution.run)
    thread.start()
    wait_until(lambda: pid_file.exists() and pid_file.read_text().strip())
    time.sleep(0.3)
    process = psutil.Process(int(pid_file.read_text()))
    assert process.uids().real == OTHER
    thread.join(20)
    assert not thread.is_alive()
    wait_until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


@needs_root
def test_a_program_that_this_account_may_not_run_fails_and_says_why(folder: Path) -> None:
    program = folder / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    ending = Execution("id", [str(program)], 5, lambda *_: None, account=account_of(NAME, 0)).run()
    assert (ending.status, ending.exit_code) == ("failed", 126)
    assert "Permission denied" in ending.stderr.text()


@pytest.mark.parametrize(
    ("name", "agent_uid", "said"),
    [
        ("no-such-account", 0, "there is no account no-such-account here; sudo mirror-stage reflector install adds it"),
        ("root", 1000, "root is root, which can read the agent's files"),
        (NAME, OTHER, f"{NAME} is the agent's own account"),
    ],
)
def test_an_account_that_protects_nothing_is_refused(name: str, agent_uid: int, said: str) -> None:
    with pytest.raises(BadSetting, match=said):
        account_of(name, agent_uid)


@needs_root
def test_an_agent_that_may_not_switch_does_not_start_and_says_what_to_do() -> None:
    account = Account("other", ANOTHER, ANOTHER, (ANOTHER,), "/", "/bin/sh")

    def refusal() -> str:
        try:
            become_able(account)
        except BadSetting as why:
            return str(why)
        return "it may"

    said = as_account(OTHER, refusal)
    assert "because it has no CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SYS_PTRACE; run sudo mirror-stage" in said


@pytest.mark.parametrize(
    ("options", "level", "said"),
    [
        ({"command_policy": "off", "command_user": "no-such-account"}, "ok", "EGO may have nothing run here"),
        ({"command_policy": "all"}, "warning", "a command that can read files can read this host's token"),
        ({"command_policy": "all", "command_user": NAME}, "warning", f"as {NAME}, which cannot read the agent's files"),
        ({"command_policy": "all", "command_user": "no-such-account"}, "problem", "there is no account"),
        ({"command_policy": "allow_list", "command_allow": ("df",), "command_user": NAME}, "ok", f"as {NAME}"),
    ],
)
def test_check_says_what_commands_can_read(tmp_path: Path, options: dict[str, object], level: str, said: str) -> None:
    found = check.commands(Settings(state_dir=tmp_path, **options))  # type: ignore[arg-type]
    assert (found.level, said in found.seen) == (level, True), found
