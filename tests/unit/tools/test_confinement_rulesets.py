"""A kept ruleset is used again, and never for something that it was not made for."""

import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kubiya_worker.tools.confinement import landlock, spawn, support
from kubiya_worker.tools.confinement.process_profile import Profile
from kubiya_worker.tools.confinement.profile import make
from kubiya_worker.tools.confinement.rulesets import LIFETIME, Rulesets

pytestmark = pytest.mark.skipif(not support.probe().abi, reason=f"no confinement here: {support.probe().reason}")


class Now:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def kept(now: Now) -> Iterator[Rulesets]:
    found = Rulesets(3, now)
    yield found
    found.close()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the rulesets that are made; the rules are few, so that the tests are quick."""
    found: list[int] = []
    real = landlock.make_ruleset

    def count(version: int, rules: object, *, signals: bool = False) -> int:
        found.append(real(version, [("/usr", landlock.READ)], signals=signals))
        return found[-1]

    monkeypatch.setattr(landlock, "make_ruleset", count)
    return found


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def use(kept: Rulesets, profile: Profile) -> None:
    with kept.held(support.probe().abi, profile) as descriptor:
        assert not os.get_inheritable(descriptor)
        os.fstat(descriptor)


def test_one_is_made_for_a_profile_and_another_for_every_other(
    kept: Rulesets, made: list[int], now: Now, tmp_path: Path
) -> None:
    profile = make(tmp_path)
    use(kept, profile)
    use(kept, make(tmp_path))
    assert len(made) == 1
    for other in (make(tmp_path, network=False), make(tmp_path, grants=("signals",)), make(tmp_path, reads=("/srv",))):
        use(kept, other)
    assert len(made) == 4
    use(kept, profile)  # three are kept
    assert (len(made), len(kept)) == (5, 3)
    now.time += LIFETIME + 1
    use(kept, profile)
    assert len(made) == 6
    use(kept, profile.reading("/srv/python"))
    use(kept, profile.reading("/srv/python"))
    assert (len(made), len(kept)) == (7, 3)
    use(kept, replace(profile, once=True))
    use(kept, replace(profile, once=True))
    assert (len(made), len(kept)) == (9, 3)


def test_a_replaced_path_and_a_new_neighbour_of_a_private_place_make_a_new_one(
    kept: Rulesets, made: list[int], tmp_path: Path
) -> None:
    data, root = tmp_path / "data", Path(os.path.realpath(tmp_path))
    data.mkdir()
    profile = replace(make(tmp_path / "ws", reads=(str(data), str(root))), private=(str(root / "keys" / "key"),))
    use(kept, profile)
    data.rename(tmp_path / "old")
    data.mkdir()
    use(kept, profile)
    assert len(made) == 2
    use(kept, profile)
    assert len(made) == 2
    (root / "new").touch()
    use(kept, profile)
    assert len(made) == 3


def test_no_descriptor_is_left_or_closed_under_a_user(kept: Rulesets, made: list[int], tmp_path: Path) -> None:
    profiles = [make(tmp_path / str(number)) for number in range(8)]
    before, wrong = open_descriptors(), []

    def work() -> None:
        try:
            for profile in profiles * 5:
                use(kept, profile)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    kept.close()
    assert open_descriptors() == before


def test_a_program_does_not_read_what_has_replaced_a_declared_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = Rulesets()
    monkeypatch.setattr(spawn, "_rulesets", kept)
    data = tmp_path / "data"
    data.mkdir()
    (data / "a").write_text("first")
    profile = make(tmp_path / "ws", reads=(str(data),))

    def read(path: Path) -> str:
        return spawn.confined(
            profile, lambda: subprocess.run(["/bin/cat", path], capture_output=True, text=True, check=False).stdout
        )

    assert read(data / "a") == "first"
    data.rename(tmp_path / "away")
    data.mkdir()
    (data / "a").write_text("second")
    assert read(data / "a") == "second"
    assert read(tmp_path / "away" / "a") == ""
    assert len(kept) == 1
    kept.close()
