"""This module asks a server of Temporal which cluster it is: one cluster may have several addresses."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from temporalio.client import Client

WITHIN: Final = timedelta(seconds=3)


async def cluster_id(client: Client) -> str:
    """Return the id of the client's cluster; an empty text where the server does not tell, as Temporal Cloud."""
    from temporalio.api.workflowservice.v1 import GetClusterInfoRequest
    from temporalio.service import RPCError

    try:
        return (await client.workflow_service.get_cluster_info(GetClusterInfoRequest(), timeout=WITHIN)).cluster_id
    except RPCError:
        return ""
