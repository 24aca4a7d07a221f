"""Messages as callers send them: text, or blocks of text, images and documents, in the form of the Messages API."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from agent_runtime.agent.model import Content

MAX_BLOCKS = 20
"""Of one message."""

_SIGNATURES = {
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
    "application/pdf": (b"%PDF-",),
}
"""The bytes that files of a media type begin with."""


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not have the character U+0000, which databases cannot keep")
    return text


Text = Annotated[str, StringConstraints(pattern=r"\S"), AfterValidator(_without_nul)]
"""Something to read."""
ShortText = Annotated[str, StringConstraints(max_length=512), AfterValidator(_without_nul)]


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
            content = base64.b64decode(self.data, validate=True)
        except binascii.Error:
            raise ValueError("data is not base64") from None
        if not content.startswith(_SIGNATURES[self.media_type]):
            raise ValueError(f"data is no file of the type {self.media_type}")
        return self


class ImageFile(_Base64):
    """An image, in base64."""

    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]


class PdfFile(_Base64):
    """A PDF, in base64."""

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
