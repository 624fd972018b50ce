"""Command lines are split as a shell splits them, and those that need a shell are refused."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubiya_worker.tools.shell import command_line
from tests.unit.tools.cases import cases


@pytest.mark.parametrize("line", cases("command_syntax.txt"))
def test_what_needs_a_shell_is_refused(line: str) -> None:
    with pytest.raises(command_line.CommandRefused):
        command_line.parse(line)


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        ("ls -la", ["ls", "-la"]),
        ("  ls\t-la \n", ["ls", "-la"]),
        ("""grep 'a|b' "c d" e\\ f""", ["grep", "a|b", "c d", "e f"]),
        ("""awk '{print $1}' x""", ["awk", "{print $1}", "x"]),
        ("""echo "a\\"b\\$c\\\\d\\e" """, ["echo", 'a"b$c\\d\\e']),
        ("""echo '' "" a''b""", ["echo", "", "", "ab"]),
        ("""echo 'don'\\''t'""", ["echo", "don't"]),
        ("echo a\\\nb", ["echo", "ab"]),
        ("grep 5$ x", ["grep", "5$", "x"]),
        ("find . -name *.log", ["find", ".", "-name", "*.log"]),
    ],
)
def test_quoting_is_that_of_a_shell(line: str, argv: list[str]) -> None:
    assert [list(each.argv) for each in command_line.parse(line)] == [argv]


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
def test_quoted_words_come_back_as_they_were(words: list[str]) -> None:
    assert [list(each.argv) for each in command_line.parse("x " + shlex.join(words))] == [["x", *words]]


@pytest.mark.parametrize("line", ["", "   ", "\n", "ls \0", "x" * 40_000])
def test_empty_and_impossible_commands_are_refused(line: str) -> None:
    with pytest.raises(command_line.CommandRefused):
        command_line.parse(line)


def test_patterns_are_named_so_that_the_result_can_say_that_they_were_not_expanded() -> None:
    assert command_line.parse("ls *.log '*.txt' ~/x a{b,c}")[0].patterns == ("*.log", "~/x", "a{b,c}")


def test_several_lines_are_refused_with_a_sentence_for_the_model() -> None:
    with pytest.raises(command_line.CommandRefused, match="one program"):
        command_line.parse("ls\nid")


@pytest.mark.parametrize("line", ["ps -e | grep 'a|b'|wc -l", 'ps -e| grep "a|b" |wc -l'])
def test_a_pipe_is_several_programs(line: str) -> None:
    assert [list(each.argv) for each in command_line.parse(line)] == [["ps", "-e"], ["grep", "a|b"], ["wc", "-l"]]


@pytest.mark.parametrize("line", ["| wc", "ls |", "ls | | wc", "ls || wc", "ls |& wc", " | ".join(["cat"] * 11)])
def test_a_pipe_without_a_program_on_each_side_is_refused(line: str) -> None:
    with pytest.raises(command_line.CommandRefused):
        command_line.parse(line)


@pytest.mark.parametrize(
    ("line", "way"),
    [
        ("cd /var", "working_directory"),
        ("cd /var && ls", "working_directory"),
        ("export A=1", "env NAME=value"),
        ("export A=1; env", "env NAME=value"),
        ("source ./x", "Run the program itself"),
        ("for x in a b; do echo $x; done", "one call for each program"),
        ("A=1 ls", "env NAME=value"),
    ],
)
def test_what_a_shell_does_by_itself_is_refused_with_the_way_that_works(line: str, way: str) -> None:
    with pytest.raises(command_line.CommandRefused, match=way):
        command_line.parse(line)
