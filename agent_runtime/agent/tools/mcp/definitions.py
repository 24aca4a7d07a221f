"""What a server lists, as a model is shown it: some hundred tools at most, under names that are theirs alone.

A server is the author's choice, its words are not: they may be too many, too long, broken, or meant to mislead.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import mcp_types
import orjson

from agent_runtime.agent.model import Block
from agent_runtime.input_schema import ROOT_COMBINATORS, input_schema_fault

TOOLS_LIMIT = 128
"""Of one server. Long before, a model chooses badly among them, and pays for each in each call."""
DEFINITIONS_LIMIT_BYTES = 256 * 1024
"""Of all tools of one server: some 64,000 tokens."""
DESCRIPTION_LIMIT_CHARACTERS = 4096
"""As of an HTTP tool."""
_TOO_MANY = (
    f"a server's tools may be {TOOLS_LIMIT}, of {DEFINITIONS_LIMIT_BYTES // 1024} KiB together: "
    "name those that are needed in allowedTools"
)
_NAME_LIMIT_CHARACTERS = 64
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TAKEN = frozenset({"web_search"})
"""By the provider."""
_HASH_CHARACTERS = 8
_SHOWN_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Definition:
    """One tool of a server."""

    remote_name: str
    """As the server calls it."""
    block: Block
    """As the Messages API describes tools."""
    repeatable: bool
    """Whether the server says that a call does no harm when it is made twice."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What models may be offered of a server's tools."""

    definitions: tuple[Definition, ...] = ()
    left_out: tuple[str, ...] = ()
    """Each tool that is not offered though it may be, and why."""


def offer(source: str, listed: Iterable[mcp_types.Tool], allowed: Collection[str] | None) -> Offer:
    """Choose from what a server lists, by name: its order means nothing, and must not change what models are shown.

    Args:
        source: name of the tool in the AgentService, with which all names begin.
        listed: by the server.
        allowed: names by the server; None: all.
    """
    definitions: dict[str, Definition] = {}
    left_out = []
    size = 0
    tools = sorted((tool for tool in listed if allowed is None or tool.name in allowed), key=lambda tool: tool.name)
    for tool in tools:
        definition = _definition(source, tool)
        name = definition.block["name"]
        fault = _TOO_MANY if len(definitions) == TOOLS_LIMIT else input_schema_fault(definition.block["input_schema"])
        if name in definitions:
            fault = "the server lists it twice"
        elif fault is None and (size := size + len(orjson.dumps(definition.block))) > DEFINITIONS_LIMIT_BYTES:
            fault = _TOO_MANY
        if fault is None:
            definitions[name] = definition
        else:
            left_out.append(f"{_shown(tool.name)}: {fault}")
    missing = set(allowed or ()) - {tool.name for tool in tools}
    left_out += [f"{_shown(name)}: the server does not list it" for name in sorted(missing)]
    return Offer(tuple(definitions.values()), tuple(left_out))


def model_name(source: str, remote_name: str) -> str:
    """The name by which models call a tool: ``SOURCE_TOOL``, or a like one where that is none that they can use.

    No name of a tool in an AgentService has an underscore, so that those of two servers differ.
    """
    plain = f"{source}_{remote_name}"
    if _NAME.fullmatch(plain) and plain not in _TAKEN:
        return plain
    mark = hashlib.sha256(plain.encode(errors="surrogatepass")).hexdigest()[:_HASH_CHARACTERS]
    return re.sub("[^a-zA-Z0-9_-]", "-", plain)[: _NAME_LIMIT_CHARACTERS - len(mark) - 1] + f"-{mark}"


def _definition(source: str, tool: mcp_types.Tool) -> Definition:
    hints = tool.annotations
    block: Block = {"name": model_name(source, tool.name)}
    if description := printable(tool.description or tool.title or "")[:DESCRIPTION_LIMIT_CHARACTERS]:
        block["description"] = description
    # The server checks the input itself, so that what only the model would be told may be missing.
    block["input_schema"] = {key: value for key, value in tool.input_schema.items() if key not in ROOT_COMBINATORS}
    return Definition(tool.name, block, bool(hints and (hints.read_only_hint or hints.idempotent_hint)))


def printable(text: str) -> str:
    """Text without what people who look at it would not see, and a model would: it can only be meant to mislead."""
    return "".join(letter for letter in text if letter in "\n\t" or unicodedata.category(letter)[0] != "C")


def _shown(name: str) -> str:
    return repr(printable(name)[:_SHOWN_CHARACTERS])
