"""Commands over the routes of one control plane inside the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.api import Api
    from tests.support.commands import Commands


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    from tests.support.api import Api  # the small environment of ./scripts/test --unit has not what it needs

    with Api(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def kubiya(plane: Api, monkeypatch: pytest.MonkeyPatch) -> Commands:
    from tests.support.commands import Commands

    return Commands(plane, monkeypatch)
