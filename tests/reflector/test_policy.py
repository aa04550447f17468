"""The agent runs exactly the commands that the host's settings allow, and no command that only looks like one."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.reflector.policy import Allowed, Denied, judge
from mirror_stage.reflector.risks import risk_of
from mirror_stage.reflector.words import SHELL_WORDS

# Without what only a shell can do, even unquoted: `if`, `cd`, `LANG=C`.
WORDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0="), min_size=1, max_size=10).filter(
    lambda word: word not in SHELL_WORDS
)


@pytest.mark.parametrize(
    ("pattern", "command", "may"),
    [
        ("uptime", "uptime", True),
        ("uptime", " uptime  ", True),
        ("uptime", "uptime -p", False),
        ("uptime", "uptimes", False),
        ("uptime", "UPTIME", False),
        ("systemctl status *", "systemctl status nginx", True),
        ("systemctl status *", "systemctl status 'a b'", True),
        ("systemctl status *", "systemctl status", False),
        ("systemctl status *", "systemctl status nginx ssh", False),
        ("systemctl status *", "systemctl stop nginx", False),
        ("systemctl status *", "systemctl status --root=/elsewhere", False),
        ("systemctl status *", "systemctl status nginx; reboot", False),
        ("df -*", "df -h", True),
        ("journalctl -u nginx ...", "journalctl -u nginx _PID=1 _UID=0", True),
        ("journalctl -u nginx ...", "journalctl -u nginx -n 5", False),
        ("journalctl -u nginx ...", "journalctl -u nginx --vacuum-time=1s", False),
        ("journalctl -u nginx ...", "journalctl -u nginx x --cursor-file=/etc/cron.d/x", False),
        ("journalctl -u nginx -n *", "journalctl -u nginx -n 5", True),
        ("journalctl -u nginx -n *", "journalctl -u nginx -n -5", False),
        ("journalctl -u nginx --since=*", "journalctl -u nginx --since=today", True),
        ("journalctl -u nginx --since=*", "journalctl -u nginx --vacuum-time=1s", False),
        ("cat /var/log/*", "cat /var/log/syslog", True),
        ("cat /var/log/*", "cat /var/log/nginx/access.log", True),
        ("cat /var/log/*", "cat /var/log/../../etc/shadow", False),
        ("cat /var/log/*", "cat /var/log/x/..", False),
        ("cat /var/log/*", "cat /var/log/./../../etc/shadow", False),
        ("cat /var/log/*", "cat '/var/log/a b'", True),
        ("cat /var/log/*", "cat /var/logs", False),
        ("cat /var/log/*", "cat /var/log/a /etc/shadow", False),
        ("cat /var/log/*", "cat //var/log/a..b", True),
        ("cat /var/log/[!s]*", "cat /var/log/./secure", False),
        ("cat /var/log/[!s]*", "cat /var/log//secure", False),
        ("cat /var/log/[!s]*", "cat /var/log/messages", True),
        ("cat /var/log/ ...", "cat /var/log/ ../etc/shadow", False),
        ("tool --file=/srv/*", "tool --file=/srv/../etc/shadow", False),
        ("cat ../notes", "cat ../notes", True),
        ("*", "../../bin/sh", False),
        ("/opt/tools/*", "/opt/tools/../../bin/sh", False),
        ("echo *", "echo -n", False),
        ("echo *", "echo --", False),
        ("echo -*", "echo -n", True),
        ("...", "reboot", False),
        ("curl http://intern/*", "curl http://intern/a/b", True),
        ("curl http://intern/*", "curl http://extern/a", False),
        ("journalctl -u nginx ...", "journalctl -u nginx", True),
        ("journalctl -u nginx ...", "journalctl -u ssh", False),
        ("journalctl -u nginx ...", "journalctl -u", False),
        ("echo ...", "rm echo", False),
        ("*", "reboot", True),
        ("*", "reboot now", False),
        ("'my tool' ?", "'my tool' 5", True),
        ("cat /var/log/[a-c]*", "cat /var/log/boot", True),
        ("cat /var/log/[a-c]*", "cat /var/log/dmesg", False),
    ],
)
def test_an_allow_list_compares_word_by_word(pattern: str, command: str, may: bool) -> None:
    decision = judge(command, "allow_list", ["nothing else", pattern])
    assert isinstance(decision, Allowed if may else Denied), decision
    if isinstance(decision, Allowed):
        assert decision.argv == tuple(shlex.split(command))


@pytest.mark.parametrize(
    ("pattern", "command", "may"),
    [
        ("df -h | head", "df -h | head", True),
        ("df -h | head", "df -h | head; reboot", False),
        ("df *", "df -h", False),
        ("df *", "df x; reboot", False),
        ("df ...", "df -h", False),
        ("df *", "df *", True),
    ],
)
def test_for_the_shell_a_pattern_is_the_whole_text(pattern: str, command: str, may: bool) -> None:
    decision = judge(command, "allow_list", [pattern], shell=True)
    assert decision == (Allowed(("/bin/sh", "-c", command)) if may else decision)
    assert isinstance(decision, Allowed) == may


@pytest.mark.parametrize("command", ["", "   ", "''", "echo 'open", "echo \0", "\n"])
@pytest.mark.parametrize("shell", [False, True])
def test_text_that_is_not_a_command_is_denied_with_a_reason(command: str, shell: bool) -> None:
    decision = judge(command, "all", shell=shell)
    assert isinstance(decision, Denied)
    assert decision.reason


def test_policy_off_denies_a_command_and_names_the_setting() -> None:
    decision = judge("uptime", "off", ["uptime"])
    assert isinstance(decision, Denied)
    assert "command_policy in reflector.toml" in decision.reason


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=5))
def test_policy_all_runs_a_command_as_its_words_and_never_in_a_shell(words: list[str]) -> None:
    assert judge(shlex.join(words), "all") == Allowed(tuple(words))


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(WORDS, max_size=3))
def test_a_pattern_without_wildcards_allows_itself_and_nothing_longer(words: list[str], more: list[str]) -> None:
    if any(set("*?[") & set(word) or word == "..." for word in words):
        return
    pattern = shlex.join(words)
    assert isinstance(judge(pattern, "allow_list", [pattern]), Allowed)
    if more:
        assert isinstance(judge(shlex.join(words + more), "allow_list", [pattern]), Denied)


RISKY = (
    "sh", "/bin/bash", "bash -c *", "sh ...", "sudo *", "sudo ...", "env *", "find *", "find /var ...", "* status",
    "*", "/usr/bin/*", "python3.11 *", "df -*", "ls --*", "cat *", "tail ...", "rm *", "systemctl *",
    "systemctl ...", "...", "xargs *", "awk * /etc/hosts", "docker run *", "git ...", "/usr/bin/env X=*",
)  # fmt: skip
PLAIN = (
    "uptime", "df -h", "systemctl status *", "journalctl -u nginx ...", "journalctl -u nginx -n *",
    "cat /var/log/*", "sh -c 'df -h | head'", "sudo systemctl restart nginx", "find /var/log -name x", "env",
    "tail -n 50 /var/log/*",
)  # fmt: skip


@pytest.mark.parametrize("pattern", RISKY)
def test_a_pattern_that_allows_more_than_it_seems_to_is_a_warning(pattern: str) -> None:
    assert risk_of(pattern)


@pytest.mark.parametrize("pattern", PLAIN)
def test_a_pattern_that_allows_only_what_it_says_is_no_warning(pattern: str) -> None:
    assert risk_of(pattern) is None


@pytest.mark.parametrize("policy", ["all", "allow_list"])
def test_shell_syntax_is_refused_and_the_reason_says_how_to_use_a_shell(policy: str) -> None:
    decision = judge("echo hi > file", policy, ["echo ..."])
    assert isinstance(decision, Denied)
    assert "holds > outside of quotes" in decision.reason
    assert "send sh -c '...'" in decision.reason


@pytest.mark.parametrize("command", ['echo "$(date)"', 'echo "`date`"'])
def test_what_double_quotes_do_not_protect_is_told_to_stand_outside_of_single_quotes(command: str) -> None:
    decision = judge(command, "all")
    assert isinstance(decision, Denied)
    assert "outside of single quotes" in decision.reason


def test_where_a_shell_is_allowed_its_operators_are_passed_to_it() -> None:
    assert judge("echo a\necho b | cat", "all", shell=True) == Allowed(("/bin/sh", "-c", "echo a\necho b | cat"))


def test_variables_and_wildcards_are_passed_on_unchanged_with_a_note() -> None:
    decision = judge("ls *.log $HOME ~", "all")
    assert isinstance(decision, Allowed)
    assert decision.argv == ("ls", "*.log", "$HOME", "~")
    assert decision.note == "no shell runs this, so * $HOME ~ was passed on as written; sh -c '...' would replace it"
