"""Reading JSON that anybody who may write an object has a hand in."""

from __future__ import annotations

import re
from typing import Any

import orjson

DEEPEST = 200
"""Levels of what is kept. Kubernetes' own types have about 30; the API server takes 10,000 (``managedFields`` of any
object, fields without a schema), orjson reads 1,024."""

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)


def decode(text: bytes) -> Any:
    """Read JSON; what is nested too deeply for the parser becomes null from level ``DEEPEST`` on.

    One such object must not keep all others of its kind from being seen.

    Raises:
        orjson.JSONDecodeError: it is no JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return orjson.loads(_cut(text))


def _cut(text: bytes) -> bytes:
    kept: list[bytes] = []
    depth = begin = 0
    for token in _TOKEN.finditer(text):
        if token[0] in (b"{", b"["):
            depth += 1
            if depth == DEEPEST + 1:
                kept += (text[begin : token.start()], b"null")
        elif token[0] in (b"}", b"]"):
            if depth == DEEPEST + 1:
                begin = token.end()
            depth -= 1
    return b"".join((*kept, text[begin:]))
