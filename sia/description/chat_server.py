"""A language model behind an OpenAI-compatible server (POST .../chat/completions)."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import msgspec

from sia.description.language_model import SCHEMA, TOKENS, LanguageModelError, Message
from sia.description.llm_flags import KEY
from sia.io.secrets import mask, read_key

TIMEOUT = 120.0
"""Seconds that one answer may take."""
ATTEMPTS = 2
"""How often a busy or broken server is asked."""
_LARGEST = 1 << 20
"""Bytes of an answer that are read."""
_NEVER = (401, 403, 404, 405)


class ChatServer:
    """Asks one model on one server.

    Args:
        url: the base, such as ``http://127.0.0.1:8000/v1``, as `sia.description.llm_flags.check_llm` lets it pass.
        model: its name on the server.
        seed: for servers that draw.
        timeout: seconds that one answer may take.
        pause: seconds before another attempt.

    Raises:
        ConfigError: the key can't be sent.
    """

    def __init__(self, url: str, model: str, seed: int = 0, timeout: float = TIMEOUT, pause: float = 1.0) -> None:
        self._address = url.rstrip("/") + "/chat/completions"
        self._model, self._seed, self._timeout, self._pause = model, seed, timeout, pause
        read_key(KEY)  # a wrong one is said now
        self._structured = True
        self._opener = urllib.request.build_opener(_NoRedirects)
        self.name = f"{url.rstrip('/')}:{model}:{seed}"

    def answer(self, messages: Sequence[Message]) -> str:
        """Asks; a server that knows no schema is asked without one.

        Raises:
            LanguageModelError: no answer; `final` where the key, the address or the model's name is wrong.
        """
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(self._pause)
            try:
                return self._content(self._post(messages))
            except urllib.error.HTTPError as error:
                reason = self._judge(error)
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason = mask(str(getattr(error, "reason", None) or error)) or type(error).__name__
        raise LanguageModelError(f"No answer from {self._address}: {reason}.")

    def _judge(self, error: urllib.error.HTTPError) -> str:
        reason = f"the server answers {error.code} {mask(str(error.reason))}"
        if error.code in _NEVER:
            hint = f"Set {KEY} to a valid key" if error.code in (401, 403) else "Check -LLM_URL and -LLM"
            raise LanguageModelError(f"{self._address}: {reason}. {hint}.", final=True) from None
        if error.code in (400, 422):
            self._structured = False
        return reason

    def _post(self, messages: Sequence[Message]) -> bytes:
        body: dict[str, Any] = {
            "model": self._model, "messages": list(messages),
            "temperature": 0, "seed": self._seed, "max_tokens": TOKENS,
        }  # fmt: skip
        if self._structured:
            schema = {"name": "description", "strict": True, "schema": SCHEMA}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._address, json.dumps(body).encode(), headers, method="POST")
        if key := read_key(KEY):
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        end = time.monotonic() + self._timeout
        with self._opener.open(request, timeout=self._timeout) as response:
            return _read(response, end)

    @staticmethod
    def _content(body: bytes) -> str:
        try:
            return msgspec.convert(json.loads(body)["choices"][0]["message"]["content"], str)
        except (ValueError, LookupError, TypeError, RecursionError):
            raise ValueError("what it answers is no chat completion, or has no text") from None


def _read(response: http.client.HTTPResponse, end: float) -> bytes:
    """The whole body; a server that drips is cut off in the end."""
    parts, size = [], 0
    while chunk := response.read1(65536):
        parts.append(chunk)
        size += len(chunk)
        if size > _LARGEST:
            raise ValueError(f"its answer has more than {_LARGEST} bytes")
        if time.monotonic() > end:
            raise TimeoutError("the answer took too long")
    return b"".join(parts)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The facts go where the user sent them, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        """An error in place of a redirect."""
        return None
