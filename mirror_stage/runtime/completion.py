"""`mirror-stage completion`: a script with which bash and zsh complete commands and options."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

SHELLS = ("bash", "zsh")

_ZSH = "autoload -Uz +X compinit bashcompinit && compinit && bashcompinit\n"
_SCRIPT = """\
_mirror_stage() {{
    local command="" word
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$command $word" in
            {commands}) command="$command $word" ;;
        esac
    done
    case "$command" in
{cases}
    esac
    COMPREPLY=($(compgen -W "$word" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _mirror_stage mirror-stage
"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell. Where nothing fits, the shell completes names of files."""
    words_by_command = {name: " ".join(_words(each)) for name, each in parsers(parser)}
    cases = "\n".join(f'        "{_key(name)}") word="{words}" ;;' for name, words in words_by_command.items())
    commands = " | ".join(f'"{_key(name)}"' for name in words_by_command if name)
    return (_ZSH if shell == "zsh" else "") + _SCRIPT.format(commands=commands, cases=cases)


def parsers(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each parser of a command line, after the words that lead to it."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, child in action.choices.items():
                yield from parsers(child, f"{name} {word}".strip())


def _key(name: str) -> str:
    return f" {name}" if name else ""


def _words(parser: argparse.ArgumentParser) -> Iterator[str]:
    """What may follow: subcommands and choices, then long options."""
    for action in parser._actions:
        if action.choices and not action.option_strings:
            yield from action.choices
        yield from (option for option in action.option_strings if option.startswith("--"))
