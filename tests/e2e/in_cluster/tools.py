"""A server of tools for pods of the runtime's image: answers every request; GET /calls tells what it was asked."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

calls: list[dict[str, Any]] = []


async def tell(_: Request) -> Response:
    """What was asked so far."""
    return JSONResponse(calls)


async def answer(request: Request) -> Response:
    """Answer what a tool is asked."""
    body = (await request.body()).decode()
    calls.append({"method": request.method, "path": request.url.path, "headers": dict(request.headers), "body": body})
    return PlainTextResponse(f"order {len(calls)} is on its way")


if __name__ == "__main__":
    routes = [Route("/calls", tell), Route("/{path:path}", answer, methods=["GET", "POST"])]
    uvicorn.run(Starlette(routes=routes), host="0.0.0.0", port=int(sys.argv[1]), access_log=False)
