"""What a process that cannot serve leaves behind for its operator: one word of a closed list, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_runtime import api_keys, ending, settings
from agent_runtime.ending import Ending
from agent_runtime.settings import ConfigurationError


@pytest.mark.parametrize("word", Ending)
def test_every_word_is_read_as_it_was_left(tmp_path: Path, word: Ending) -> None:
    log = tmp_path / "termination-log"
    log.write_text("something longer that was there before, and is no word of ours")

    ending.leave(word, str(log))

    assert ending.read(log.read_text()) is word


def test_where_nobody_reads_it_no_file_is_made(tmp_path: Path) -> None:
    ending.leave(Ending.PORT_UNAVAILABLE, str(tmp_path / "termination-log"))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("message", [None, "", "CredentialsUnusable", "agentservice: Anything", "agentservice: "])
def test_other_texts_say_nothing(message: str | None) -> None:
    assert ending.read(message) is None


def test_a_refusal_names_its_word(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "new.json").write_text('{"schema_version": 99}')

    with pytest.raises(ConfigurationError) as no_directory:
        api_keys.ApiKeys(tmp_path / "none")
    with pytest.raises(ConfigurationError) as no_keys:
        api_keys.ApiKeys(tmp_path / "keys")
    with pytest.raises(ConfigurationError) as missing:
        settings.load_config(tmp_path / "none.json")
    with pytest.raises(ConfigurationError) as too_new:
        settings.load_config(tmp_path / "new.json")

    assert no_directory.value.ending is Ending.API_KEYS_UNUSABLE
    assert no_keys.value.ending is Ending.API_KEYS_UNUSABLE
    assert missing.value.ending is Ending.CONFIGURATION_UNREADABLE
    assert too_new.value.ending is Ending.CONFIGURATION_TOO_NEW
