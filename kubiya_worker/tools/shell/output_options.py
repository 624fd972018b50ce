"""This module refuses the few options of programs by which they write a file outside, or run a program.

The other options of these programs are free: they are many, and do what a person has listed the program for. An option
counts in each form: `-o FILE`, `-oFILE`, `--output=FILE`, and abbreviated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from kubiya_worker.tools.shell.options import Arguments, Place


@dataclass(frozen=True)
class OutputOptions:
    """Options whose value is a file to write (`writes`), those that must not be given, and such commands."""

    writes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()  # with one of these each operand is changed

    def check(self, arguments: Arguments, place: Place) -> str | None:
        """Return what the program must not get; None when there is nothing."""
        words = list(arguments)
        for option in self.refused:
            if next(_values(words, option), None) is not None:
                return f"the option {option}, by which it runs a program or reads other files"
        for option in self.writes:
            outside = next((value for value in _values(words, option) if place.outside(value)), None)
            if outside is not None:
                return f"{option} {outside[:80]}, which writes outside of the workspace"
        if any(next(_values(words, option), None) is not None for option in self.changes):
            outside = next((word for word in words if word[:1] != "-" and "/" in word and place.outside(word)), None)
            if outside is not None:
                return f"{outside[:80]}, which it would change outside of the workspace"
        operands = [word for word in words if not word.startswith("-")]
        named = {" ".join(operands[at : at + count]) for at in range(len(operands)) for count in (1, 2) if at < 3}
        command = next((command for command in self.commands if command in named), None)
        return f"the command {command}" if command else None


def _values(arguments: list[str], option: str) -> Iterator[str]:
    """Yield each value that an option is given; an empty one where it has none."""
    for at, argument in enumerate(arguments):
        if argument == "--":
            return
        name, equals, value = argument.partition("=")
        behind = arguments[at + 1] if at + 1 < len(arguments) else ""
        if option.startswith("--"):
            if name == option or (len(name) > 4 and option.startswith(name) and name.startswith("--")):
                yield value if equals else behind
        elif argument[:1] == "-" and argument[1:2] != "-" and option[1] in argument[1:]:
            yield argument.partition(option[1])[2].removeprefix("=") or behind


def options(writes: str = "", refused: str = "", commands: str = "", changes: str = "") -> OutputOptions:
    """Return the options by their names, with blanks between them; `commands` have commas, and one word or two."""
    named = tuple(" ".join(name.split()) for name in commands.split(",") if name.strip())
    return OutputOptions(tuple(writes.split()), tuple(refused.split()), named, tuple(changes.split()))


PROGRAMS: Final[Mapping[str, OutputOptions]] = {
    **dict.fromkeys(("pg_dump", "pg_dumpall", "pg_restore"), options("-f --file")),
    **dict.fromkeys(
        ("mysqldump", "mariadb-dump"),
        options("-r -T --result-file --tab --log-error", "--defaults-file --defaults-extra-file --plugin-dir"),
    ),
    "redis-cli": options("--rdb --functions-rdb"),
    **dict.fromkeys(
        ("gpg", "gpg2"),
        options(
            "-o --output",
            "--homedir --options --exec-path --agent-program --dirmngr-program --keyboxd-program --pinentry-program "
            "--photo-viewer --load-extension --keyserver-options",
        ),
    ),
    "helm": options(
        "-d --destination --output-dir",
        "--post-renderer --kubeconfig --registry-config --repository-config",
        commands="plugin",
    ),
    "ack": options(refused="--pager --files-from -x --ackrc --output"),
    "ncat": options("-o -x --output --hex-dump", "-e -c --exec --sh-exec --lua-exec"),
    "xmllint": options(
        "--output -o", "--shell --noent --xinclude --loaddtd --valid --postvalid --dtdvalid --load-trace"
    ),
    "yq": options(changes="-i --inplace"),
    "dot": options("-o"),
    "pandoc": options("-o --output --extract-media --log", "-F -L --filter --lua-filter --pdf-engine -d --defaults"),
    "brotli": options("-o --output"),
    "lzop": options("-o -p --output --path"),
}
