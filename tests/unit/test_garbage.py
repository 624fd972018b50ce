"""The looks for unused objects leave out what imports made."""

from __future__ import annotations

import gc

import pytest

from kubiya_worker import garbage


@pytest.mark.parametrize("keep", [False, True])
def test_what_was_made_meanwhile_is_left_out_of_later_looks_where_it_stays(keep: bool) -> None:
    try:
        with garbage.paused(keep=keep):
            made: list[list[int]] = [[] for _ in range(1000)]
            assert not gc.isenabled()
        assert gc.isenabled()
        looked_at = {id(each) for each in gc.get_objects()}  # without those that are frozen
        assert {id(each) in looked_at for each in made} == {not keep}
    finally:
        gc.unfreeze()
