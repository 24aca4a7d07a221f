"""The installation's proxy, as the environment variables that HTTP clients read."""

from __future__ import annotations

from agentservice_operator.builders.defaults import Proxy

CLUSTER_INTERNAL = ("localhost", "127.0.0.1", "::1", ".svc", ".cluster.local")
"""What no proxy outside the cluster could reach: the pod itself, and Services by a name that ends in ``.svc``."""


def proxy_variables(proxy: Proxy | None, taken: set[str]) -> dict[str, str]:
    """The variables by name, without those that a spec sets itself.

    Args:
        proxy: None where agents need none.
        taken: Names of the spec's variables; clients know these by small letters, too.
    """
    if proxy is None:
        return {}
    variables = {
        "HTTP_PROXY": proxy.http,
        "HTTPS_PROXY": proxy.https,
        "NO_PROXY": ",".join(dict.fromkeys([*CLUSTER_INTERNAL, *sorted(proxy.no_proxy)])),
    }
    theirs = {name.upper() for name in taken}
    return {name: value for name, value in variables.items() if value is not None and name not in theirs}
