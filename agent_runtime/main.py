"""The commands that serve and work: what can be wrong is found, and said in one sentence, before a port opens."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
import uvloop

from agent_runtime import __version__, ending, logs, metrics
from agent_runtime.admin import admin_app, admin_server
from agent_runtime.agent.providers import check_credentials
from agent_runtime.api_keys import ApiKeys
from agent_runtime.config import RuntimeConfig
from agent_runtime.lifecycle import Lifecycle
from agent_runtime.local import local_config, make_first_key
from agent_runtime.observed import Observed
from agent_runtime.pipeline.admission import Admission
from agent_runtime.pipeline.cors import check_origins
from agent_runtime.server import bind, is_loopback, serve_until_told
from agent_runtime.settings import ConfigurationError, Settings, load_config, load_settings
from agent_runtime.tls import check_trust_bundle
from agent_runtime.worker import work_until_told

EXIT_MISCONFIGURED = 2


def serve() -> int:
    """Serve until told to end.

    Returns:
        0 after a drain, 2 where the process cannot serve as it is configured.
    """
    return _run(_serve)


def work() -> int:
    """Run tasks until told to end.

    Returns:
        As `serve`.
    """
    return _run(_work)


def _run(command: Callable[[Settings, RuntimeConfig], None]) -> int:
    # As process 1 of a container we would not be ended by these signals without a handler.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit_before_serving)
    try:
        settings = load_settings()
        with _configuration(settings) as config:
            logs.configure(config.log_level, config.service, text=settings.log_format == "text")
            check_credentials(config)
            check_trust_bundle(config)
            check_origins(config.cors_allowed_origins, settings.environment)
            command(settings, config)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        ending.leave(error.ending)
        return EXIT_MISCONFIGURED
    return 0


def _configuration(settings: Settings) -> AbstractContextManager[RuntimeConfig]:
    if not settings.local:
        return nullcontext(load_config(settings.config_path))
    return local_config(settings.environment)


def _serve(settings: Settings, config: RuntimeConfig) -> None:
    if settings.local:
        make_first_key(config)
    keys = ApiKeys(
        Path(config.api_keys_directory),
        clients=[client.name for client in config.clients],
        strong=settings.environment == "production",
    )
    admin_listener = bind(settings.bind_address, settings.admin_port, variable="ADMIN_PORT")
    listener = bind(settings.bind_address, settings.port, variable="PORT")
    admission = Admission(limit=config.max_concurrent_requests, queue_limit=config.max_queued_requests)
    lifecycle, observed = Lifecycle(), Observed()
    _announce(settings, port=listener.getsockname()[1], admin_port=admin_listener.getsockname()[1])
    admin = admin_app(config, revision=settings.revision, lifecycle=lifecycle, admission=admission, observed=observed)
    with admin_server(admin, admin_listener):
        _until_done(
            serve_until_told(
                config, listener=listener, keys=keys, lifecycle=lifecycle, admission=admission, observed=observed
            )
        )


def _work(settings: Settings, config: RuntimeConfig) -> None:
    if config.state.url_file is None:
        place = "DATABASE_URL is not set" if settings.local else "state.url_file is missing"
        raise ConfigurationError(f"{place}: a worker needs the database of the serving processes; name it there")
    listener = bind(settings.bind_address, settings.admin_port, variable="ADMIN_PORT")
    lifecycle, observed = Lifecycle(), Observed()
    _announce(settings, admin_port=listener.getsockname()[1])
    admin = admin_app(config, revision=settings.revision, lifecycle=lifecycle, admission=None, observed=observed)
    with admin_server(admin, listener):
        _until_done(work_until_told(config, loopback=is_loopback(listener), lifecycle=lifecycle, observed=observed))


def _announce(settings: Settings, **ports: int) -> None:
    structlog.get_logger().info("starting", version=__version__, revision=settings.revision, **ports)
    metrics.BUILD_INFO.labels(__version__).set(1)
    metrics.CONFIG_REVISION.labels(settings.revision).set(1)


def _until_done(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def _exit_before_serving(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
