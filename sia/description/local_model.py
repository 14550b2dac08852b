"""A language model on this machine, through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sia.description.language_model import TOKENS, LanguageModelError, Message
from sia.errors import first_line

CPU = torch.device("cpu")


class LocalModel:
    """A causal language model with safetensors weights; no code of its repository is run.

    Args:
        source: a folder, or a name on the Hugging Face hub.
        device: where it runs.

    Raises:
        LanguageModelError: it can't be loaded.
    """

    def __init__(self, source: str, device: torch.device = CPU) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer  # slow to import, and seldom needed

        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            model: Any = AutoModelForCausalLM.from_pretrained(source, trust_remote_code=False, use_safetensors=True)
            model = model.to(device).eval()
        except Exception as error:  # transformers raises many kinds, and none of its own
            raise LanguageModelError(
                f"-LLM {source} can't be loaded as a language model: {first_line(error)}. Give a folder or a name on "
                "the hub with config.json, a tokenizer and model.safetensors.",
                final=True,
            ) from error
        self._tokenizer, self._model = tokenizer, model
        self.name = f"transformers:{source}"

    @torch.inference_mode()
    def answer(self, messages: Sequence[Message]) -> str:
        """Greedy, so the same each time.

        Raises:
            LanguageModelError: the conversation doesn't fit into the model's context.
        """
        tokens = self._tokenizer(self._prompt(messages), return_tensors="pt", add_special_tokens=False)
        ids = tokens["input_ids"].to(self._model.device)
        room = getattr(self._model.config, "max_position_embeddings", None) or 1 << 30
        if ids.shape[1] >= room:
            raise LanguageModelError(
                f"{self.name} takes {room} tokens, but the facts of one person have {ids.shape[1]}."
            )
        made = self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=min(TOKENS, room - ids.shape[1]),
            pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id or 0,
        )
        return str(self._tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True))

    def _prompt(self, messages: Sequence[Message]) -> str:
        if self._tokenizer.chat_template:
            return str(self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))
        return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages) + "\n\nassistant: "
