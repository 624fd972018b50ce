"""The lists of allowed and blocked programs hold for every name and path of a program."""

import os
from pathlib import Path

import pytest

from kubiya_worker.tools.base import ToolContext
from kubiya_worker.tools.shell.allowed_programs import AllowedPrograms, trusted_path
from kubiya_worker.tools.shell.command_line import CommandRefused, parse
from kubiya_worker.tools.shell.private_files import private_places
from kubiya_worker.tools.shell.skill import Shell
from kubiya_worker.tools.skill_configuration import Skill
from tests.unit.tools.cases import cases

ATTACKS = cases("argument_injection.txt")
BENIGN = cases("argument_benign.txt")
PROGRAMS = {line.split()[0] for line in ATTACKS + BENIGN}


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/true\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    for name in PROGRAMS | {"id", "sh", "rm"}:
        program(tmp_path / "bin" / name)
    (tmp_path / "desk").mkdir()
    return tmp_path / "bin"


@pytest.fixture
def allowance(bin_folder: Path, tmp_path: Path) -> AllowedPrograms:
    return AllowedPrograms(
        frozenset(PROGRAMS), search_path=(str(bin_folder),), private=(tmp_path / "home" / ".kubiya",)
    )


def test_the_lists_are_long_enough_and_of_one_size() -> None:
    assert len(BENIGN) >= len(ATTACKS) >= 40


def checked(allowance: AllowedPrograms, line: str, folder: Path) -> str:
    """Return the program that a line may start, or "" where it is refused."""
    try:
        return allowance.check(parse(line)[0].argv, folder)
    except CommandRefused:
        return ""


def test_dangerous_arguments_of_allowed_programs_are_refused(allowance: AllowedPrograms, tmp_path: Path) -> None:
    assert [line for line in ATTACKS if checked(allowance, line, tmp_path / "desk")] == []


def test_ordinary_arguments_are_allowed(allowance: AllowedPrograms, tmp_path: Path, bin_folder: Path) -> None:
    found = {line: checked(allowance, line, tmp_path / "desk") for line in BENIGN}
    assert found == {line: str(bin_folder / line.split()[0]) for line in BENIGN}


@pytest.mark.parametrize("name", ["id", "sh", "./ls", "desk/ls", "../desk/ls", "nothing", "ls ", "LS", "", "."])
def test_what_is_not_listed_is_refused(name: str, allowance: AllowedPrograms, tmp_path: Path) -> None:
    program(tmp_path / "desk" / "ls")
    with pytest.raises(CommandRefused):
        allowance.check([name], tmp_path / "desk")


def test_a_path_counts_only_inside_the_search_path(
    allowance: AllowedPrograms, bin_folder: Path, tmp_path: Path
) -> None:
    evil = program(tmp_path / "evil" / "ls")
    with pytest.raises(CommandRefused, match="search path"):
        allowance.check([str(evil)], tmp_path)
    assert allowance.check([str(bin_folder / "ls")], tmp_path) == str(bin_folder / "ls")
    assert allowance.check([f"{bin_folder}/../bin/ls"], tmp_path) == str(bin_folder / "ls")
    (tmp_path / "link").symlink_to(bin_folder)
    assert allowance.check([str(tmp_path / "link" / "ls")], tmp_path)
    (tmp_path / "desk" / "ls").symlink_to(bin_folder / "sh")
    with pytest.raises(CommandRefused):
        allowance.check(["./ls"], tmp_path / "desk")


def test_a_blocked_program_is_blocked_under_every_name_it_has(bin_folder: Path, tmp_path: Path) -> None:
    program(bin_folder / "python3.11")
    (bin_folder / "python3").symlink_to("python3.11")
    (bin_folder / "snake").symlink_to("python3")
    everything = AllowedPrograms(frozenset({"*"}), frozenset({"python3", "rm"}), (str(bin_folder),))
    for name in ("python3", "snake", "rm", str(bin_folder / "rm")):
        with pytest.raises(CommandRefused, match="blocked"):
            everything.check([name], tmp_path)
    assert everything.check(["ls"], tmp_path)
    both = AllowedPrograms(frozenset({"rm", "ls"}), frozenset({"rm"}), (str(bin_folder),))
    with pytest.raises(CommandRefused, match="blocked"):
        both.check(["rm"], tmp_path)


