"""Volumes for claims, as a storage class would make them: new, and root's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dev.kind_session import Session

_IS_DEFAULT = "storageclass.kubernetes.io/is-default-class"


@contextmanager
def volume_for(session: Session, namespace: str, claim: str) -> Iterator[None]:
    """A volume on one node for a claim that names no class; in a cluster that is not ours its own class makes one.

    Not every class of a test cluster makes volumes to which Kubernetes gives the group of their pods.
    """
    if session.engine is None:
        yield
        return
    api = session.cluster.api
    node = api.list("/api/v1/nodes")[0]["metadata"]["name"]
    path, name = f"/var/local/{namespace}-{claim}", f"{namespace}-{claim}"
    session.engine.docker("exec", node, "mkdir", "-p", path)
    classes = api.list("/apis/storage.k8s.io/v1/storageclasses")
    (default,) = (each for each in classes if each["metadata"].get("annotations", {}).get(_IS_DEFAULT) == "true")
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "claimRef": {"namespace": namespace, "name": claim},
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": default["metadata"]["name"],
        },
    }
    created = api.create(volume)
    try:
        yield
    finally:
        api.delete(api.path_of({**volume, **created}))
