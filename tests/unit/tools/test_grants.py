"""This module checks which folders a grant opens on a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubiya_worker.tools.confinement import profile


def programs(folder: Path, *names: str) -> str:
    folder.mkdir()
    for name in names:
        (folder / name).write_text("")
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("installed", "there", "opened"),
    [
        ((), (), ["~/.cache"]),
        (("npm",), (), ["~/.npm", "~/.cache"]),
        (("uv", "yarn"), (), ["~/.cache", "~/.local/share/uv", "~/.yarn"]),
        ((), (".bun",), ["~/.cache", "~/.bun"]),
    ],
)
def test_packages_open_the_caches_of_what_is_installed(
    installed: tuple[str, ...],
    there: tuple[str, ...],
    opened: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", *installed))
    for name in there:
        (tmp_path / name).mkdir()
    assert list(profile.GRANTS["packages"].opened()) == opened
    made = profile.make(tmp_path / "workspace", grants=("packages",))
    assert list(made.writes) == [path.replace("~", str(tmp_path)) for path in opened]


def test_other_grants_open_their_folders_wherever() -> None:
    for name, grant in profile.GRANTS.items():
        assert set(grant.made_by) <= set(grant.writes), name
        if not grant.made_by:
            assert grant.opened() == grant.writes


def test_ansible_has_its_folder_the_keys_and_the_sockets_of_its_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    made = profile.make(tmp_path / "workspace", grants=("ansible",))
    assert made.writes == (str(tmp_path / ".ansible"),) and str(tmp_path / ".ssh") in made.reads and made.unix_sockets
