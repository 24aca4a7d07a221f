"""SEC-2, SEC-18: what the definition of an AgentService leaves out, and what it lets through that is stored already."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.api_client import ApiError
from dev.cluster import Cluster
from dev.controlplane import control_plane
from dev.process import wait_until
from tests.controlplane.agent_services import (
    DEADLINE,
    DEFINITIONS,
    AgentServices,
    Object,
    agent_service,
    install_definitions,
)
from tests.controlplane.test_operator_installation import forget_rules, is_taken

LONGEST_REQUEST = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/requestTimeoutSeconds/maximum"


def test_sec_2_no_reference_names_a_namespace_but_that_to_a_gateway_whose_listeners_have_a_say() -> None:
    (definition,) = (yaml.safe_load(file.read_text()) for file in DEFINITIONS.glob("*.yaml"))
    (version,) = definition["spec"]["versions"]

    found = set(named(version["schema"]["openAPIV3Schema"], "", "namespace"))

    assert found == {".spec.exposure.httpRoute.parentRefs[]"}


def named(schema: Object, path: str, field: str) -> Iterator[str]:
    """Where objects of the schema have a field of that name."""
    for name, below in schema.get("properties", {}).items():
        if name == field:
            yield path
        yield from named(below, f"{path}.{name}", field)
    if "items" in schema:
        yield from named(schema["items"], f"{path}[]", field)
    if "additionalProperties" in schema:
        yield from named(schema["additionalProperties"], f"{path}.*", field)


@pytest.fixture
def loose(cluster: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """A control plane of an earlier release, so to say: it takes what ours refuses."""
    del cluster  # where that one can't be had, this one can't either
    with control_plane(tmp_path / "plane") as plane:
        install_definitions(plane)
        name = "agentservices.agentservice.dev"
        path = plane.api.path("apiextensions.k8s.io/v1", "CustomResourceDefinition", name=name)
        media = "application/json-patch+json"
        plane.api.patch(path, [{"op": "remove", "path": LONGEST_REQUEST}], media=media)
        forget_rules(plane)
        yield plane


def test_sec_18_what_a_later_rule_refuses_may_stay_while_something_else_is_edited(loose: Cluster) -> None:
    services = AgentServices(loose, "default")
    broken: dict[str, dict[str, Any]] = {
        "bound": {"requestTimeoutSeconds": 9999},
        "rule": {"replicas": 3, "autoscaling": {"maxReplicas": 5}},
    }
    for name, spec in broken.items():
        services.apply(name, **spec)

    install_definitions(loose)
    for name, spec in broken.items():
        refused = agent_service("default", f"another-{name}", **spec)
        wait_until(partial(is_refused, loose, refused), deadline=DEADLINE, describe="the rules are back")

    for name in broken:
        services.cluster.api.patch(services.path("AgentService", name), {"metadata": {"labels": {"team": "a"}}})
        status = {"status": {"observedGeneration": 1}}
        services.cluster.api.patch(services.path("AgentService", name) + "/status", status)
    assert services.patch({"spec": {"paused": True}}, "bound")["spec"]["paused"]
    with pytest.raises(ApiError, match="requestTimeoutSeconds"):
        services.patch({"spec": {"requestTimeoutSeconds": 9998}}, "bound")


def is_refused(cluster: Cluster, body: Object) -> bool:
    """Whether the API server would not store it."""
    return not is_taken(cluster, body)
