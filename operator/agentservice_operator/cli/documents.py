"""YAML in and out: the documents of a file with where they stand, and objects as text."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agentservice_operator.builders.labels import Object


class InputError(Exception):
    """What the user gave cannot be used; the message names the place and the remedy."""


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document of a file.

    Args:
        file: As the user wrote it.
        position: Counted from 1, empty documents included.
        content: A Kubernetes object.
    """

    file: str
    position: int
    content: Object

    @property
    def kind(self) -> str:
        """The object's kind."""
        return str(self.content.get("kind", ""))

    @property
    def name(self) -> str:
        """The object's name."""
        return str((self.content.get("metadata") or {}).get("name", ""))

    def error(self, problem: str) -> InputError:
        """An error that says where this document stands."""
        return InputError(f"{self.file}: document {self.position} ({self.kind} {self.name}): {problem}")


def read_documents(path: Path) -> list[Document]:
    """The Kubernetes objects in a file of YAML documents.

    Args:
        path: The file; ``-`` reads standard input.

    Raises:
        InputError: The file cannot be read, is not YAML, or holds something else than Kubernetes objects.
    """
    file = "standard input" if path == Path("-") else str(path)
    try:
        text = sys.stdin.read() if path == Path("-") else path.read_text()
        contents = list(yaml.load_all(text, Loader=_Loader))
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is not text in UTF-8 (byte {error.start}): save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise InputError(f"{file}: is not YAML: {error}") from error
    documents = []
    for position, content in enumerate(contents, start=1):
        if content is None:
            continue
        if not isinstance(content, dict) or not isinstance(content.get("kind"), str):
            raise InputError(
                f"{file}: document {position}: is not a Kubernetes object: give it apiVersion, kind and metadata"
            )
        if not isinstance(content.get("metadata"), dict):
            raise InputError(f"{file}: document {position} ({content['kind']}): metadata: is missing: give it a name")
        documents.append(Document(file, position, content))
    return documents


def to_yaml(objects: list[Object]) -> str:
    """Objects as YAML documents, texts of several lines as blocks, in the order of their keys."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Loader(yaml.SafeLoader):
    """Reads a date as the text that it is: JSON, and so Kubernetes, knows no dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Dumper(yaml.SafeDumper):
    """Writes as kubectl does: no anchors, list items indented like their key, blocks for texts of several lines."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
