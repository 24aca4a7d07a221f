"""What a waiting person sees: a line when a long step starts, signs of life while it lasts, a line when it ends."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

_SIGN_OF_LIFE = 15.0  # seconds


def say(message: str) -> None:
    """Print one line of progress to standard error, so that standard output keeps the result."""
    print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Show the work done inside the block.

    Args:
        what: what is being done, as in "building the operator image".
    """
    begin = time.monotonic()
    over = threading.Event()
    say(f"==> {what}")

    def sign_of_life() -> None:
        while not over.wait(_SIGN_OF_LIFE):
            say(f"    {time.monotonic() - begin:4.0f} s so far")

    thread = threading.Thread(target=sign_of_life, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        say(f"    failed after {time.monotonic() - begin:.1f} s")
        raise
    else:
        say(f"    {time.monotonic() - begin:4.1f} s")
    finally:
        over.set()
        thread.join()