def test_with_a_blocked_list_interpreters_and_launchers_lead_nowhere(bin_folder: Path, tmp_path: Path) -> None:
    allowance = AllowedPrograms(frozenset({"*"}), frozenset({"rm"}), (str(bin_folder),))
    for argv in (["sh", "-c", "rm x"], ["env", "rm", "x"], ["find", ".", "-exec", "rm", "{}", ";"]):
        with pytest.raises(CommandRefused):
            allowance.check(argv, tmp_path)


def test_everything_means_everything_but_the_inside_of_processes(bin_folder: Path, tmp_path: Path) -> None:
    allowance = AllowedPrograms(frozenset({"*"}), search_path=(str(bin_folder),))
    assert allowance.check(["sh", "-c", "rm x"], tmp_path)
    assert allowance.check(["find", ".", "-delete"], tmp_path)
    with pytest.raises(CommandRefused, match="inside of a process"):
        allowance.check(["cat", "/proc/1/environ"], tmp_path)


def test_the_name_behind_a_link_counts_for_its_dangers(bin_folder: Path, tmp_path: Path) -> None:
    (bin_folder / "search").symlink_to("find")
    allowance = AllowedPrograms(frozenset({"search"}), search_path=(str(bin_folder),))
    with pytest.raises(CommandRefused, match="-delete"):
        allowance.check(["search", ".", "-delete"], tmp_path)


def test_a_multicall_binary_acts_by_the_name_it_is_called(bin_folder: Path, tmp_path: Path) -> None:
    program(bin_folder / "busybox")
    (bin_folder / "wc").symlink_to("busybox")
    allowance = AllowedPrograms(frozenset({"wc", "ls"}), frozenset({"busybox"}), (str(bin_folder),))
    assert allowance.check(["wc", "-l"], tmp_path) == str(bin_folder / "wc")
    with pytest.raises(CommandRefused):
        allowance.check(["busybox", "sh"], tmp_path)


@pytest.mark.parametrize(
    "applet", ["sh -c id", "ash", "vi", "telnetd -l id", "start-stop-daemon -x id", "--install /x"]
)
def test_a_listed_multicall_binary_runs_what_is_plain_and_what_is_listed(
    applet: str, bin_folder: Path, tmp_path: Path
) -> None:
    program(bin_folder / "busybox")
    allowance = AllowedPrograms(frozenset({"busybox", "ed"}), search_path=(str(bin_folder),))
    for words in (["ls", "-l"], ["--help"], ["ed", "a.txt"], ["wget", "-qO-", "http://example.com"], []):
        assert allowance.check(["busybox", *words], tmp_path)
    for words in (applet.split(), ["find", ".", "-exec", "id", ";"], ["cat", "/proc/1/environ"], ["env", "id"]):
        with pytest.raises(CommandRefused):
            allowance.check(["busybox", *words], tmp_path)


def test_links_in_the_workspace_do_not_lead_to_secrets(allowance: AllowedPrograms, tmp_path: Path) -> None:
    private = tmp_path / "home" / ".kubiya"
    private.mkdir(parents=True)
    (private / "key").write_text("kby_secret")
    work = tmp_path / "desk"
    (work / "innocent").symlink_to(private / "key")
    (work / "folder").symlink_to(private)
    (work / "environment").symlink_to(f"/proc/{os.getpid()}/environ")
    for argument in ("innocent", "folder/key", "environment", str(private / "key"), "../home/.kubiya/key"):
        with pytest.raises(CommandRefused):
            allowance.check(["cat", argument], work)


