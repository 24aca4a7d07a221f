"""Whom the process believes when it connects to others by TLS."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path

from agent_runtime.config import RuntimeConfig
from agent_runtime.settings import ConfigurationError


def check_trust_bundle(config: RuntimeConfig) -> None:
    """See whether the bundle can be read, before anything slow is done.

    Raises:
        ConfigurationError: it cannot: calls would fail one by one.
    """
    if config.trust_bundle_file is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(config.trust_bundle_file)
    except ssl.SSLError:
        reason = "holds no certificates in PEM, or broken ones"
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    else:
        return
    raise ConfigurationError(
        f"trust_bundle_file: {config.trust_bundle_file} {reason}; correct the ConfigMap that is mounted there"
    )


@cache  # one for all clients: it holds every public authority
def outbound_tls(trust_bundle_file: str | None) -> ssl.SSLContext:
    """What verifies those whom we call: by the public authorities, and by those of the bundle.

    Args:
        trust_bundle_file: PEM file, None where the public ones suffice.
    """
    import httpx2  # noqa: PLC0415 - imported with the providers that need it, not before the port opens

    context = httpx2.create_ssl_context()
    if trust_bundle_file is not None:
        context.load_verify_locations(Path(trust_bundle_file))
        # Authorities of companies often lack what RFC 5280 asks of them, and nobody but Python insists.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
