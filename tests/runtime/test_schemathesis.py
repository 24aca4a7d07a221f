"""Schemathesis: requests made from the OpenAPI document, as it says and as it does not say, on every database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.runtime.runtime_process import KEY, runtime_process

ROOT = Path(__file__).parents[2]
RUN = "/v1/runs/{run_id}/events"
SEED = 20261127
EXAMPLES = 20
"""Of each call, besides those that come of each keyword of its schemas."""


def test_every_call_is_as_its_document_says(tmp_path: Path, state: dict[str, Any]) -> None:
    with runtime_process(tmp_path, state=state, api_docs=True) as runtime:
        run_id = runtime.stream("Hello", on_disconnect="continue")[0].data["run_id"]
        # Ids of runs come in events only, where Schemathesis does not look for them.
        settings = tmp_path / "schemathesis.toml"
        settings.write_text(f'[[operations]]\ninclude-path = "{RUN}"\nparameters = {{ run_id = "{run_id}" }}\n')
        command = [
            *(sys.executable, "-m", "schemathesis.cli", f"--config-file={settings}", "run"),
            *(f"http://127.0.0.1:{runtime.port}/openapi.json", "--header", f"X-API-Key:{KEY}", "--checks=all"),
            *("--continue-on-failure", "--no-shrink", "--generation-database=none", "--no-color"),
            *(f"--max-examples={EXAMPLES}", f"--seed={SEED}"),
        ]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.runtime.schemathesis_hooks"}
        run = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)

        assert run.returncode == 0, run.stdout + run.stderr
        failures = [line for line in runtime.log() if line["event"] == "unexpected failure"]

    assert failures == []
