"""The providers, one file each, and which of them the configuration asks for."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from pathlib import Path

from agent_runtime.agent.model import Model, Provider
from agent_runtime.agent.providers.echo import EchoProvider
from agent_runtime.config import ModelConfig, RuntimeConfig
from agent_runtime.credentials import read_key
from agent_runtime.ending import Ending
from agent_runtime.settings import ConfigurationError
from agent_runtime.tls import outbound_tls


def check_credentials(config: RuntimeConfig) -> None:
    """See whether each model has its credentials, before anything slow is done.

    Raises:
        ConfigurationError: a file is missing or holds no key: an agent on that model could never answer.
    """
    for model in config.models:
        if model.anthropic is None:
            continue
        path = Path(model.anthropic.credentials_file)
        try:
            read_key(path)
        except OSError as error:
            reason = f"cannot be read ({error.strerror})"
        except ValueError as error:
            reason = str(error)
        else:
            continue
        raise ConfigurationError(
            f"models[{model.name}].anthropic.credentials_file: {path} {reason}; "
            "put the API key into the Secret that is mounted there",
            Ending.CREDENTIALS_UNUSABLE,
        )


async def open_models(config: RuntimeConfig) -> Mapping[str, Model]:
    """The models of the configuration by their handles."""
    return {
        model.name: Model(
            name=model.name,
            provider=await _open_provider(model, config.trust_bundle_file),
            max_tokens=model.max_tokens,
            first_token_timeout_seconds=model.first_token_timeout_seconds,
            retries=model.retries,
        )
        for model in config.models
    }


async def _open_provider(model: ModelConfig, trust_bundle_file: str | None) -> Provider:
    if model.anthropic is None:
        return EchoProvider()
    # The SDK takes seconds to import: only where it is needed, and beside the loop, which goes on beating.
    module = await asyncio.to_thread(importlib.import_module, "agent_runtime.agent.providers.anthropic")
    provider: Provider = module.AnthropicProvider(model.anthropic, outbound_tls(trust_bundle_file))
    return provider
