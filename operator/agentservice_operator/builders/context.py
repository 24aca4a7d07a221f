"""What a build needs besides the spec: values, never clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from agentservice_operator.api.v1alpha1.well_known import OPTIONAL_KINDS
from agentservice_operator.builders.defaults import AgentDefaults


@dataclass(frozen=True, slots=True)
class BuildContext:
    """The installation, and the content of what the spec refers to.

    Args:
        runtime_image: Image of the agent runtime where the spec names none.
        config_map_values: Content by (ConfigMap name, key) of every key that goes into the configuration.
        trust_bundle_digests: Digest by (ConfigMap name, key) of every key that holds certificate authorities.
        operator_namespace: Where the operator runs, which asks pods for their state.
        defaults: What the installation decides where the spec says nothing.
        served_kinds: Those of ``OPTIONAL_KINDS`` that the API server has.
    """

    runtime_image: str
    config_map_values: Mapping[tuple[str, str], str] = field(default_factory=lambda: MappingProxyType({}))
    trust_bundle_digests: Mapping[tuple[str, str], str] = field(default_factory=lambda: MappingProxyType({}))
    operator_namespace: str = "agentservice-system"
    defaults: AgentDefaults = field(default_factory=AgentDefaults)
    served_kinds: frozenset[str] = OPTIONAL_KINDS
