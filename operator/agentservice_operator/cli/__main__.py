"""``python -m agentservice_operator.cli`` is ``agentctl``."""

from __future__ import annotations

import sys

from agentservice_operator.cli.main import main

sys.exit(main())
