"""A kubeconfig is written for processes that may read it at that moment."""

from __future__ import annotations

import stat
from pathlib import Path

import yaml

from dev.cluster import write_kubeconfig


def test_a_kubeconfig_that_is_written_anew_is_never_seen_in_part(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    write_kubeconfig(path, server="https://127.0.0.1:1", ca=b"", token="first")

    with path.open() as reader:
        write_kubeconfig(path, server="https://127.0.0.1:1", ca=b"", token="second")

        assert yaml.safe_load(reader)["users"][0]["user"]["token"] == "first"
    assert yaml.safe_load(path.read_text())["users"][0]["user"]["token"] == "second"
    assert [file.name for file in tmp_path.iterdir()] == ["kubeconfig"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
