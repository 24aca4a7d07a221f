"""Who may call, and how keys change without a restart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from agent_runtime.api_keys import ApiKeys
from agent_runtime.settings import ConfigurationError
from dev.process import wait_until
from tests.runtime.runtime_process import KEY, OTHER_KEY, RuntimeProcess, runtime_process

RENEWAL_SECONDS = 10
"""The directory is looked at every 2 s."""


@pytest.mark.parametrize(
    "headers",
    [{"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"bearer   {KEY}"}],
)
def test_a_key_is_taken_from_either_header(echo_runtime: RuntimeProcess, headers: dict[str, str]) -> None:
    response = echo_runtime.client.post("/v1/chat", json={"message": "Hi"}, headers=headers)

    assert response.status_code == 200


def test_the_name_of_the_client_is_the_principal(echo_runtime: RuntimeProcess) -> None:
    response = echo_runtime.chat(key=OTHER_KEY)

    assert echo_runtime.request_line(response.headers["x-request-id"])["principal"] == "other"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_is_open_and_says_nothing(echo_runtime: RuntimeProcess, path: str) -> None:
    response = echo_runtime.client.get(path)

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/", "/v1/chat", "/nothing", "/health/live/", "//health/live"])
def test_everything_else_needs_a_key(echo_runtime: RuntimeProcess, path: str) -> None:
    assert echo_runtime.client.get(path).status_code == 401


def test_keys_are_renewed_as_the_kubelet_does_it_without_a_restart(tmp_path: Path) -> None:
    keys = tmp_path / "mounted-keys"
    keys.mkdir()
    _publish(keys, "1", {"demo": "old-test-key\n"})

    with runtime_process(tmp_path, api_keys_directory=str(keys), clients=[{"name": "demo"}]) as runtime:
        assert runtime.chat(key="old-test-key").status_code == 200

        _publish(keys, "2", {"demo": "new-test-key\nold-test-key\n", "other": OTHER_KEY})
        wait_until(lambda: runtime.chat(key="new-test-key").status_code == 200, deadline=RENEWAL_SECONDS)
        assert runtime.chat(key="old-test-key").status_code == 200

        _publish(keys, "3", {"demo": "new-test-key\n"})
        wait_until(lambda: runtime.chat(key="old-test-key").status_code == 401, deadline=RENEWAL_SECONDS)
        assert runtime.chat(key="new-test-key").status_code == 200
        assert runtime.chat(key=OTHER_KEY).status_code == 401


async def test_the_key_from_before_a_rotation_is_the_same_clients(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("new-test-key")
    (tmp_path / "demo.previous").write_text("old-test-key")

    keys = ApiKeys(tmp_path)

    assert [await keys.principal_of(key) for key in ("new-test-key", "old-test-key")] == ["demo", "demo"]


async def test_only_clients_that_are_named_may_call(tmp_path: Path) -> None:
    (tmp_path / "web").write_text("key-of-web-for-tests")
    (tmp_path / "web.previous").write_text("old-key-of-web-for-tests")
    (tmp_path / "mobile").write_text("key-of-mobile-for-tests")

    keys = ApiKeys(tmp_path, clients=["web", "desk"])

    presented = ("key-of-web-for-tests", "old-key-of-web-for-tests", "key-of-mobile-for-tests")
    assert [await keys.principal_of(key) for key in presented] == ["web", "web", None]
    with pytest.raises(ConfigurationError, match="holds no key of desk; put one file per client into the Secret"):
        ApiKeys(tmp_path, clients=["desk"])


async def test_a_key_may_have_any_letters(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("schlüssel-zum-test")

    # As servers hand headers to applications: one letter per byte.
    presented = "schlüssel-zum-test".encode().decode("latin-1")

    assert await ApiKeys(tmp_path).principal_of(presented) == "demo"


def test_a_conversation_outlives_the_key_that_began_it(tmp_path: Path) -> None:
    keys = tmp_path / "mounted-keys"
    keys.mkdir()
    _publish(keys, "1", {"demo": "old-test-key\nnew-test-key\n"})

    with runtime_process(tmp_path, api_keys_directory=str(keys)) as runtime:
        conversation = runtime.chat(key="old-test-key").json()["conversation_id"]

        assert runtime.chat(key="new-test-key", conversation_id=conversation).status_code == 200


def _publish(mount: Path, version: str, files: Mapping[str, str]) -> None:
    """Renew the files of a Secret volume: a new directory, and one symbolic link that is swapped."""
    versioned = mount / f"..{version}"
    versioned.mkdir()
    for name, content in files.items():
        (versioned / name).write_text(content)
        if not (mount / name).is_symlink():
            (mount / name).symlink_to(f"..data/{name}")
    swap = mount / "..data_tmp"
    swap.symlink_to(versioned.name)
    swap.rename(mount / "..data")
