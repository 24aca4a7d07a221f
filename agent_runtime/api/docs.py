"""GET /openapi.json and /docs: the description of the API, and a page that shows it and tries it out.

The page is Swagger UI (https://github.com/swagger-api/swagger-ui), whose files come with the image: a browser asks
nobody else. Nothing here needs a key, which a browser does not send with the address of a page; to try something out
one is typed in there.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from functools import cache
from typing import Any

from fastapi import APIRouter
from starlette.responses import FileResponse, HTMLResponse, Response

from agent_runtime.api.json_response import json_response

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Agent runtime</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null});
"""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing runs or is loaded that does not come from here, however it got into the page."""
_CACHED = {"Cache-Control": "public, max-age=3600"}
_FILES = {
    "/docs/swagger-ui-bundle.js": "text/javascript",
    "/docs/swagger-ui.css": "text/css",
    "/docs/favicon-32x32.png": "image/png",
}
DOCS_PATHS = frozenset({"/openapi.json", "/docs", "/docs/start.js", *_FILES})
"""What is served to everybody."""


def docs_routes(describe: Callable[[], dict[str, Any]]) -> APIRouter:
    """The routes of what `describe` returns."""
    router = APIRouter(include_in_schema=False)
    # Only here, since most services have no such page.
    files = importlib.resources.files("fastapi_swagger.resources")
    document = cache(describe)

    @router.get("/openapi.json")
    async def openapi() -> Response:
        return json_response(document())

    @router.get("/docs")
    async def page() -> Response:
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"})

    @router.get("/docs/start.js")
    async def start() -> Response:
        return Response(_START, headers=_CACHED, media_type="text/javascript")

    def serve(path: str, media_type: str) -> None:
        file = str(files / path.rpartition("/")[2])

        @router.get(path)
        async def asset() -> Response:
            return FileResponse(file, headers=_CACHED, media_type=media_type)

    for path, media_type in _FILES.items():
        serve(path, media_type)
    return router
