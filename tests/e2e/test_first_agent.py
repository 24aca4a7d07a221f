"""The demo's path: from `kubectl apply` to an answer through Service and API key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dev.agent_client import AgentError, api_key, chat, reached

if TYPE_CHECKING:
    from dev.cluster import Cluster

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "hello.yaml"
READY = "--for=condition=Ready"

pytestmark = pytest.mark.smoke


@pytest.fixture
def hello(kind: Cluster, namespace: str) -> str:
    """The smallest example, Ready; gives its name."""
    kind.kubectl("apply", f"--namespace={namespace}", f"--filename={EXAMPLE}")
    kind.kubectl("wait", READY, "agentservice/hello", f"--namespace={namespace}", "--timeout=100s")
    return "hello"


def test_agent_answers_whoever_has_the_generated_key(kind: Cluster, namespace: str, hello: str) -> None:
    key = api_key(kind, namespace, hello)

    with reached(kind, namespace, hello) as url:
        answer = chat(url, "Are you there?", key=key)

    assert "Are you there?" in answer["message"]
    assert answer["agent"] == "assistant"


def test_agent_refuses_whoever_has_no_key(kind: Cluster, namespace: str, hello: str) -> None:
    with reached(kind, namespace, hello) as url, pytest.raises(AgentError) as refused:
        chat(url, "Are you there?", key=None)

    assert refused.value.code == 401
    assert json.loads(refused.value.answer)["code"] == "unauthenticated"


def test_nothing_is_left_of_a_deleted_agent(kind: Cluster, namespace: str, hello: str) -> None:
    children = "serviceaccount,configmap,secret,deployment,replicaset,pod,service,endpointslice"
    mine = "--selector=agentservice.dev/service=hello"
    before = kind.kubectl("get", children, mine, f"--namespace={namespace}", "--output=name").split()
    assert {name.split("/")[0] for name in before} >= {
        "serviceaccount",
        "configmap",
        "secret",
        "deployment.apps",
        "pod",
    }

    kind.kubectl("delete", "agentservice", hello, f"--namespace={namespace}")

    kind.kubectl("wait", "--for=delete", children, mine, f"--namespace={namespace}", "--timeout=60s")
