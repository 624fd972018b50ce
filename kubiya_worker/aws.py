"""This module makes boto3 sessions whose secret variables come from a mapping, not from the process's environment.

All other sources (profiles, roles, the instance) stay as boto3 has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

BEARER: Final = "AWS_BEARER_TOKEN_BEDROCK"


def session(variables: Mapping[str, str]) -> Any:
    """Return a boto3 session; raise ImportError when boto3 is not installed."""
    import boto3
    import botocore.session
    from botocore.credentials import ContainerProvider, EnvProvider
    from botocore.tokens import ScopedEnvTokenProvider, TokenProviderChain

    core = botocore.session.Session()
    providers = core.get_component("credential_provider").providers
    for at, provider in enumerate(providers):
        if isinstance(provider, EnvProvider):
            provider.environ = variables
        elif isinstance(provider, ContainerProvider):
            providers[at] = ContainerProvider(environ=variables)
    if variables.get(BEARER):
        core.register_component("token_provider", TokenProviderChain([ScopedEnvTokenProvider(core, variables)]))
    return boto3.Session(botocore_session=core)
