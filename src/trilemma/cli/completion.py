"""What a shell may complete, and the script that tells it: commands, options, choices, names.

The words are written into the script, so that a key press costs nothing; who adds a plug-in or a
package writes it anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from trilemma.cli.command import Parser

__all__ = ["SHELLS", "Words", "script", "words_of"]

SHELLS = ("bash", "zsh", "fish")
NAMED = {"NAME_OR_PATH": "data", "A,B,…": "recipes"}
"""What stands for a name, by what the help calls it."""


@dataclass(frozen=True)
class Words:
    """What may follow a command."""

    first: Sequence[str] = ()
    """In the place of its first word."""
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By option, what may follow it; nothing where it takes files, or a word of one's own."""
    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Further options, by the first word."""


def words_of(
    top: Parser, names: Mapping[str, Sequence[str]], fields: Mapping[str, Sequence[str]]
) -> dict[str, Words]:
    """Return what may follow each command.

    Arguments:
        top: The parser of all commands.
        names: "recipes" and "data", as they are called.
        fields: The names of a recipe's fields, by recipe.
    """
    (verbs,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    return {name: _of_command(name, own, names, fields) for name, own in verbs.choices.items()}


def _of_command(
    name: str,
    own: Parser,
    names: Mapping[str, Sequence[str]],
    fields: Mapping[str, Sequence[str]],
) -> Words:
    first: list[str] = []
    options: dict[str, Sequence[str]] = {}
    for action in own._actions:
        choices = [str(choice) for choice in action.choices or ()]
        choices = choices or names.get(NAMED.get(str(action.metavar), ""), [])
        if action.option_strings:
            takes_value = action.nargs != 0
            for option in action.option_strings:
                options[option] = choices if takes_value else ()
        elif not first:
            first += choices or (names["recipes"] if action.dest == "recipe" else [])
    return Words(first, options, fields if name == "train" else {})


def script(shell: str, commands: Mapping[str, Words]) -> str:
    """Return the script by which a shell completes `trilemma`.

    Arguments:
        shell: One of `SHELLS`.
        commands: What may follow each.
    """
    return _fish(commands) if shell == "fish" else _bash(commands, is_zsh=shell == "zsh")


def _bash(commands: Mapping[str, Words], *, is_zsh: bool) -> str:
    lines = ["autoload -U +X bashcompinit && bashcompinit"] if is_zsh else []
    lines += [
        "_trilemma() {",
        '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
        '  local command="${COMP_WORDS[1]}" first="${COMP_WORDS[2]}" words=""',
        "  if [ $COMP_CWORD -eq 1 ]; then",
        f'    words="{" ".join([*commands, "--help", "--version"])}"',
        "  else",
        '    case "$command $before" in',
    ]
    for name, words in commands.items():
        for option, values in words.options.items():
            if values:
                lines.append(f'      "{name} {option}") words="{" ".join(values)}";;')
    lines += ["    esac", '    if [ -z "$words" ]; then', '      case "$command" in']
    for name, words in commands.items():
        lines.append(f'        {name}) words="{" ".join(words.options)}"')
        if words.fields:
            lines.append('          case "$first" in')
            lines += [
                f'            {first}) words="$words {_options(fields)}";;'
                for first, fields in words.fields.items()
            ]
            lines.append("          esac")
        if words.first:
            text = " ".join(words.first)
            lines.append(f'          [ $COMP_CWORD -eq 2 ] && words="{text} $words"')
        lines.append("          ;;")
    lines += [
        "      esac",
        "    fi",
        "  fi",
        '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
        "}",
        "complete -o default -F _trilemma trilemma",
    ]
    return "\n".join(lines) + "\n"


def _fish(commands: Mapping[str, Words]) -> str:
    lines = [f"complete -c trilemma -n __fish_use_subcommand -f -a '{' '.join(commands)}'"]
    for name, words in commands.items():
        prefix = f"complete -c trilemma -n '__fish_seen_subcommand_from {name}'"
        if words.first:
            lines.append(f"{prefix} -a '{' '.join(words.first)}'")
        for option, values in words.options.items():
            flag = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
            lines.append(f"{prefix} {flag}" + (f" -x -a '{' '.join(values)}'" if values else ""))
        for first, fields in words.fields.items():
            both = f"__fish_seen_subcommand_from {name}; and __fish_seen_subcommand_from {first}"
            lines += [
                f"complete -c trilemma -n '{both}' -l {option[2:]}"
                for option in _options(fields).split()
            ]
    return "\n".join(lines) + "\n"


def _options(fields: Iterable[str]) -> str:
    return " ".join(f"--{name.replace('_', '-')}" for name in fields)
