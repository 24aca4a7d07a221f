"""A Kubernetes cluster as tests and the demo see it, whatever runs it."""

from __future__ import annotations

import base64
import os
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from dev.api_client import ApiClient

_TOKEN_LIFETIME = 24 * 3600  # seconds


class KubectlError(RuntimeError):
    """A kubectl command failed; the message holds what it printed."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster, and how to reach it as its administrator.

    Args:
        name: what messages call it.
        kubeconfig: the administrator's, self-contained (certificates inside), with its current context set. Further
            kubeconfigs are written beside it.
        kubectl_path: the kubectl to use.
        audit_log: the API server's audit log, where it is readable.
    """

    name: str
    kubeconfig: Path
    kubectl_path: Path
    audit_log: Path | None = None

    @cached_property
    def api(self) -> ApiClient:
        """The API, as administrator."""
        return ApiClient.from_kubeconfig(self.kubeconfig)

    @property
    def server(self) -> str:
        """The API server's address."""
        return self.api.server

    def kubectl(self, *args: str, input: str | None = None, timeout: float = 120) -> str:  # noqa: A002 - as in subprocess.run
        """Run kubectl as administrator.

        Args:
            args: the command line after "kubectl".
            input: what it reads on standard input.
            timeout: seconds.

        Returns:
            What it printed.

        Raises:
            KubectlError: it failed; with what it printed on standard error.
        """
        done = subprocess.run(
            [self.kubectl_path, *args],
            input=input,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=os.environ | {"KUBECONFIG": str(self.kubeconfig)},
        )
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """Write a kubeconfig that acts as an existing ServiceAccount for a day, and return its path."""
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": _TOKEN_LIFETIME},
        }
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        token = self.api.request("POST", path, body=request)["status"]["token"]
        cluster = yaml.safe_load(self.kubeconfig.read_text())["clusters"][0]["cluster"]
        return write_kubeconfig(
            self.kubeconfig.with_name(f"{namespace}.{name}.kubeconfig"),
            server=self.server,
            ca=base64.b64decode(cluster["certificate-authority-data"]),
            token=token,
            namespace=namespace,
        )


def write_kubeconfig(path: Path, *, server: str, ca: bytes, token: str, namespace: str = "default") -> Path:
    """Write a self-contained kubeconfig for a bearer token, readable by its owner only; whoever reads it sees it whole.

    Args:
        path: the file to write.
        server: the API server's address.
        ca: the certificates to trust, PEM.
        token: the bearer token.
        namespace: where commands without a namespace act.

    Returns:
        `path`.
    """
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(ca).decode()}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "default",
        "clusters": [{"name": "default", "cluster": cluster}],
        "users": [{"name": "default", "user": {"token": token}}],
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default", "namespace": namespace}}],
    }
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False) as file:
        yaml.safe_dump(config, file, sort_keys=False)
    return Path(file.name).replace(path)
