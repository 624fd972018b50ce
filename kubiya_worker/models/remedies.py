"""This module names, for a remedy, the variables that hold a provider's key and its address. Pure."""

from __future__ import annotations

from typing import Final

_ENDPOINT: Final = (
    "LITELLM_API_KEY, or the provider's own key or credentials, in the worker's environment",
    "LITELLM_API_BASE or OPENAI_BASE_URL",
)
# By Connection.place, which is the provider's name where the package knows the address itself.
_VARIABLES: Final = {
    "anthropic": ("ANTHROPIC_API_KEY in the worker's environment", "ANTHROPIC_BASE_URL"),
    "google": ("GOOGLE_API_KEY in the worker's environment", "GOOGLE_GEMINI_BASE_URL"),
    "bedrock": (
        "the AWS credentials in the worker's environment (AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_BEARER_TOKEN_BEDROCK)",
        "AWS_REGION, or AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
    ),
}


def key(place: str) -> str:
    """Return what to check when the key is wrong."""
    return f"Check {_VARIABLES.get(place, _ENDPOINT)[0]}"


def variables_of_address(place: str) -> str:
    return _VARIABLES.get(place, _ENDPOINT)[1]


def address(place: str) -> str:
    """Return what to check when the address is wrong."""
    return f"Check the endpoint's address ({variables_of_address(place)})"
