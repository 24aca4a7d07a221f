"""`python -m agent_runtime` serves; with `healthcheck` it asks the server on this host whether it is ready."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Run the command named by `arguments` and return the exit code of the process."""
    # Imported by need: a health check runs every few seconds and must not load a server.
    match arguments:
        case [] | ["serve"]:
            from agent_runtime.main import serve  # noqa: PLC0415 - see above

            return serve()
        case ["healthcheck"]:
            from agent_runtime.healthcheck import healthcheck  # noqa: PLC0415 - see above

            return healthcheck()
    sys.stderr.write("usage: python -m agent_runtime [serve|healthcheck]\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
