"""PostgreSQL and Redis for pods of tests: one image, made from Debian packages where no registry would give one."""

from __future__ import annotations

from pathlib import Path

from dev.engine import Engine
from dev.images import base_image
from dev.progress import step

_RECIPE = Path(__file__).parent / "test_servers"


def server_image(engine: Engine) -> str:
    """Build the image of both servers; what has not changed comes from the engine's cache.

    Its commands are `start-postgresql` and `redis-server`.

    Args:
        engine: where it is built, and stays.

    Returns:
        Its name, whose tag names the content.

    Raises:
        NoEngineError: the base image can neither be pulled nor made.
        RuntimeError: with the end of a failed build's log.
    """
    newest = "localhost/agentservice/test-servers:newest"
    base = f"--build-arg=BASE_IMAGE={base_image(engine)}"
    with step("building the image of PostgreSQL and Redis"):
        # A package mirror on this machine's loopback is out of reach of the build's own network.
        engine.docker("build", "--progress=plain", "--network=host", f"--tag={newest}", base, str(_RECIPE))
    content = (engine.image_id(newest) or "").removeprefix("sha256:")
    image = f"localhost/agentservice/test-servers:{content[:12]}"
    engine.docker("tag", newest, image)
    return image
