"""The application behind the serving port."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPMethod, HTTPStatus
from typing import NoReturn

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Match
from starlette.types import ASGIApp

from agent_runtime.api.agents import agent_routes
from agent_runtime.api.ask import Agents
from agent_runtime.api.batch import batch_routes
from agent_runtime.api.chat import Chat, chat_routes
from agent_runtime.api.conversations import conversation_routes
from agent_runtime.api.docs import DOCS_PATHS, docs_routes
from agent_runtime.api.errors import METHOD_NOT_ALLOWED, NOT_FOUND, ProblemError
from agent_runtime.api.followers import Followers
from agent_runtime.api.health import health_routes
from agent_runtime.api.live_runs import LiveRuns
from agent_runtime.api.openapi import openapi_document
from agent_runtime.api.runs import run_routes
from agent_runtime.api.service import service_routes
from agent_runtime.api.task_routes import task_routes
from agent_runtime.api.tasks import Tasks
from agent_runtime.api_keys import ApiKeys
from agent_runtime.lifecycle import Lifecycle
from agent_runtime.pipeline.admission import Admission
from agent_runtime.pipeline.compose import wrap_agent, wrap_routes
from agent_runtime.pipeline.idempotency import Idempotency
from agent_runtime.pipeline.identity import OPEN_PATHS
from agent_runtime.pipeline.interruption import Turns
from agent_runtime.resources import Resources
from agent_runtime.state.conversation_list import ConversationList
from agent_runtime.state.service_statistics import ServiceStatistics


def build_app(
    resources: Resources,
    *,
    keys: ApiKeys,
    lifecycle: Lifecycle,
    turns: Turns,
    admission: Admission,
    runs: LiveRuns,
    idempotency: Idempotency,
) -> ASGIApp:
    """Routes and stages, put together."""
    config, lock, statistics = resources.config, resources.lock, resources.statistics
    database = resources.database
    handler = wrap_agent(
        resources.agent(resources.conversations),
        statistics=statistics,
        turns=turns,
        admission=admission,
        conversations=lock,
        timeout_seconds=config.request_timeout_seconds,
    )
    # As middleware, not around the application, whose own outermost layer would answer failures before `problems` does.
    stages = Middleware(
        wrap_routes,
        keys=keys,
        open_paths=OPEN_PATHS | (DOCS_PATHS if config.api_docs else set()),
        lifecycle=lifecycle,
        interactions=resources.interactions,
        prefix=config.path_prefix,
        origins=config.cors_allowed_origins,
    )
    app = FastAPI(openapi_url=None, redirect_slashes=False, middleware=[stages])
    app.add_exception_handler(HTTPException, _name_refusal_of_router)
    agents = Agents.of(config)
    of_service = ServiceStatistics(database, agents.by_name) if database.shared else None
    app.include_router(agent_routes(config, statistics, of_service))
    app.include_router(conversation_routes(ConversationList(database), lock))
    tasks = Tasks(resources.tasks, resources.bell, prefix=config.path_prefix or "", slots=config.tasks.concurrency)
    followers = Followers()
    app.include_router(chat_routes(Chat(agents, handler, turns, runs, idempotency, tasks, followers)))
    app.include_router(batch_routes(agents, handler, idempotency, tasks))
    app.include_router(run_routes(runs, turns, followers))
    app.include_router(
        task_routes(
            tasks,
            agents,
            resources.conversations,
            idempotency=idempotency,
            lifecycle=lifecycle,
            followers=followers,
        )
    )
    app.include_router(service_routes(config, lifecycle))
    app.include_router(
        health_routes(
            config,
            lifecycle=lifecycle,
            models=resources.models,
            database=database,
            tasks=resources.tasks,
            bell=resources.bell,
            tools=resources.tools,
            admission=admission,
            statistics=statistics,
        )
    )
    if config.api_docs:
        app.include_router(docs_routes(lambda: openapi_document(app)))
    return app


async def _name_refusal_of_router(request: Request, error: Exception) -> NoReturn:
    """404 and 405 in our words; nothing else comes from the router, since bodies are read by us."""
    match error:
        case HTTPException(status_code=HTTPStatus.NOT_FOUND):
            raise ProblemError(NOT_FOUND, "The paths are in the documentation of the runtime.") from None
        case HTTPException(status_code=HTTPStatus.METHOD_NOT_ALLOWED):
            headers = {"Allow": ", ".join(_methods_of(request))}
            raise ProblemError(METHOD_NOT_ALLOWED, f"{request.method} is not served here.", headers=headers) from None
    raise error


def _methods_of(request: Request) -> Iterator[str]:
    """Those that its path takes; the router itself names only those of the first route of the path."""
    for method in HTTPMethod:
        scope = {**request.scope, "method": method.value}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            yield method.value
