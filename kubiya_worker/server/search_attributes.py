"""This module says which of our search attributes a namespace of Temporal knows, and adds those that it lacks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kubiya_worker.protocol import search

if TYPE_CHECKING:
    from temporalio.client import Client

WITHIN: Final = timedelta(seconds=5)  # for one answer


async def known(client: Client) -> frozenset[str]:
    """Return those of our attributes that the namespace has as keywords; none where Temporal does not tell."""
    from temporalio.api.enums.v1 import IndexedValueType
    from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
    from temporalio.service import RPCError

    request = ListSearchAttributesRequest(namespace=client.namespace)
    try:
        listed = await client.operator_service.list_search_attributes(request, timeout=WITHIN)
    except RPCError:
        return frozenset()
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    return frozenset(name for name in search.ALL if listed.custom_attributes.get(name) == keyword)


async def add(client: Client) -> list[str]:
    """Add the attributes that the namespace lacks, and return their names. Raises RPCError where it is not allowed."""
    from temporalio.api.enums.v1 import IndexedValueType
    from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest

    present = await known(client)
    missing = [name for name in search.ALL if name not in present]
    if missing:
        keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
        request = AddSearchAttributesRequest(
            namespace=client.namespace, search_attributes=dict.fromkeys(missing, keyword)
        )
        await client.operator_service.add_search_attributes(request, timeout=WITHIN)
    return missing
