"""What a build needs besides the spec: values, never clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class BuildContext:
    """Install-wide defaults and the content of what the spec refers to.

    Args:
        runtime_image: Image of the agent runtime where the spec names none.
        config_map_values: Content by (ConfigMap name, key) of every key that goes into the configuration.
    """

    runtime_image: str
    config_map_values: Mapping[tuple[str, str], str] = field(default_factory=lambda: MappingProxyType({}))
