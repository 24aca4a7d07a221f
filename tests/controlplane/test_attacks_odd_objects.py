"""Objects that people may write and no client ever does: the operator goes on for everybody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.controlplane.agent_services import AgentServices, Object, agent_service
from tests.controlplane.operator_process import OperatorProcess

LEVELS = 5_000
"""The API server takes 10,000; parsers end at 1,000 or so."""
DEEP = '{"f:a":' * LEVELS + "{}" + "}" * LEVELS
PLACE = '"the deep part"'


def record(fields: object) -> list[Object]:
    """A record that says that the operator applied something."""
    time = "2026-11-21T00:00:00Z"
    entry = {"manager": "agentservice-operator", "operation": "Apply", "apiVersion": "v1", "time": time}
    return [{**entry, "fieldsType": "FieldsV1", "fieldsV1": fields}]


def config_map(fields: object, **labels: str) -> Object:
    metadata = {"name": "odd", "labels": labels, "managedFields": record(fields)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}}


def deep_agent_service() -> Object:
    return agent_service("", "odd", runtime={"affinity": {"nodeAffinity": json.loads(PLACE)}})


MANAGED = {"app.kubernetes.io/managed-by": "agentservice-operator", "agentservice.dev/service": "hello"}
ODD = {
    "a child whose record names no item of a list": config_map(
        {"f:metadata": {"f:finalizers": {'v:{"a":1}': {}}}}, **MANAGED
    ),
    "a foreign ConfigMap with a deep record": config_map(json.loads(PLACE)),
    "a child with a deep record": config_map(json.loads(PLACE), **MANAGED),
    "an AgentService with a deep field": deep_agent_service(),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_one_odd_object_keeps_no_agent_service_waiting(
    operator: OperatorProcess, services: AgentServices, odd: Object
) -> None:
    with written(services, odd):
        services.apply("before")
        services.wait_ready("before")

        operator.restart()

        services.apply("after")
        services.wait_ready("after")


@contextmanager
def written(services: AgentServices, body: Object) -> Iterator[None]:
    """The object, made by kubectl: what it answers is too deep for the JSON of this process."""
    if body["metadata"].get("labels"):
        body["metadata"]["finalizers"] = ["example.com/odd"]
    body["metadata"]["namespace"] = services.namespace
    services.cluster.kubectl("create", "-f", "-", input=json.dumps(body).replace(PLACE, DEEP))
    try:
        yield
    finally:
        kind, name = body["kind"], body["metadata"]["name"]
        namespace = f"--namespace={services.namespace}"
        services.cluster.kubectl("patch", kind, name, namespace, "--type=merge", '-p={"metadata":{"finalizers":null}}')
        services.cluster.kubectl("delete", kind, name, namespace)
