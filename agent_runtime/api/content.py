"""Messages as callers send them: text, or blocks of text, images and documents, in the form of the Messages API."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    StringConstraints,
    Tag,
    model_validator,
)

from agent_runtime.agent.model import Content

MAX_BLOCKS = 20
"""Of one message."""

_BASE64 = "[A-Za-z0-9+/]"
_SIGNATURES = {
    "image/jpeg": "/9j/",
    "image/png": f"iVBORw0KGg[o-r]{_BASE64}",
    "image/gif": "R0lGOD[dl]h",
    "image/webp": f"UklGR[g-v]{_BASE64}{{2}}",
    "application/pdf": f"JVBERi[0-3]{_BASE64}",
}
"""What files of a media type begin with, in base64, in groups of four characters."""


def _data_of(*media_types: str) -> ConfigDict:
    """What the schema of a file says besides its types: its data is of its media type."""
    rest = f"({_BASE64}{{4}})*({_BASE64}{{2}}==|{_BASE64}{{3}}=)?"
    members: list[JsonValue] = []
    for media_type in media_types:
        data: JsonValue = {"pattern": f"^{_SIGNATURES[media_type]}{rest}$"}
        properties: JsonValue = {"media_type": {"const": media_type}, "data": data}
        members.append({"properties": properties, "required": ["media_type", "data"]})
    return ConfigDict(json_schema_extra={"anyOf": members})


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not have the character U+0000, which databases cannot keep")
    return text


Text = Annotated[
    str,
    StringConstraints(pattern=r"\S"),
    AfterValidator(_without_nul),
    Field(json_schema_extra={"pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"}),
]
"""Something to read."""
ShortText = Annotated[
    str,
    StringConstraints(max_length=512),
    AfterValidator(_without_nul),
    Field(json_schema_extra={"pattern": r"^[^\u0000]*$"}),
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TextBlock(_Part):
    """Text."""

    type: Literal["text"]
    text: Text


class _Base64(_Part):
    """A file in the message. None is fetched: by its URL, a caller could have the provider ask any address."""

    type: Literal["base64"]
    media_type: str
    data: Annotated[str, StringConstraints(min_length=1)]

    @model_validator(mode="after")
    def _is_what_it_says(self) -> _Base64:
        try:
            base64.b64decode(self.data, validate=True)
        except binascii.Error:
            raise ValueError("data is not base64") from None
        if not re.match(_SIGNATURES[self.media_type], self.data):
            raise ValueError(f"data is no file of the type {self.media_type}")
        return self


class ImageFile(_Base64):
    """An image, in base64."""

    model_config = _data_of("image/jpeg", "image/png", "image/gif", "image/webp")

    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]


class PdfFile(_Base64):
    """A PDF, in base64."""

    model_config = _data_of("application/pdf")

    media_type: Literal["application/pdf"]


class PlainText(_Part):
    """A document that is text."""

    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: Text


class ImageBlock(_Part):
    """An image."""

    type: Literal["image"]
    source: ImageFile


class DocumentBlock(_Part):
    """A document, whose title and context the model sees too."""

    type: Literal["document"]
    source: Annotated[
        Annotated[PdfFile, Tag("(base64)")] | Annotated[PlainText, Tag("(text)")],
        Discriminator(
            lambda source: _tag(source, "type"),
            custom_error_type="source_type",
            custom_error_message="type must be base64 or text: files are sent, not fetched",
        ),
    ]
    title: ShortText | None = None
    context: ShortText | None = None


def _tag(value: Any, name: str) -> str | None:
    """The tag of a member of a union: in parentheses, by which `read_json` knows that it is no part of a path."""
    found = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    return f"({found})"


_Block = Annotated[
    Annotated[TextBlock, Tag("(text)")]
    | Annotated[ImageBlock, Tag("(image)")]
    | Annotated[DocumentBlock, Tag("(document)")],
    Discriminator(
        lambda block: _tag(block, "type"),
        custom_error_type="block_type",
        custom_error_message="type must be text, image or document",
    ),
]

MessageContent = Annotated[
    Annotated[Text, Tag("(text)")]
    | Annotated[tuple[_Block, ...], Field(min_length=1, max_length=MAX_BLOCKS), Tag("(blocks)")],
    Discriminator(
        lambda message: "(text)" if isinstance(message, str) else "(blocks)",
    ),
]
"""Text, or 1..20 blocks of content."""


def content_of(message: str | tuple[TextBlock | ImageBlock | DocumentBlock, ...]) -> Content:
    """`message` in the form in which it is passed on and kept."""
    if isinstance(message, str):
        return message
    return tuple(block.model_dump(exclude_none=True) for block in message)


def text_length(message: str | tuple[TextBlock | ImageBlock | DocumentBlock, ...]) -> int:
    """Characters of text in `message`."""
    if isinstance(message, str):
        return len(message)
    return sum(len(block.text) for block in message if isinstance(block, TextBlock))
