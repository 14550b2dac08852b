"""What is asked of a language model, and what is accepted as an answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Protocol

import msgspec

from sia.description.fact import FLOOR, Fact, Sentence
from sia.description.sentences import say
from sia.errors import SiaError


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


_IDS = {"type": "array", "items": {"type": "string"}}
SCHEMA = _object(sentences={"type": "array", "items": _object(text={"type": "string"}, fact_ids=_IDS)})
"""JSON schema of an answer."""

TOKENS = 700
"""Longest answer."""

_TASK = """You write a short description of one person in an image, from measured facts only.
Answer with JSON and nothing else: {"sentences": [{"text": "...", "fact_ids": ["..."]}]}
Rules:
- One to six sentences. Begin with the posture and the facing, where there are facts of them.
- Each sentence lists the ids of all facts that it says, and says nothing that is not in them.
- Copy numbers as they are. Keep left and right as they are: they are the person's own.
- Join facts with plain words such as: the, is, are, and, while, with, at. Use no other words than those of the facts.
- No guesses about clothes, age, sex, feelings, things, places or intentions."""


class LanguageModelError(SiaError):
    """A language model that can't be loaded, can't be reached, or refuses.

    Attributes:
        final: whether asking again is pointless.
    """

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


Message = dict[str, str]
"""One turn of a conversation, as servers and chat templates take it: role (system, user, assistant) and content."""


class LanguageModel(Protocol):
    """Something that answers.

    Attributes:
        name: says which weights or which server, without secrets; answers are cached under it.
    """

    name: str

    def answer(self, messages: Sequence[Message]) -> str:
        """The text that follows the conversation; the same each time, as far as the model allows.

        Raises:
            LanguageModelError: there is no answer.
        """


class _Answer(msgspec.Struct):
    sentences: Annotated[list[Sentence], msgspec.Meta(min_length=1)]


class BrokenAnswer(Exception):
    """An answer that is not the JSON that was asked for; the text says what is wrong."""


def ask(facts: Sequence[Fact], person: int) -> list[Message]:
    """The conversation that asks for sentences about one person."""
    lines = [
        json.dumps({"id": fact.id, "says": say(fact).text, "value": fact.value, "unit": fact.unit})
        for fact in facts
        if fact.confidence >= FLOOR
    ]
    question = f"Facts about person {person}:\n" + "\n".join(lines)
    return [{"role": "system", "content": _TASK}, {"role": "user", "content": question}]


def ask_again(before: Sequence[Message], answer: str, problems: Sequence[str]) -> list[Message]:
    """The conversation that asks to mend an answer."""
    listed = "\n".join(f"- {problem}" for problem in problems[:6])
    again = f"This is wrong:\n{listed}\nAnswer again, with the JSON only."
    return [*before, {"role": "assistant", "content": answer[:4000]}, {"role": "user", "content": again}]


def read_answer(text: str) -> list[Sentence]:
    """The sentences of an answer; what stands around the JSON is ignored.

    Raises:
        BrokenAnswer: there is no JSON of the right form.
    """
    start = text.find("{")
    if start < 0:
        raise BrokenAnswer("there is no JSON in it")
    try:
        value, _ = json.JSONDecoder().raw_decode(text[start:])
        answer = msgspec.convert(value, _Answer)
    except (ValueError, RecursionError) as error:  # those of msgspec are ValueErrors
        raise BrokenAnswer(f"the JSON is broken ({error})") from None
    return [Sentence(sentence.text.strip(), sentence.fact_ids) for sentence in answer.sentences]
