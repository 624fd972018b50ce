"""Folders of workers: nothing of a queue's name leads outside, and two names of a queue lead to one folder."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from kubiya_worker.errors import ConfigurationError, TemporaryFailure, UsageError
from kubiya_worker.launch.home import Home, find, homes, started


@pytest.mark.parametrize(
    "queue", ["..", ".", "", "../q", "a/b", "/etc", "a\0b", "-rf", ".hidden", "a\nb", "~root", "ü", "x" * 129]
)
def test_a_queue_id_cannot_leave_the_folder(queue: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        find(queue, root=tmp_path)


@pytest.mark.parametrize("queue", ["default", "my-queue", "A.b_c-9", "7b1e9c2e-0000-4000-8000-000000000000", "x" * 128])
def test_ordinary_ids_are_folders(queue: str, tmp_path: Path) -> None:
    assert find(queue, root=tmp_path).folder == tmp_path / queue


@pytest.mark.parametrize("instance", [0, -1, 100])
def test_instances_have_numbers(instance: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        find("q", instance, root=tmp_path)


def test_instances_share_the_venv_and_nothing_else(tmp_path: Path) -> None:
    one, two = find("q", root=tmp_path), find("q", 2, root=tmp_path)
    assert one.venv == two.venv and one.requirements == two.requirements
    own = ("pid_file", "info_file", "state_file", "status_file", "log_file", "script")
    assert not {getattr(one, name) for name in own} & {getattr(two, name) for name in own}


def test_a_file_that_cannot_be_written_is_one_line_with_a_remedy_and_leaves_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = find("q", root=tmp_path)
    home.make()
    home.write(home.script, "before")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(TemporaryFailure) as caught:
        home.write(home.script, "after")
    assert caught.value.line() == (
        f"{home.script} cannot be written: No space left on device. df -h {home.folder}; df -i {home.folder}"
    )
    assert home.script.read_text() == "before" and not list(home.folder.glob(".*"))


def test_folders_are_private_and_files_are_too(tmp_path: Path) -> None:
    home = find("q", 2, root=tmp_path / "workers")
    (tmp_path / "workers" / "q").mkdir(mode=0o755, parents=True)
    home.make()
    home.write(home.script, "x")
    for folder in (home.queue_folder, home.folder, home.logs):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.script.stat().st_mode) == 0o600


def test_a_file_in_the_way_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "q").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Home(tmp_path / "q").make()


def test_both_names_of_a_queue_lead_to_one_folder(tmp_path: Path) -> None:
    home = find("my-queue", root=tmp_path)
    home.make()
    home.link("0f0f-id")
    home.link("0f0f-id")
    assert find("0f0f-id", root=tmp_path) == home
    assert list(homes(tmp_path)) == [home]


def test_a_folder_of_its_own_is_never_replaced_by_a_link(tmp_path: Path) -> None:
    home, other = find("a", root=tmp_path), find("b", root=tmp_path)
    home.make()
    other.make()
    home.link("b")
    assert find("b", root=tmp_path) == other


@pytest.mark.parametrize("target", ["/nowhere", "../elsewhere", ".", "..", "gone"])
def test_a_link_elsewhere_is_no_other_name(target: str, tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "workers" / "q").symlink_to(target)
    home = find("q", root=tmp_path / "workers")
    assert home.queue_folder == tmp_path / "workers" / "q"


def test_a_person_may_keep_a_workers_folder_on_another_disk(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "q").symlink_to(tmp_path / "disk")
    home = find("q", root=tmp_path / "workers")
    home.make()
    assert (tmp_path / "disk" / "logs").is_dir()
    assert list(homes(tmp_path / "workers")) == [home]


def test_all_that_exist_are_listed(tmp_path: Path) -> None:
    for queue, instance in (("b", 1), ("a", 1), ("a", 2), ("a", 10)):
        find(queue, instance, root=tmp_path).make()
    (tmp_path / "stray-file").write_text("")
    assert [(h.queue, h.instance) for h in homes(tmp_path)] == [("a", 1), ("a", 2), ("a", 10), ("b", 1)]


def test_a_folder_without_a_supervisor_is_no_started_worker(tmp_path: Path) -> None:
    for queue in ("misspelt", "runs", "killed"):
        find(queue, root=tmp_path).make()
    find("runs", root=tmp_path).state_file.write_text("{}")
    find("killed", 2, root=tmp_path).make()
    find("killed", 2, root=tmp_path).pid_file.write_text("{}")
    assert [(home.queue, home.instance) for home in started(tmp_path)] == [("killed", 2), ("runs", 1)]
