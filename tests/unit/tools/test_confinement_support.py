"""The product says where the kernel cannot confine, and the setting decides what happens then."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools.confinement import paths, profile, seccomp, support
from kubiya_worker.tools.confinement.support import Support
from kubiya_worker.tools.skill_configuration import Skill


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    mode, private = support.mode(), support.private()
    yield
    support.use(mode, private)


def cannot(monkeypatch: pytest.MonkeyPatch, code: int) -> Support:
    found = support.explain(code)
    monkeypatch.setattr(support, "probe", lambda: found)
    return found


def test_a_unit_that_forbids_it_is_told_from_a_kernel_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "unit or container forbids" in cannot(monkeypatch, errno.EPERM).reason
    assert "SystemCallFilter=landlock_create_ruleset" in support.probe().remedy
    assert "has no Landlock" in cannot(monkeypatch, errno.ENOSYS).reason
    assert "switched off" in cannot(monkeypatch, errno.EOPNOTSUPP).reason


def test_prefer_runs_tools_without_and_says_so_and_require_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    cannot(monkeypatch, errno.ENOSYS)
    support.use(support.PREFER)
    assert support.is_active() is False
    assert support.line().startswith("none: this kernel has no Landlock")
    support.use(support.REQUIRE)
    with pytest.raises(ConfigurationError, match="KUBIYA_CONFINEMENT is require"):
        support.is_active()
    support.use(support.OFF)
    assert support.is_active() is False and support.line().startswith("off:")
    with pytest.raises(ValueError, match="none of"):
        support.use("maybe")


def test_a_skill_declares_paths_and_grants_and_a_mistake_is_refused(tmp_path: Path) -> None:
    keys = {"read_paths": ["/srv/data"], "write_paths": "/srv/out", "grants": ["docker", "signals"], "network": False}
    declared = profile.of_skill(Skill("ops", "shell", keys), tmp_path)
    made = declared.profile
    assert made is not None and not declared.confirms
    assert "/srv/data" in made.reads and "/srv/out" in made.writes
    assert made.unix_sockets and made.signals and not made.network
    for wrong in (
        {"read_paths": ["data"]},
        {"read_paths": ["/srv/../etc"]},
        {"write_paths": [str(Path.home() / ".kubiya")]},
        {"grants": ["dokcer"]},
        {"network": "no"},
        {"confinement": "partly"},
        {"confinement": "off", "grants": ["docker"]},
        {"confinement": "off", "write_paths": ["/srv"]},
    ):
        with pytest.raises(ConfigurationError, match=next(reversed(wrong))):
            profile.of_skill(Skill("ops", "shell", wrong), tmp_path)


def test_another_workspace_and_the_workers_folders_cannot_be_declared(tmp_path: Path) -> None:
    support.use(support.PREFER, [tmp_path])
    for place in (tmp_path, tmp_path / "other", tmp_path / "other" / "file"):
        with pytest.raises(ConfigurationError) as refused:
            profile.of_skill(Skill("ops", "shell", {"read_paths": [str(place)]}), tmp_path / "mine")
        assert "worker's own folders" in refused.value.line()
    assert profile.of_skill(Skill("ops", "shell", {"read_paths": [str(tmp_path / "mine")]}), tmp_path / "mine")


def test_an_unconfined_skill_asks_a_person_first(tmp_path: Path) -> None:
    for word in ("off", False):  # YAML reads the word as the value
        declared = profile.of_skill(Skill("ops", "shell", {"confinement": word}), tmp_path)
        assert declared.profile is None and declared.confirms and declared.applied() is None


def test_a_path_is_allowed_without_what_is_private_below_it(tmp_path: Path) -> None:
    for name in ("a/one", "a/keys/key", "b/two"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    root = os.path.realpath(tmp_path)
    assert list(paths.without(root, ())) == [root]
    allowed = list(paths.without(root, (f"{root}/a/keys",)))
    assert sorted(allowed) == [f"{root}/a/one", f"{root}/b"]
    assert list(paths.without(f"{root}/a/keys/key", (f"{root}/a/keys",))) == []


def test_of_etc_only_what_every_user_may_read_is_allowed(tmp_path: Path) -> None:
    for name, mode in (("open/a", 0o644), ("mixed/a", 0o644), ("mixed/key", 0o600), ("closed/a", 0o644)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    (tmp_path / "open").chmod(0o755)
    (tmp_path / "mixed").chmod(0o755)
    (tmp_path / "closed").chmod(0o700)
    found = paths.readable_by_all(str(tmp_path))
    assert sorted(found) == [f"{tmp_path}/mixed/a", f"{tmp_path}/open"]


@pytest.mark.parametrize("machine", sorted(seccomp.ARCHITECTURES))
def test_every_jump_of_the_filter_ends_inside_it(machine: str) -> None:
    """The kernel refuses a filter with a jump past its end, but on one architecture only can that be tried."""
    for families in ((), seccomp.NETWORK, (*seccomp.NETWORK, seccomp.UNIX)):
        code = seccomp.program(machine, families)
        size = len(code) // 8
        for index in range(size):
            kind, if_true, if_false = code[index * 8], code[index * 8 + 2], code[index * 8 + 3]
            if kind & 7 == 5:
                assert index + 1 + max(if_true, if_false) < size
        assert code[(size - 1) * 8] == 6, "it ends with an answer"


def test_a_program_reads_the_installation_that_it_belongs_to(tmp_path: Path) -> None:
    venv, python, modules = tmp_path / "venv", tmp_path / "python", tmp_path / "app" / "node_modules"
    for folder in (venv / "bin", python / "bin", modules / ".bin", tmp_path / "keys" / "bin"):
        folder.mkdir(parents=True)
    (python / "bin" / "python3").touch()
    (venv / "pyvenv.cfg").write_text(f"home = {python}/bin\nversion = 3.11.7\n")
    assert profile.folders_of_programs([f"{venv}/bin"]) == tuple(
        str(each) for each in (venv / "bin", venv, python / "bin", python / "lib")
    )
    assert profile.folders_of_programs([f"{modules}/.bin"]) == (f"{modules}/.bin", str(modules))
    (venv / "pyvenv.cfg").write_text(f"home = {tmp_path}/keys/bin\n")
    assert profile.folders_of_programs([f"{venv}/bin"]) == (f"{venv}/bin", str(venv)), "no Python is there"
    (venv / "pyvenv.cfg").write_text(f"home = {tmp_path}/{'long' * 100}/bin\n")
    assert profile.folders_of_programs([f"{venv}/bin"]) == (f"{venv}/bin", str(venv)), "the kernel refuses to look"
