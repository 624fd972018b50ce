"""This module knows which models take images. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

SETTING: Final = "vision"  # a key of an agent's llm_config: true or false; without it the families below decide

# Families whose models take images, from their providers' pages, matched in the last part of the id. Other models get
# no images: an endpoint refuses the whole request for an image that its model does not take.
_FAMILIES: Final = re.compile(
    r"claude-(?:3|[a-z]+-[4-9]|[4-9])|claude-(?:opus|sonnet|haiku|fable)"
    r"|gpt-4o|gpt-4\.1|gpt-4-turbo|gpt-4\.5|gpt-[5-9]|chatgpt-4o|(?:^|[^a-z0-9])o[1345](?:-pro)?(?:$|[^a-z])"
    r"|gemini|gemma-?3|llama-?3\.2-(?:11|90)b|llama-?4|pixtral|mistral-(?:small-3|medium-3|large-3)|llava|bakllava|moondream"
    r"|qwen[0-9.]*-?(?:vl|omni)|internvl|minicpm-v|phi-?(?:3(?:\.5)?-vision|4-multimodal)|grok-(?:2-vision|[4-9])"
    r"|nova-(?:lite|pro|premier)|(?:^|[-_/.])vl(?:$|[-_/.:])|vision"
)
_NOT: Final = re.compile(
    r"o1-mini|o1-preview|o3-mini|claude-3-5-haiku|gpt-[5-9][a-z.0-9-]*-codex-spark|embed|whisper|tts"
)


def takes_images(model_id: str, settings: Mapping[str, Any]) -> bool:
    """Return True when an image may be sent to the model."""
    setting = settings.get(SETTING)
    if isinstance(setting, bool):
        return setting
    name = model_id.lower()
    return bool(_FAMILIES.search(name)) and not _NOT.search(name)
