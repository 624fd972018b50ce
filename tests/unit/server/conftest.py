"""One control plane inside the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.api import Api


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    from tests.support.api import Api  # the small environment of ./scripts/test --unit has not what it needs

    with Api(tmp_path_factory.mktemp("api")) as running:
        yield running