def test_a_workspace_among_the_workers_files_can_be_read(allowance: AllowedPrograms, tmp_path: Path) -> None:
    work = tmp_path / "home" / ".kubiya" / "workspaces" / "e1"
    work.mkdir(parents=True)
    assert allowance.check(["cat", "notes.txt"], work)
    assert allowance.check(["cat", str(work / "notes.txt")], work)
    with pytest.raises(CommandRefused):
        allowance.check(["cat", "../e2/notes.txt"], work)


def test_folders_that_everybody_can_write_to_are_not_trusted(tmp_path: Path) -> None:
    good, open_to_all, workspace = tmp_path / "good", tmp_path / "open", tmp_path / "workspace"
    for folder in (good, open_to_all, workspace / "bin"):
        folder.mkdir(parents=True)
    open_to_all.chmod(0o777)
    value = f"{good}:{open_to_all}:{workspace / 'bin'}:relative::.:{tmp_path / 'missing'}:{good}"
    assert trusted_path(value, outside=workspace) == (str(good),)
    assert trusted_path(str(good), outside=Path("/")) == (str(good),)


def test_keys_that_a_service_or_a_container_gets_as_files_are_private(bin_folder: Path, tmp_path: Path) -> None:
    credentials, mounted, home = tmp_path / "credentials", tmp_path / "run" / "token", tmp_path / "home"
    credentials.mkdir()
    mounted.parent.mkdir()
    for file in (credentials / "api-key", mounted, mounted.with_name("other")):
        file.write_text("kby_secret")
    environ = {
        "CREDENTIALS_DIRECTORY": str(credentials),
        "KUBIYA_API_KEY_FILE": str(credentials / "api-key"),
        "OPENAI_API_KEY_FILE": str(mounted),
        "KUBIYA_ALIVE_FILE": str(tmp_path / "alive"),
        "EMPTY_TOKEN_FILE": "",
    }
    private = private_places(environ, home)
    assert set(private) == {home / ".kubiya", credentials, credentials / "api-key", mounted}
    allowance = AllowedPrograms(frozenset(PROGRAMS), search_path=(str(bin_folder),), private=private)
    work = tmp_path / "desk"
    (work / "link").symlink_to(mounted)
    key = str(credentials / "api-key")
    for argv in (["cat", key], ["cat", "../run/token"], ["cat", "link"], ["ls", str(credentials)]):
        with pytest.raises(CommandRefused, match="belongs to the worker"):
            allowance.check(argv, work)
    assert allowance.check(["cat", "../run/other"], work)


def test_a_recursive_reader_does_not_reach_them_from_above(allowance: AllowedPrograms, tmp_path: Path) -> None:
    (tmp_path / "home" / ".kubiya").mkdir(parents=True)
    for folder in (str(tmp_path / "home"), str(tmp_path), ".."):
        with pytest.raises(CommandRefused, match="the worker's own files"):
            allowance.check(["grep", "-r", "kby_", folder], tmp_path / "desk")
    assert allowance.check(["grep", "-r", "kby_", "."], tmp_path / "desk")


@pytest.mark.parametrize("confinement", ["on", "off"])
def test_write_paths_are_where_a_line_may_write_confined_or_not(confinement: str, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("ws", "declared", "other")]
    for folder in folders:
        folder.mkdir()
    workspace, declared, other = folders
    given = {"allowed_commands": ["cp"], "write_paths": [str(declared)], "confinement": confinement}
    shell = Shell(Skill("ops", "shell", given), workspace)
    context = ToolContext("e", "t", workspace)
    for place in (f"{declared}/b", "b"):
        assert shell.prepared({"command": f"cp /etc/hosts {place}"}, context).pipe.programs
    with pytest.raises(CommandRefused, match="outside of the workspace"):
        shell.prepared({"command": f"cp /etc/hosts {other}/b"}, context)
