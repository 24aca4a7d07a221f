"""Names of children, all derived from the AgentService's own."""

from __future__ import annotations

from agentservice_operator.builders.hashing import short_hash

LONGEST = 63
"""Characters of a DNS label (RFC 1123): the tightest limit that any child's name meets."""


def child_name(owner: str, suffix: str) -> str:
    """``owner + suffix``, the owner's part cut and marked with a hash where that would pass 63 characters.

    Args:
        owner: Name of the AgentService.
        suffix: What tells this child from others, with its leading dash; kept whole, so at most 53 characters.
    """
    if len(owner) + len(suffix) <= LONGEST:
        return owner + suffix
    mark = f"-{short_hash(owner)}"
    return owner[: LONGEST - len(mark) - len(suffix)].rstrip("-") + mark + suffix


def workers(service: str) -> str:
    """What belongs to the pods that do tasks."""
    return child_name(service, "-worker")


def generated_secret(service: str) -> str:
    """The Secret with the generated API keys."""
    return child_name(service, "-api-keys")


def data_claim(service: str) -> str:
    """The PersistentVolumeClaim with the conversations."""
    return child_name(service, "-data")


def config_map(service: str, content_hash: str) -> str:
    """The ConfigMap with one version of the runtime's configuration."""
    return child_name(service, f"-config-{content_hash}")
