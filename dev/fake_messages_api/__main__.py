"""`python -m dev.fake_messages_api [--host HOST] [--port PORT]`."""

from __future__ import annotations

import argparse

import uvicorn

from dev.fake_messages_api.app import app


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m dev.fake_messages_api", description="A fake Messages API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8089, help="port to listen on (default: %(default)s)")
    arguments = parser.parse_args()
    uvicorn.run(app(), host=arguments.host, port=arguments.port, access_log=False, lifespan="off")


if __name__ == "__main__":
    main()
