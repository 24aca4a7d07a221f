"""A provider of the Messages API that does what it is told: for tests, the demo and benchmarks.

`app()` is the ASGI application, `running()` serves it from a thread, `python -m dev.fake_messages_api` from a process.
"""

from dev.fake_messages_api.app import app
from dev.fake_messages_api.server import FakeMessagesApi, running

__all__ = ["FakeMessagesApi", "app", "running"]
