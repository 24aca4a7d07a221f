"""Where conversations are kept."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agentservice_operator.api.markers import Cel, member_of
from agentservice_operator.api.v1alpha1.base import ApiModel, DnsSubdomain, SecretKeyRef

VolumeSize = Annotated[
    str,
    Field(min_length=2, max_length=12, pattern=r"^[1-9][0-9]{0,5}(\.[0-9]{1,3})?[MGT]i?$"),
    Cel(
        "quantity(self).compareTo(quantity(oldSelf)) >= 0",
        "the size of a volume only grows: leave it as it is, or set a larger one",
        None,
    ),
]


class Volume(ApiModel):
    """The PersistentVolumeClaim NAME-data."""

    size: VolumeSize
    """Size of the volume, such as 10Gi. It only grows, and only where the StorageClass allows expansion."""
    storage_class_name: DnsSubdomain | None = None
    """StorageClass of the volume. Absent: the cluster's default. It never changes."""
    when_deleted: Literal["Retain", "Delete"] = "Retain"
    """What becomes of the claim, and with it of the conversations, when the AgentService is deleted. Retain: it stays,
    and an AgentService of the same name goes on with it. Delete: it is deleted, too."""

    rules: ClassVar = (
        Cel(
            "has(self.storageClassName) == has(oldSelf.storageClassName)"
            " && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
            "the storage class of a volume never changes: leave it as it is, or create another AgentService",
            None,
            ".storageClassName",
        ),
    )


class UrlSource(ApiModel):
    """Where the URL of a server comes from."""

    secret_key_ref: SecretKeyRef
    """Key of a Secret that holds the URL, with user and password, and nothing else. A new value is used for new
    connections, without a restart."""


class PostgreSQL(ApiModel):
    """A database on a PostgreSQL server."""

    url_from: UrlSource
    """Reference to the URL, `postgresql://USER:PASSWORD@HOST/DATABASE`, whose user must be able to make tables. With
    `?sslmode=verify-full` the server is checked by the public certificate authorities and those of
    runtime.trustBundle."""


class Redis(ApiModel):
    """A Redis server."""

    url_from: UrlSource
    """Reference to the URL, `redis://USER:PASSWORD@HOST`, or `rediss://` for TLS, which is checked by the public
    certificate authorities and those of runtime.trustBundle."""


class State(ApiModel):
    """Where conversations are kept."""

    backend: Literal["Ephemeral", "Volume", "PostgreSQL"] = "Ephemeral"
    """Ephemeral: in each pod, lost when the pod goes. Volume: on a PersistentVolumeClaim, with a single pod, which is
    stopped before its successor starts. PostgreSQL: in a database that all pods share."""
    volume: Volume | None = None
    """The volume, with backend Volume."""
    postgresql: Annotated[PostgreSQL | None, Field(alias="postgreSQL")] = None
    """The database, with backend PostgreSQL."""
    redis: Redis | None = None
    """A Redis by which the pods that share a database wake each other when there is something to do; it keeps nothing.
    Absent, or while it is gone: they look into the database every second."""
    retention_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """A conversation is deleted when it was last used so many days ago, a record of usage when it is so old."""

    rules: ClassVar = (
        *member_of("backend", {"Volume": "volume", "PostgreSQL": "postgreSQL"}),
        Cel(
            "!has(self.redis) || self.backend == 'PostgreSQL'",
            "redis serves pods that share a database: remove it, or set backend to PostgreSQL",
            lambda state: state.redis is None or state.backend == "PostgreSQL",
            ".redis",
            "FieldValueForbidden",
        ),
    )
