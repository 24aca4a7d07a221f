"""What a person at a terminal sees: the outputs of kubectl, kept in golden/.

``UPDATE_GOLDEN=1 pytest tests/e2e/test_kubectl.py`` writes what kubectl prints now; read the diff.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from dev.cluster import Cluster, KubectlError
from tests.controlplane.agent_services import AgentServices, agent_service
from tests.e2e.agents import EXAMPLES, apply_file, wait_ready

GOLDEN = Path(__file__).parent / "golden"


def test_kubectl_shows_agent_services_at_a_glance(kind: Cluster, namespace: str) -> None:
    services = AgentServices(kind, namespace)
    for example in ("anthropic", "hello", "several-agents"):
        apply_file(kind, namespace, EXAMPLES / f"{example}.yaml")
    waited = wait_ready(kind, namespace, "hello")
    wait_ready(kind, namespace, "office")
    services.wait_not_ready("ReferenceNotFound", "support")

    def kubectl(*arguments: str) -> str:
        return kind.kubectl(*arguments, f"--namespace={namespace}").replace(namespace, "NAMESPACE")

    assert_golden("wait", waited)
    assert_golden("get", kubectl("get", "agsvc"))
    assert_golden("get-wide", kubectl("get", "agsvc", "--output=wide"))
    assert_golden("get-category", kubectl("get", "agents"))
    assert_golden("scale", kubectl("scale", "agsvc/hello", "--replicas=3"))
    services.wait(lambda service: service["status"]["readyReplicas"] == 3)
    wait_ready(kind, namespace, "hello")
    assert_golden("get-scaled", kubectl("get", "agsvc", "hello"))


def test_kubectl_apply_refuses_a_bad_spec_with_a_sentence(kind: Cluster, namespace: str) -> None:
    models = [{"name": name, "provider": "Echo"} for name in ("large", "small")]
    bad = agent_service(namespace, models=models, replicas=2, autoscaling={"maxReplicas": 3})

    with pytest.raises(KubectlError) as refused:
        kind.kubectl("apply", "--filename=-", input=json.dumps(bad))

    assert_golden("refused", f"{refused.value}\n")
    assert kind.kubectl("get", "agsvc", f"--namespace={namespace}", "--output=name") == ""


def assert_golden(name: str, printed: str) -> None:
    """Compare with the golden file; ages are masked."""
    masked = re.sub(r"(?m)(?<= )([0-9]+[smhd])+$", "AGE", printed)
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(masked)
    assert masked == file.read_text()
