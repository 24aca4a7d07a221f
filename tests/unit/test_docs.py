"""The pages for people name files that are there."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import pytest
from agentservice_operator.api.v1alpha1.conditions import ConditionType, Reason
from agentservice_operator.status.events import EventReason

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "charts").rglob("*.md")])
LINK = re.compile(r"\]\(([^)#: ]+)(?:#[^)]*)?\)")
TEST_FILE = re.compile(r"`(?:tests/)?((?:unit|controlplane|e2e|runtime|chart)/[\w/]+\.py)`")
SOURCE_FILE = re.compile(r"`((?:agent_runtime|operator|dev|tests|examples|charts|crds)/[\w/.-]+\.(?:py|yaml))`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_refers_to_is_there(page: Path) -> None:
    text = page.read_text()
    named = [
        *(page.parent / target for target in LINK.findall(re.sub(r"`[^`]*`", "", text))),
        *(ROOT / "tests" / target for target in TEST_FILE.findall(text)),
        *(ROOT / target for target in SOURCE_FILE.findall(text)),
    ]

    assert [str(path) for path in named if not path.exists()] == []


@pytest.mark.parametrize("words", [Reason, EventReason, ConditionType])
def test_every_word_of_a_status_is_explained(words: type[StrEnum]) -> None:
    explained = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "status.md").read_text()))

    assert {str(word) for word in words} - explained == set(), "explain them in docs/status.md"
