"""Talk to an agent in a cluster as its caller does: through its Service, with its API key."""

from __future__ import annotations

import base64
import json
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dev.cluster import Cluster
from dev.process import running, wait_until


class AgentError(RuntimeError):
    """The agent refused a call; the message holds its answer.

    Args:
        code: the HTTP status.
        answer: the body, as text.
    """

    def __init__(self, code: int, answer: str) -> None:
        super().__init__(f"{code}: {answer}")
        self.code = code
        self.answer = answer


def api_key(cluster: Cluster, namespace: str, service: str) -> str:
    """The key that the operator generated for the AgentService `service`."""
    secret = cluster.api.get(f"/api/v1/namespaces/{namespace}/secrets/{service}-api-keys")
    return base64.b64decode(secret["data"]["default"]).decode()


@contextmanager
def reached(cluster: Cluster, namespace: str, service: str, *, port: int = 80) -> Iterator[str]:
    """Reach a port of the Service of the AgentService `service` from this machine; gives its address there."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "port-forward.log"
        options = [f"--kubeconfig={cluster.kubeconfig}", f"--namespace={namespace}"]
        command: list[str | Path] = [cluster.kubectl_path, "port-forward", f"service/{service}", f":{port}", *options]
        with running(command, name="kubectl port-forward", log=log) as child:

            def local_port() -> str | None:
                child.require_running()
                match = re.search(r"127\.0\.0\.1:(\d+)", log.read_text())
                return match[1] if match else None

            yield f"http://127.0.0.1:{wait_until(local_port, deadline=20, describe=child.log_tail)}"


def chat(url: str, message: str, *, key: str | None) -> dict[str, Any]:
    """Send one message, and return the whole answer.

    Args:
        url: where the agent's Service is reached.
        message: what to say.
        key: the API key; None: none.

    Raises:
        AgentError: it answered with an error.
        OSError: it did not answer.
    """
    request = urllib.request.Request(  # noqa: S310 -- the address is our own
        f"{url}/v1/chat",
        data=json.dumps({"message": message}).encode(),
        headers={"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {}),
    )
    # No proxy of the environment: the way leads to this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        raise AgentError(error.code, error.read().decode(errors="replace")) from error
    return answer
