"""These tests check that an offer is parsed once, and anew where its tools or its prompt are others."""

from __future__ import annotations

from dataclasses import replace

from kubiya_worker.activities.offer import Offer
from kubiya_worker.models import caching
from kubiya_worker.protocol.calls import Context
from kubiya_worker.protocol.tools import ToolSpec


def spec(name: str) -> ToolSpec:
    return ToolSpec(name, f"It is {name}")


def test_an_offer_holds_for_the_same_tools_and_prompt_only() -> None:
    context = Context("a", system_prompt="Be brief.", tools=[spec("look").wire(), spec("find").wire()])
    offer = Offer.of(context)
    assert offer.specs == [spec("look"), spec("find")]
    assert offer.cache_key == caching.key("a", "Be brief.", context.tools)
    assert offer.fits(context) and offer.fits(replace(context, tools_version=3))
    assert not offer.fits(replace(context, tools=[*context.tools, spec("new").wire()]))
    assert not offer.fits(replace(context, system_prompt="Be long."))
