"""An agent as the programs beside it in the cluster see it: by the name of its Service, or the address of one pod."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.cluster import Cluster
from tests.e2e.agents import events_of
from tests.e2e.in_cluster.caller import PORT
from tests.e2e.pods import key_of, pod

_PROGRAMS = [Path(__file__).parent / "in_cluster" / name for name in ("caller.py", "load.py")]
_RUN = ["python", "-m", "tests.e2e.in_cluster.caller"]
_MOUNT = "/source/tests/e2e/in_cluster"
_NAME = "caller"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        """The document."""
        return json.loads(self.text)

    def events(self) -> list[dict[str, Any]]:
        """The data of the events of a stream."""
        return events_of(self.text)


@dataclass(frozen=True)
class Caller:
    """A pod in the namespace of an agent, with its key."""

    cluster: Cluster
    namespace: str

    def call(self, method: str, url: str, body: object = None, *, headers: dict[str, str] | None = None) -> Answer:
        """Make a request and wait for the whole answer.

        Args:
            method: of HTTP.
            url: a path of the agent's Service, or an address.
            body: sent as JSON; None: none is sent.
            headers: further ones, or others.
        """
        request = json.dumps({"method": method, "url": url, "headers": headers or {}, "body": body})
        return Answer(
            **json.loads(self.cluster.kubectl("exec", _NAME, f"--namespace={self.namespace}", "--", *_RUN, request))
        )


@contextmanager
def inside(cluster: Cluster, namespace: str, name: str, *, image: str) -> Iterator[Caller]:
    """A pod beside an agent for the time of the block, once the agent lets it in.

    Args:
        cluster: where.
        namespace: that of the AgentService.
        name: the AgentService.
        image: the runtime's, for its Python.
    """
    service = cluster.api.get(cluster.api.path("v1", "Service", namespace=namespace, name=name))
    url = {"name": "URL", "value": f"http://{name}:{service['spec']['ports'][0]['port']}"}
    files = {program.name: program.read_text() for program in _PROGRAMS}
    how = {"image": image, "files": files, "command": _RUN, "mount": _MOUNT, "env": [url, key_of(name)], "port": PORT}
    with pod(cluster, namespace, _NAME, **how):
        yield Caller(cluster, namespace)
