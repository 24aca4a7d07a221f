"""What the builders render is what the API server stores: else the operator would see a difference for ever.

Every golden file goes through a real server. What our field manager then owns must equal what was applied.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from agentservice_operator.builders.quantities import canonical, canonical_resources
from agentservice_operator.engine.ownership import digest, owned
from agentservice_operator.engine.ports import FIELD_MANAGER

from dev.cluster import Cluster
from tests.unit.builders.test_golden import CASES
from tests.unit.builders.test_quantities import STORED

Object = dict[str, Any]


def with_owner(children: list[Object], owner: Object) -> list[Object]:
    """Golden children moved into the namespace of a living owner: those of a dead one are collected as garbage."""
    metadata = owner["metadata"]
    for child in children:
        child["metadata"]["namespace"] = metadata["namespace"]
        for reference in child["metadata"].get("ownerReferences", ()):
            reference["uid"] = metadata["uid"]
    return children


@pytest.mark.usefixtures("crd")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_server_stores_golden_children_as_they_are(cluster: Cluster, namespace: str, case: Path) -> None:
    documents = list(yaml.safe_load_all((case / "in.yaml").read_text()))
    (service,) = (document for document in documents if document["kind"] == "AgentService")
    service["metadata"] = {"name": service["metadata"]["name"], "namespace": namespace}
    owner = cluster.api.create(service)
    children = with_owner(list(yaml.safe_load_all((case / "out.yaml").read_text())), owner)

    for intent in children:
        live = cluster.api.apply(intent, manager=FIELD_MANAGER, force=True)

        assert owned(live, FIELD_MANAGER) == intent
        assert digest(owned(live, FIELD_MANAGER)) == digest(intent)


def test_the_server_stores_quantities_as_we_do(cluster: Cluster, namespace: str) -> None:
    written = [quantity for quantity, stored in STORED.items() if stored != "0"]
    external = [
        {"type": "External", "external": {"metric": {"name": f"m{n}"}, "target": {"type": "Value", "value": quantity}}}
        for n, quantity in enumerate(written)
    ]
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "quantities", "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "quantities"},
            "maxReplicas": 2,
            "metrics": external,
        },
    }

    live = cluster.api.create(autoscaler, dryRun="All")

    stored = [metric["external"]["target"]["value"] for metric in live["spec"]["metrics"]]
    assert dict(zip(written, stored, strict=True)) == {quantity: canonical(quantity) for quantity in written}


@pytest.mark.parametrize(
    "quantity", ["0", "0.0001", "0.5", "1e3", "1000m", "1.5Gi", "1024Mi", "1.0001Ki", "2", "1.250", "1.2500"]
)
def test_the_server_stores_resources_as_we_do(cluster: Cluster, namespace: str, quantity: str) -> None:
    labels = {"app": "quantities"}
    container = {"name": "main", "image": "none", "resources": {"requests": {"ephemeral-storage": quantity}}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "quantities", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }

    live = cluster.api.create(deployment, dryRun="All")

    stored = live["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert stored == canonical_resources({"ephemeral-storage": quantity})
