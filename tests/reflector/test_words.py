"""A command without a shell runs as its words. If it needs a shell, it is refused or gets a note."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.reflector.words import Unreadable, Words, words_of

# The cases that the console's rule is held to as well (hud/web/tests/unit/words.test.ts).
SHARED = json.loads((Path(__file__).parents[1] / "fixtures" / "command-words.json").read_text())
BREAK = "a line break"
TICKS = "a command in backticks"


@pytest.mark.parametrize("case", SHARED, ids=lambda case: repr(case["command"]))
def test_the_agent_reads_the_cases_that_it_shares_with_the_console(case: dict[str, Any]) -> None:
    if not case.get("isReadable", True):
        with pytest.raises(Unreadable):
            words_of(case["command"])
        return
    found = words_of(case["command"])
    if "operator" in case:
        assert found.operator == case["operator"]
    if "asWritten" in case:
        assert list(found.as_written) == case["asWritten"]
    if "lookalikes" in case:
        assert list(found.lookalikes) == case["lookalikes"]


@pytest.mark.parametrize(
    ("command", "operator"),
    [
        ("echo one\necho two", BREAK),
        ("rm -r /a\nls /b", BREAK),
        ("rm -r /a\r\nls /b", BREAK),
        ("rm -r /a\rls /b", BREAK),
        ("echo hi > file", ">"),
        ("echo hi >file", ">"),
        ("echo hi>>file", ">>"),
        ("ls 2>&1", ">&"),
        ("ls 2>/dev/null", ">"),
        ("ls &>all", "&>"),
        ("cat < file", "<"),
        ("cat <<EOF\na\nEOF", "<<"),
        ("cat <<< word", "<<"),
        ("df | head", "|"),
        ("df|head", "|"),
        ("make |& cat", "|&"),
        ("a && b", "&&"),
        ("a || b", "||"),
        ("a; b", ";"),
        ("a;", ";"),
        ("find . -exec x {} ;", ";"),
        ("sleep 9 &", "&"),
        ("curl http://h/?a=1&b=2", "&"),
        ("(cd /; ls)", "("),
        ("find . ( -name a )", "("),
        ("echo $(date)", "$( )"),
        ('echo "$(date)"', "$( )"),
        ("echo $((1+1))", "$( )"),
        ("echo `date`", TICKS),
        ('echo "`date`"', TICKS),
        ("rm -r /a # /b", "a comment: #"),
        ("# nothing", "a comment: #"),
        ("echo a; b | c", ";"),
        ("echo 'a'; b", ";"),
        ("echo \\\\; b", ";"),
        ("f() { :; }", "("),
        ("cd /tmp", "the word cd"),
        ("if true", "the word if"),
        ("LANG=C ls", "the assignment LANG="),
    ],
)
def test_shell_syntax_is_found(command: str, operator: str) -> None:
    assert words_of(command).operator == operator


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("uptime", ["uptime"]),
        ("  uptime \t", ["uptime"]),
        ("uptime\n", ["uptime"]),
        ("uptime \\\n", ["uptime"]),
        ("echo a\\ ", ["echo", "a "]),
        ("[ 1 = 1 ]", ["[", "1", "=", "1", "]"]),
        ("uptime\r\n", ["uptime"]),
        ("\n\nuptime\n\n", ["uptime"]),
        (r"a\;b", ["a;b"]),
        (r"find . -exec x {} \;", ["find", ".", "-exec", "x", "{}", ";"]),
        (r"find . \( -name a \)", ["find", ".", "(", "-name", "a", ")"]),
        ("echo 'a > b | c && d; e $(f) `g` # h'", ["echo", "a > b | c && d; e $(f) `g` # h"]),
        ('echo "a > b | c && d; e # h"', ["echo", "a > b | c && d; e # h"]),
        ("echo 'one\ntwo'", ["echo", "one\ntwo"]),
        ("sh -c 'a; b'", ["sh", "-c", "a; b"]),
        (r"echo \$\(date\) \`date\`", ["echo", "$(date)", "`date`"]),
        (r'echo "\$(date) \`x\` \" \\ \n"', ["echo", '$(date) `x` " \\ \\n']),
        ("echo a#b", ["echo", "a#b"]),
        ("curl 'http://h/?a=1&b=2#c'", ["curl", "http://h/?a=1&b=2#c"]),
        ("curl http://h/?a=1", ["curl", "http://h/?a=1"]),
        ("echo a\\\nb", ["echo", "ab"]),
        ("echo '' \"\"", ["echo", "", ""]),
        ("echo a'b'\"c\"", ["echo", "abc"]),
        ("echo {} {a} a=b %x ^y !z", ["echo", "{}", "{a}", "a=b", "%x", "^y", "!z"]),
        ("echo 5$ $", ["echo", "5$", "$"]),
        ("에코 한글", ["에코", "한글"]),
    ],
)
def test_text_without_shell_operators_is_split_into_words(command: str, words: list[str]) -> None:
    assert words_of(command) == Words(tuple(words))


@pytest.mark.parametrize(
    ("command", "as_written"),
    [
        ("ls *", ("*",)),
        ("ls a?c", ("?",)),
        ("ls [ab]", ("[",)),
        ("ls ~", ("~",)),
        ("ls ~/x a~b", ("~",)),
        ("echo $HOME", ("$HOME",)),
        ('echo "$HOME"', ("$HOME",)),
        ("echo ${x} ${y:-z}", ("${x}", "${y:-z}")),
        ("echo $1 $! $$", ("$1", "$!", "$$")),
        ("echo {a,b} {1..3}", ("{a,b}", "{1..3}")),
        ("ls * *", ("*",)),
        (r"echo $'a\nb'", ("$'",)),
        ("dd of=~/x", ("~",)),
        ("ls '*' \\* \"*\" '~' '$HOME' \\$HOME", ()),
    ],
)
def test_variables_and_wildcards_that_a_shell_would_replace_are_named(
    command: str, as_written: tuple[str, ...]
) -> None:
    found = words_of(command)
    assert (found.operator, found.as_written) == (None, as_written)


@pytest.mark.parametrize("command", ["", "  ", "\n", "''", "echo 'open", 'echo "open', "echo \\", "echo \0"])
def test_empty_or_unfinished_text_is_refused(command: str) -> None:
    with pytest.raises(Unreadable):
        words_of(command)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))))
def test_quoted_words_are_split_into_the_same_words(words: list[str]) -> None:
    """The first word is fixed: `wait` or `a=b` would mean something else to a shell there."""
    assert words_of(shlex.join(["x", *words])) == Words(("x", *words))


@settings(max_examples=150, deadline=None)
@given(st.text("ab '\"\\\t", max_size=12))
def test_quotes_and_backslashes_mean_what_they_mean_to_a_shell(text: str) -> None:
    """A shell splits text without operators and replacements into the same words."""
    try:
        words = words_of(f"x {text}")
    except Unreadable:
        return
    script = 'x() { for word do printf "%s\\0" "$word"; done; }\nx ' + text
    shown = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)
    assert tuple(shown.stdout.split("\0")[:-1]) == words.argv[1:]
