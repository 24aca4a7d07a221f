"""The certificate authorities that the pods trust besides the public ones."""

from __future__ import annotations

import ssl

from agent_runtime.config import TRUST_BUNDLE_PATH
from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.hashing import short_hash
from agentservice_operator.builders.labels import Object
from agentservice_operator.builders.references import UnresolvedReference

MAX_TRUST_BUNDLE_BYTES = 512 * 1024
"""Twice all public authorities; a ConfigMap holds one MiB."""
VOLUME = "trust-bundle"


class UnusableTrustBundle(ValueError):  # noqa: N818 - says what is wrong
    """Pods could not start with it; the message says what it has or lacks, and goes after its name."""


def trust_bundle_digest(pem: str) -> str:
    """What changes whenever the bundle does.

    Raises:
        UnusableTrustBundle: It is none that OpenSSL reads.
    """
    if len(pem) > MAX_TRUST_BUNDLE_BYTES:
        raise UnusableTrustBundle(f"has more than {MAX_TRUST_BUNDLE_BYTES} bytes")
    if not pem.isascii():
        raise UnusableTrustBundle("has other letters than those of PEM")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        raise UnusableTrustBundle("has no certificates in PEM, or broken ones") from error
    return short_hash(pem)


def annotated_trust_bundle(service: AgentService, context: BuildContext) -> str | None:
    """The digest of the spec's bundle, None where it has none.

    Raises:
        UnresolvedReference: ``context`` lacks it.
    """
    if service.spec.runtime.trust_bundle is None:
        return None
    reference = service.spec.runtime.trust_bundle.config_map_key_ref
    try:
        return context.trust_bundle_digests[reference.name, reference.key]
    except KeyError:
        raise UnresolvedReference(
            f"runtime.trustBundle: ConfigMap {reference.name} with key {reference.key} was not found: "
            "create it in the namespace of the AgentService"
        ) from None


def trust_bundle_volume(service: AgentService) -> list[Object]:
    """The volume with the bundle under the name that the runtime's configuration gives."""
    if service.spec.runtime.trust_bundle is None:
        return []
    reference = service.spec.runtime.trust_bundle.config_map_key_ref
    file = TRUST_BUNDLE_PATH.rpartition("/")[2]
    return [{"name": VOLUME, "configMap": {"name": reference.name, "items": [{"key": reference.key, "path": file}]}}]


def trust_bundle_mount(service: AgentService) -> list[Object]:
    """Where the serving container sees the bundle."""
    if service.spec.runtime.trust_bundle is None:
        return []
    return [{"name": VOLUME, "mountPath": TRUST_BUNDLE_PATH.rpartition("/")[0], "readOnly": True}]
