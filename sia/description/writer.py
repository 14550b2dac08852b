"""Puts people into words: templates at once, a language model where one is asked, its lies left out."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sia.description import language_model as llm
from sia.description.doubt import Doubt
from sia.description.fact import Fact, Sentence
from sia.description.sentences import describe
from sia.description.verifier import problem_of
from sia.io.output_file import write_json

_PATIENCE = 3
"""Calls in a row without an answer after which the model isn't asked any more."""


@dataclass
class Tally:
    """What became of the model's answers.

    Attributes:
        asked: people that the model was to describe.
        answers: answers that came, from the cache or anew.
        cached: of these, from the cache.
        broken: of these, not of the form that was asked for.
        failed: calls without an answer.
        given: sentences in the answers.
        kept: of these, what the facts confirm.
        templates: people that the model was asked for, but templates describe.
        sure: people whom it wasn't asked for, because nobody is in doubt about them.
    """

    asked: int = 0
    answers: int = 0
    cached: int = 0
    broken: int = 0
    failed: int = 0
    given: int = 0
    kept: int = 0
    templates: int = 0
    sure: int = 0

    def figures(self) -> dict[str, Any]:
        """For the report; the faithfulness rate is None where the model said nothing."""
        rate = round(self.kept / self.given, 4) if self.given else None
        return {"faithfulness": rate, **{f"llm_{name}": value for name, value in asdict(self).items()}}


@dataclass(frozen=True)
class Words:
    """What is said of one person.

    Attributes:
        templates: sentences made by rule.
        model: sentences of the language model that the facts confirm; empty where it wasn't asked or only lied.
        dropped: its other sentences, with the reason.
        unsure: why the model was asked, or should have been; None where nobody is in doubt.
    """

    templates: tuple[Sentence, ...]
    model: tuple[Sentence, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    unsure: str | None = None

    @property
    def text(self) -> str:
        """The model's sentences, or else the templates'."""
        return " ".join(sentence.text for sentence in self.model or self.templates)

    @property
    def author(self) -> str:
        """Who wrote the text, and why."""
        return f"language model, as {self.unsure}" if self.model else "templates"

    def to_dict(self) -> dict[str, Any]:
        """Plain types only."""
        dropped = [{"text": text, "reason": reason} for text, reason in self.dropped]
        about = {"text": self.text, "source": "model" if self.model else "templates", "author": self.author}
        return {**about, **asdict(self), "dropped": dropped}


class DescriptionWriter:
    """Describes one person after the other.

    Args:
        model: asked for each person in doubt; None for templates alone.
        folder: of prompts and answers, each a file; answers in it are used again. Made when needed.
        most: people that the model is asked for; the rest get templates.
        say: prints a line.
        doubt: of whom a model is unsure.
    """

    def __init__(
        self,
        model: llm.LanguageModel | None,
        folder: Path,
        most: int,
        say: Callable[[str], None] = lambda line: None,
        doubt: Doubt | None = None,
    ) -> None:
        self.model, self.folder, self.most, self.say = model, folder, most, say
        self.doubt = doubt or Doubt()
        self.tally = Tally()
        self._failures = 0

    def describe(self, facts: Sequence[Fact], person: int, unsure: str | None = "") -> Words:
        """Words for one person; never fails for the model's sake, which isn't asked where ``unsure`` is None."""
        words = Words(tuple(describe(facts, person)), unsure=unsure)
        self.tally.sure += unsure is None
        if unsure is None or self.model is None or self.tally.asked >= self.most or self._failures >= _PATIENCE:
            return words
        self.tally.asked += 1
        kept, dropped = self._ask(facts, person)
        self.tally.templates += not kept
        return replace(words, model=tuple(kept), dropped=tuple(dropped))

    def _ask(self, facts: Sequence[Fact], person: int) -> tuple[list[Sentence], list[tuple[str, str]]]:
        """Sentences kept and dropped; asks a second time where nothing was kept."""
        messages, dropped = llm.ask(facts, person), list[tuple[str, str]]()
        for _ in range(2):
            answer = self._answer(messages)
            if answer is None:
                break
            kept, problems = self._check(answer, facts, person)
            dropped += problems
            if kept:
                return kept, dropped
            messages = llm.ask_again(messages, answer, [f"{text}: {reason}" for text, reason in problems])
        return [], dropped

    def _check(self, answer: str, facts: Sequence[Fact], person: int) -> tuple[list[Sentence], list[tuple[str, str]]]:
        try:
            sentences = llm.read_answer(answer)
        except llm.BrokenAnswer as error:
            self.tally.broken += 1
            return [], [("", str(error))]
        checked = [(sentence, problem_of(sentence, facts, person)) for sentence in sentences]
        kept = [sentence for sentence, problem in checked if not problem]
        self.tally.given += len(checked)
        self.tally.kept += len(kept)
        return kept, [(sentence.text, problem) for sentence, problem in checked if problem]

    def _answer(self, messages: Sequence[llm.Message]) -> str | None:
        """From the cache, or from the model; None where it doesn't answer."""
        assert self.model is not None
        turns = list(messages)
        key = hashlib.sha256(json.dumps([self.model.name, turns]).encode()).hexdigest()[:24]
        path = self.folder / f"{key}.json"
        known = _cached(path, self.model.name, turns)
        if known is not None:
            self.tally.answers, self.tally.cached = self.tally.answers + 1, self.tally.cached + 1
            return known
        begin = time.perf_counter()
        try:
            answer = self.model.answer(messages)
        except llm.LanguageModelError as error:
            self._give_up(error)
            return None
        self._failures, self.tally.answers = 0, self.tally.answers + 1
        self.folder.mkdir(parents=True, exist_ok=True)
        seconds = round(time.perf_counter() - begin, 3)
        write_json(path, {"model": self.model.name, "messages": turns, "answer": answer, "seconds": seconds}, indent=1)
        return answer

    def _give_up(self, error: llm.LanguageModelError) -> None:
        """Says so at the first failure, and when the model won't be asked any more."""
        first = not self.tally.failed
        self.tally.failed += 1
        self._failures = _PATIENCE if error.final else self._failures + 1
        ended = self._failures >= _PATIENCE
        if first or ended:
            self.say(f"{error} {'All further people get' if ended else 'This person gets'} template sentences.")


def _cached(path: Path, model: str, turns: list[dict[str, str]]) -> str | None:
    """An earlier answer to exactly this; a file that is broken or of something else counts as none."""
    try:
        content = json.loads(path.read_bytes())
        same = content["model"] == model and content["messages"] == turns and isinstance(content["answer"], str)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return str(content["answer"]) if same else None
