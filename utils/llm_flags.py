"""The two flags that name a language model, the same for training and inference."""

from __future__ import annotations

from urllib.parse import urlsplit

from utils.errors import ConfigError

KEY = "SIA_LLM_KEY"
"""Environment variable with the key, where a server wants one. It is sent to -LLM_URL only, and written nowhere."""


def check_llm(llm: str | None, url: str | None) -> None:
    """Before anything is computed.

    Args:
        llm: -LLM.
        url: -LLM_URL.

    Raises:
        ConfigError: one without the other, not an http(s) address, or an address with a secret in it.
    """
    if url is None:
        return
    if llm is None:
        raise ConfigError("-LLM_URL needs -LLM, the name of the model on that server.")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"-LLM_URL {url} is no http(s) address, such as http://127.0.0.1:8000/v1.")
    if parts.username or parts.password or parts.query:
        raise ConfigError(f"-LLM_URL must hold no secret. Give the key in the environment variable {KEY}.")
