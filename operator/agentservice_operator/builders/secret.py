"""The Secret with the API keys that callers use."""

from __future__ import annotations

from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.api.v1alpha1.well_known import API_KEY_ROTATION_ANNOTATION
from agentservice_operator.builders.labels import Object, child_metadata
from agentservice_operator.builders.names import generated_secret


def build_api_keys_secret(service: AgentService) -> Object | None:
    """The Secret NAME-api-keys without its data: random, so not the same each time; the engine makes and rotates it.

    None where somebody else keeps the keys. One that was made before stays, for whoever comes back to it.
    """
    if service.spec.access.api_keys.source != "Generated":
        return None
    rotation = service.spec.access.api_keys.rotation
    annotations = {API_KEY_ROTATION_ANNOTATION: str(rotation)} if rotation > 1 else None
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": child_metadata(service, generated_secret(service.metadata.name), annotations=annotations),
        "type": "Opaque",
    }
