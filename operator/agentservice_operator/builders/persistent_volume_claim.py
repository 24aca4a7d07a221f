"""The PersistentVolumeClaim with the conversations."""

from __future__ import annotations

from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.builders.labels import Object, child_metadata
from agentservice_operator.builders.names import data_claim
from agentservice_operator.builders.quantities import canonical


def build_persistent_volume_claim(service: AgentService) -> Object | None:
    """The PersistentVolumeClaim NAME-data; None where state is not on a volume.

    What outlives the AgentService has no owner: the garbage collector would delete it with its owner.
    """
    volume = service.spec.state.volume
    if volume is None:
        return None
    spec: Object = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": canonical(volume.size)}},
    }
    if volume.storage_class_name is not None:
        spec["storageClassName"] = volume.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": child_metadata(service, data_claim(service.metadata.name), owned=volume.when_deleted == "Delete"),
        "spec": spec,
    }
