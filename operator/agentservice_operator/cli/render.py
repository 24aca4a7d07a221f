"""``agentctl render``: the children of the AgentServices in a file, as the operator would apply them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from agentservice_operator.api.v1alpha1.input_schemas import check_input_schemas
from agentservice_operator.api.v1alpha1.parse import InvalidSpec, parse
from agentservice_operator.api.v1alpha1.types import API_VERSION, KIND, AgentService
from agentservice_operator.api.v1alpha1.well_known import OPTIONAL_KINDS
from agentservice_operator.builders.build import build
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.defaults import AgentDefaults
from agentservice_operator.builders.labels import Object
from agentservice_operator.builders.references import UnresolvedReference, references
from agentservice_operator.builders.trust_bundle import UnusableTrustBundle, trust_bundle_digest
from agentservice_operator.cli.documents import Document, InputError, read_documents


def render(
    path: Path,
    *,
    runtime_image: str,
    namespace: str,
    defaults: AgentDefaults,
    served_kinds: frozenset[str] = OPTIONAL_KINDS,
) -> list[Object]:
    """The children of every AgentService in a file.

    Args:
        path: YAML documents: AgentServices, and the ConfigMaps that they refer to. Others are passed over.
        runtime_image: Where a spec names none.
        namespace: Where an AgentService names none.
        defaults: What the installation decides where a spec says nothing.
        served_kinds: The optional kinds that the cluster has.

    Raises:
        InputError: The file or something in it cannot be used.
    """
    documents = read_documents(path)
    values = config_map_values(documents)
    context = BuildContext(runtime_image, values, defaults=defaults, served_kinds=served_kinds)
    children = []
    for document in agent_services(documents):
        service = parse_document(document, namespace)
        try:
            children += build(service, replace(context, trust_bundle_digests=_trust_bundle(document, service, values)))
        except UnresolvedReference as error:
            raise document.error(f"{error}, or as a document of this file") from error
    return children


def _trust_bundle(
    document: Document, service: AgentService, values: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], str]:
    """The digest of the bundle that an AgentService refers to, if the file holds it."""
    wanted = references(service).trust_bundle
    if wanted is None or wanted not in values:
        return {}
    try:
        return {wanted: trust_bundle_digest(values[wanted])}
    except UnusableTrustBundle as error:
        name, key = wanted
        raise document.error(f"runtime.trustBundle: ConfigMap {name}: what stands under {key} {error}") from error


def agent_services(documents: list[Document]) -> list[Document]:
    """Those documents that are AgentServices.

    Raises:
        InputError: There is none.
    """
    found = [document for document in documents if document.kind == KIND]
    if not found:
        files = ", ".join(sorted({document.file for document in documents})) or "the file"
        raise InputError(f"{files}: holds no {KIND}: add a document with kind: {KIND} and apiVersion: {API_VERSION}")
    return found


def parse_document(document: Document, namespace: str) -> AgentService:
    """The AgentService in a document; unlike the operator, which must bear newer fields, this refuses unknown ones.

    Args:
        document: One of kind AgentService.
        namespace: Where it names none.

    Raises:
        InputError: It is not valid.
    """
    if document.content.get("apiVersion") is None:
        raise document.error(f"apiVersion: is missing: write apiVersion: {API_VERSION}")
    metadata = {"namespace": namespace, **document.content["metadata"]}
    try:
        service = parse({**document.content, "metadata": metadata}, as_written=True)
        check_input_schemas(service)
    except InvalidSpec as error:
        raise document.error(str(error)) from error
    return service


def config_map_values(documents: list[Document]) -> dict[tuple[str, str], str]:
    """The content of the ConfigMaps in a file by name and key."""
    return {
        (document.name, key): str(value)
        for document in documents
        if document.kind == "ConfigMap"
        for key, value in (document.content.get("data") or {}).items()
    }
