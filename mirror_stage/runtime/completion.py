"""`mirror-stage completion`: a script with which bash and zsh complete commands and options."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

SHELLS = ("bash", "zsh")

_ZSH = "autoload -Uz +X compinit bashcompinit && compinit && bashcompinit\n"
_SCRIPT = """\
_mirror_stage() {{
    local command="" word options
    for word in "${{COMP_WORDS[@]:1:$((COMP_CWORD-1))}}"; do
        case "$command $word" in
            {commands}) command="$command $word" ;;
        esac
    done
    case "$command" in
{cases}
    esac
    [[ "${{COMP_WORDS[COMP_CWORD]}}" == -* ]] && word="$options"
    case "$command ${{COMP_WORDS[COMP_CWORD-1]}}" in
{values}
    esac
    COMPREPLY=($(compgen -W "$word" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _mirror_stage mirror-stage
"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell. Where nothing fits, the shell completes names of files."""
    found = list(parsers(parser))
    cases = "\n".join(
        f'        "{_key(name)}") word="{_words(each)}" options="{_options(each)}" ;;' for name, each in found
    )
    values = "\n".join(
        f'        "{_key(name)} {option}") word="{_choices(action)}" ;;'
        for name, each in found
        for action in each._actions
        if action.choices
        for option in action.option_strings
    )
    commands = " | ".join(f'"{_key(name)}"' for name, _ in found if name)
    return (_ZSH if shell == "zsh" else "") + _SCRIPT.format(commands=commands, cases=cases, values=values)


def parsers(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each parser of a command line, after the words that lead to it."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, child in action.choices.items():
                yield from parsers(child, f"{name} {word}".strip())


def _key(name: str) -> str:
    return f" {name}" if name else ""


def _words(parser: argparse.ArgumentParser) -> str:
    """The subcommands and choices that may follow."""
    positional = (action for action in parser._actions if action.choices and not action.option_strings)
    return " ".join(map(_choices, positional))


def _choices(action: argparse.Action) -> str:
    """The values that an argument or an option may have."""
    return " ".join(map(str, action.choices or ()))


def _options(parser: argparse.ArgumentParser) -> str:
    """The long options."""
    return " ".join(each for action in parser._actions for each in action.option_strings if each.startswith("--"))
