"""The serve command: everything that can be wrong is found, and said in one sentence, before the port opens."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType

import structlog
import uvloop

from agent_runtime import __version__, ending, logs, metrics
from agent_runtime.admin import admin_app, admin_server
from agent_runtime.agent.model import Model
from agent_runtime.agent.providers import check_credentials
from agent_runtime.api_keys import ApiKeys
from agent_runtime.config import RuntimeConfig
from agent_runtime.lifecycle import Lifecycle
from agent_runtime.local import local_config
from agent_runtime.pipeline.admission import Admission
from agent_runtime.server import bind, serve_until_told
from agent_runtime.settings import ConfigurationError, Settings, load_config, load_settings
from agent_runtime.tls import check_trust_bundle

EXIT_MISCONFIGURED = 2


def serve() -> int:
    """Serve until told to end.

    Returns:
        0 after a drain, 2 where the process cannot serve as it is configured.
    """
    # As process 1 of a container we would not be ended by these signals without a handler.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit_before_serving)
    try:
        settings = load_settings()
        with _configuration(settings) as config:
            logs.configure(config.log_level, config.service, text=settings.log_format == "text")
            keys = ApiKeys(Path(config.api_keys_directory), strong=settings.environment == "production")
            check_credentials(config)
            check_trust_bundle(config)
            admin_listener = bind(settings.bind_address, settings.admin_port, variable="ADMIN_PORT")
            listener = bind(settings.bind_address, settings.port, variable="PORT")
            _serve(settings, config, keys, listener, admin_listener)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        ending.leave(error.ending)
        return EXIT_MISCONFIGURED
    return 0


def _configuration(settings: Settings) -> AbstractContextManager[RuntimeConfig]:
    if not settings.local:
        return nullcontext(load_config(settings.config_path))
    # Before the configuration says more: the key of callers may be made on the way.
    logs.configure("info", "local", text=settings.log_format == "text")
    return local_config(settings.environment)


def _serve(
    settings: Settings, config: RuntimeConfig, keys: ApiKeys, listener: socket.socket, admin_listener: socket.socket
) -> None:
    structlog.get_logger().info(
        "starting",
        version=__version__,
        revision=settings.revision,
        port=listener.getsockname()[1],
        admin_port=admin_listener.getsockname()[1],
    )
    metrics.BUILD_INFO.labels(__version__).set(1)
    metrics.CONFIG_REVISION.labels(settings.revision).set(1)
    lifecycle = Lifecycle()
    admission = Admission(limit=config.max_concurrent_requests, queue_limit=config.max_queued_requests)
    models: dict[str, Model] = {}
    admin = admin_app(config, revision=settings.revision, lifecycle=lifecycle, admission=admission, models=models)
    with admin_server(admin, admin_listener), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        serving = serve_until_told(
            config, listener=listener, keys=keys, lifecycle=lifecycle, admission=admission, models=models
        )
        runner.run(serving)


def _exit_before_serving(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
