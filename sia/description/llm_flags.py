"""The two flags that name a language model, the same for training and inference."""

from __future__ import annotations

import re

from sia.errors import ConfigError
from sia.io.secrets import mask

KEY = "SIA_LLM_KEY"
"""Environment variable with the key, where a server wants one. It is sent to -LLM_URL only, and written nowhere."""


_ADDRESS = re.compile(r"https?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?(/[^\s@?#;]*)?", re.ASCII | re.IGNORECASE)


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
    if not _ADDRESS.fullmatch(url) or mask(url) != url:  # what may be a secret is not repeated
        raise ConfigError(
            "-LLM_URL must be an http(s) address such as http://127.0.0.1:8000/v1, without a name, password or query. "
            f"Give the key in the environment variable {KEY}."
        )
