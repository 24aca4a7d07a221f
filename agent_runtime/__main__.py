"""`python -m agent_runtime` serves; with `worker` it runs tasks, with `healthcheck` it asks whether either is ready."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Run the command named by `arguments` and return the exit code of the process."""
    # Imported by need: a health check runs every few seconds and must not load a server.
    match arguments:
        case [] | ["serve"]:
            from agent_runtime.main import serve  # noqa: PLC0415 - see above

            return serve()
        case ["worker"]:
            from agent_runtime.main import work  # noqa: PLC0415 - see above

            return work()
        case ["healthcheck"]:
            from agent_runtime.healthcheck import healthcheck  # noqa: PLC0415 - see above

            return healthcheck()
    sys.stderr.write("usage: python -m agent_runtime [serve|worker|healthcheck]\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
