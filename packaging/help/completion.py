#!/usr/bin/env python3
"""completion.py DIRECTORY PROGRAM: DIRECTORY/NAME.bash, NAME.zsh and NAME.fish, from what PROGRAM --help says.

A section "Scenarios" lists first words; each has a help text of its own, whose options follow it.
"""

import os
import sys

import help_text

FILES = ("PATH", "FILE", "PROGRAM")
DIRECTORIES = ("DIR",)


def spellings(options):
    """Each option once, in order."""
    return list(dict.fromkeys(name for option in options for name in option.options()))


def taking(options, kinds):
    return [name for option in options if option.argument() in kinds for name in option.options()]


def bash(name, words, options, by_word):
    function = "_" + name.replace("-", "_")
    everything = [option for found in (options, *by_word.values()) for option in found]
    files, directories = (sorted(set(taking(everything, kinds))) for kinds in (FILES, DIRECTORIES))
    plain = sorted({n for o in everything if o.argument() for n in o.options()} - set(files) - set(directories))
    lines = [f"# bash completion of {name}; made from its --help", f"{function}() {{",
             '    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} options', "    case $before in"]
    if files:
        lines.append(f'    {" | ".join(files)}) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;')
    if directories:
        lines.append(f'    {" | ".join(directories)}) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;')
    if plain:
        lines.append(f'    {" | ".join(plain)}) return ;;')
    lines += ["    esac", '    case ${COMP_WORDS[1]} in']
    lines += [f'    {word}) options="{" ".join(spellings(found))}" ;;' for word, found in by_word.items()]
    lines += [f'    *) options="{" ".join(words + spellings(options))}" ;;', "    esac",
              '    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")', "}",
              f"complete -o filenames -F {function} {name}", ""]
    return "\n".join(lines)


def zsh_quote(text):
    return text.replace("'", "'\\''")


def zsh_text(text):
    return zsh_quote(text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:"))


def zsh_options(options):
    lines = []
    for option in options:
        action = ""
        if option.argument():
            action = f":{option.argument()}:" + ("_files" if option.argument() in FILES else
                                                 "_files -/" if option.argument() in DIRECTORIES else "")
        lines += [f"'{name}[{zsh_text(option.text)}]{action}'" for name in option.options()]
    return " \\\n        ".join(lines)


def zsh(name, scenarios, options, by_word):
    lines = [f"#compdef {name}", f"# zsh completion of {name}; made from its --help", "case $words[2] in"]
    lines += [f"{word})\n    _arguments '1:scenario:({word})' \\\n        {zsh_options(found)}\n    ;;" for word, found in by_word.items()]
    lines.append("*)")
    if scenarios:
        lines.append("    local -a scenarios=(\n" + "".join(
            f"        '{entry.name}:{zsh_quote(entry.text)}'\n" for entry in scenarios) + "    )")
        lines.append("    _describe scenario scenarios")
    lines += [f"    _arguments \\\n        {zsh_options(options)}", "    ;;", "esac", ""]
    return "\n".join(lines)


def fish_quote(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def fish_option(name, option, condition):
    parts = [f"complete -c {name}{condition}"]
    for spelling in option.options():
        parts.append(f"-l {spelling[2:]}" if spelling.startswith("--") else f"-s {spelling[1:]}")
    if option.argument():
        parts.append("-r" if option.argument() in FILES else "-xa '(__fish_complete_directories)'"
                     if option.argument() in DIRECTORIES else "-x")
    return " ".join(parts) + f" -d {fish_quote(option.text)}"


def fish(name, scenarios, options, by_word):
    lines = [f"# fish completion of {name}; made from its --help", f"complete -c {name} -f"]
    lines += [f"complete -c {name} -n __fish_use_subcommand -a {entry.name} -d {fish_quote(entry.text)}" for entry in scenarios]
    lines += [fish_option(name, option, "") for option in options]
    for word, found in by_word.items():
        known = spellings(options)
        lines += [fish_option(name, option, f" -n '__fish_seen_subcommand_from {word}'")
                  for option in found if option.options()[0] not in known]
    return "\n".join(lines) + "\n"


def main():
    directory, program = sys.argv[1:3]
    name = os.path.basename(program)
    shown = help_text.of_program(program)
    scenarios = shown.sections.get("Scenarios", [])
    words = [entry.name for entry in scenarios]
    by_word = {word: help_text.of_program(program, word).options() for word in words}
    os.makedirs(directory, exist_ok=True)
    for shell, text in (("bash", bash(name, words, shown.options(), by_word)),
                        ("zsh", zsh(name, scenarios, shown.options(), by_word)),
                        ("fish", fish(name, scenarios, shown.options(), by_word))):
        with open(os.path.join(directory, f"{name}.{shell}"), "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
