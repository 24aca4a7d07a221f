"""The health check of the image: no curl is needed beside the runtime."""

from __future__ import annotations

import http.client
import os
import sys

# Only the standard library is imported here: it runs every few seconds, on the server's own CPU share.
DEFAULT_ADMIN_PORT = 9090
TIMEOUT_SECONDS = 2


def healthcheck() -> int:
    """Ask the admin port of this host for /readyz; 0 where it is ready, else 1, with the reason on stderr."""
    host = os.environ.get("BIND_ADDRESS") or "localhost"
    port = os.environ.get("ADMIN_PORT") or str(DEFAULT_ADMIN_PORT)
    try:
        connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_SECONDS)
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        reason = response.read().decode(errors="replace").strip()
    except (OSError, ValueError, http.client.HTTPException) as error:
        sys.stderr.write(f"no answer from the admin port {port}: {error}\n")
        return 1
    if response.status != http.client.OK:
        sys.stderr.write(f"not ready: {reason}\n")
        return 1
    return 0
