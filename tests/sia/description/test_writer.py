"""From facts to words with language models: a server that answers, lies and breaks, and a local model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sia.description.chat_server import ChatServer
from sia.description.fact import Fact
from sia.description.facts import measure
from sia.description.image import make_model
from sia.description.language_model import BrokenAnswer, LanguageModelError, ask, read_answer
from sia.description.llm_flags import KEY
from sia.description.local_model import LocalModel
from sia.description.writer import DescriptionWriter
from sia.errors import ConfigError
from tests.serving import serving
from tests.sia.description.chat import Chat, sentences
from tests.sia.description.people import RAISED, body

ELBOW = "The left elbow is bent at 90 degrees."
NAMES = ["p1.bend.left_elbow", "p1.angle.left_elbow"]


@pytest.fixture
def facts() -> list[Fact]:
    return measure(body(RAISED), 1)


@pytest.fixture
def chat():
    with serving(Chat()) as server:
        yield server


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def writer(chat, tmp_path: Path, said: list[str]) -> DescriptionWriter:
    return DescriptionWriter(
        ChatServer(chat.address, "tiny", pause=0.01, timeout=5.0), tmp_path / "answers", 50, said.append
    )


def test_true_sentences_are_kept_and_lies_dropped(writer: DescriptionWriter, chat, facts: list[Fact]) -> None:
    lies = [
        ("The left elbow is bent at 45 degrees.", NAMES),  # wrong number
        ("The right elbow is bent at 90 degrees.", NAMES),  # swapped sides
        ("The person is running in the rain.", ["p1.posture.person"]),  # invented
        ("The left knee is bent.", ["p1.bend.left_tail"]),  # invented fact
        ("The left wrist is below the left shoulder.", ["p1.above.left_wrist.left_shoulder"]),  # relation turned round
    ]
    chat.answers.append(sentences((ELBOW, NAMES), *lies))
    words = writer.describe(facts, 1)
    assert words.text == ELBOW
    assert [text for text, _ in words.dropped] == [text for text, _ in lies]
    assert all(reason for _, reason in words.dropped)
    figures = writer.tally.figures()
    assert (figures["llm_given"], figures["llm_kept"]) == (6, 1)
    assert figures["faithfulness"] == pytest.approx(1 / 6, abs=1e-4)
    assert [sentence.text for sentence in words.templates]  # always there


def test_an_answer_of_lies_alone_is_asked_again_and_then_replaced(
    writer: DescriptionWriter, chat, facts: list[Fact]
) -> None:
    lie = sentences(("The left elbow is bent at 12 degrees.", NAMES))
    chat.answers += [lie, lie]
    words = writer.describe(facts, 1)
    assert words.model == ()
    assert words.text == " ".join(sentence.text for sentence in words.templates)
    assert len(chat.asked) == 2
    assert "'90', not '12'" in chat.asked[1]["messages"][-1]["content"]
    assert writer.tally.figures()["faithfulness"] == 0
    assert writer.tally.templates == 1


def test_a_second_answer_may_be_better(writer: DescriptionWriter, chat, facts: list[Fact]) -> None:
    chat.answers += ["Sure! Here you are: {broken", f"Of course.\n```json\n{sentences((ELBOW, NAMES))}\n```"]
    assert writer.describe(facts, 1).text == ELBOW
    assert (writer.tally.broken, writer.tally.kept) == (1, 1)


def test_what_is_asked(writer: DescriptionWriter, chat, facts: list[Fact], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "secret-key")
    chat.answers.append(sentences((ELBOW, NAMES)))
    writer.describe(facts, 1)
    asked = chat.asked[0]
    assert asked["path"] == "/v1/chat/completions"
    assert (asked["model"], asked["temperature"], asked["seed"]) == ("tiny", 0, 0)
    assert asked["response_format"]["type"] == "json_schema"
    assert '"id": "p1.angle.left_elbow"' in asked["messages"][1]["content"]
    assert chat.keys == ["Bearer secret-key"]
    logged = [path.read_text() for path in writer.folder.iterdir()]
    assert len(logged) == 1
    assert "secret-key" not in logged[0]
    assert json.loads(logged[0])["messages"] == asked["messages"]


def test_answers_are_used_again(writer: DescriptionWriter, chat, facts: list[Fact], tmp_path: Path) -> None:
    chat.answers.append(sentences((ELBOW, NAMES)))
    first = writer.describe(facts, 1)
    again = DescriptionWriter(writer.model, writer.folder, 50)
    assert again.describe(facts, 1) == first
    assert len(chat.asked) == 1
    assert again.tally.cached == 1
    next(writer.folder.iterdir()).write_text("{")  # a broken file counts as none
    chat.answers.append(sentences((ELBOW, NAMES)))
    assert DescriptionWriter(writer.model, writer.folder, 50).describe(facts, 1) == first
    assert len(chat.asked) == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_final_and_templates_go_on(
    writer: DescriptionWriter, chat, facts: list[Fact], said: list[str], status: int
) -> None:
    chat.answers.append(status)
    for person in (1, 2, 3):
        assert writer.describe(measure(body(RAISED), person), person).text
    assert len(chat.asked) == 1
    assert len(said) == 1
    assert str(status) in said[0]
    assert (KEY if status != 404 else "-LLM_URL") in said[0]
    assert writer.tally.failed == 1


def test_a_broken_server_is_asked_twice_and_given_up_after_three(
    writer: DescriptionWriter, chat, facts: list[Fact], said: list[str]
) -> None:
    for person in range(1, 6):
        assert writer.describe(measure(body(RAISED), person), person).text
    assert len(chat.asked) == 6  # always 500
    assert len(said) == 2
    assert "500" in said[0]


def test_a_busy_server_is_asked_again(writer: DescriptionWriter, chat, facts: list[Fact]) -> None:
    chat.answers += [503, sentences((ELBOW, NAMES))]
    assert writer.describe(facts, 1).text == ELBOW
    assert writer.tally.failed == 0


def test_a_server_without_schemas_is_asked_without(writer: DescriptionWriter, chat, facts: list[Fact]) -> None:
    chat.answers += [400, sentences((ELBOW, NAMES))]
    assert writer.describe(facts, 1).text == ELBOW
    assert "response_format" not in chat.asked[1]


def test_a_slow_server(chat, facts: list[Fact], tmp_path: Path, said: list[str]) -> None:
    chat.answers += [0.6, 0.6]
    slow = DescriptionWriter(ChatServer(chat.address, "tiny", timeout=0.15, pause=0.01), tmp_path, 50, said.append)
    assert slow.describe(facts, 1).text
    assert "timed out" in said[0]


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b'{"choices": []}', b'{"choices": [{"message": {}}]}', 302])
def test_no_chat_completion(
    writer: DescriptionWriter, chat, facts: list[Fact], said: list[str], answer: object
) -> None:
    chat.answers += [answer, answer]
    assert writer.describe(facts, 1).text
    assert writer.tally.failed == 1


def test_a_huge_answer_is_cut_off(writer: DescriptionWriter, chat, facts: list[Fact], said: list[str]) -> None:
    chat.answers += [b" " * (2 << 20)] * 2
    assert writer.describe(facts, 1).text
    assert "bytes" in said[0]


def test_nobody_listens(facts: list[Fact], tmp_path: Path, said: list[str]) -> None:
    writer = DescriptionWriter(ChatServer("http://127.0.0.1:9/v1", "tiny", pause=0.01), tmp_path, 50, said.append)
    assert writer.describe(facts, 1).text
    assert "refused" in said[0]


def test_only_so_many_people_are_asked_for(chat, facts: list[Fact], tmp_path: Path) -> None:
    chat.answers.append(sentences((ELBOW, NAMES)))
    writer = DescriptionWriter(ChatServer(chat.address, "tiny"), tmp_path, 1)
    assert writer.describe(facts, 1).model
    assert not writer.describe(measure(body(RAISED), 2), 2).model
    assert len(chat.asked) == 1


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[1]", "{", '{"sentences": []}', '{"sentences": "x"}', '{"sentences": [{"text": 3}]}',
     '{"sentences": [{"text": "a", "fact_ids": [1]}]}', "{" * 5000],
)  # fmt: skip
def test_broken_answers(text: str) -> None:
    with pytest.raises(BrokenAnswer):
        read_answer(text)


def save_tiny_model(folder: Path, words: list[str], prompt: str = "", steps: int = 0) -> Path:
    """A tiny GPT-2 that takes a line for a token; trained, by signs of gradients, to answer by the first word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(
        models.WordLevel({"<end>": 0, "<unk>": 1, **{w: i + 2 for i, w in enumerate(words)}}, "<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", "removed")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>")
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(words) + 2, n_positions=96, n_embd=16, n_layer=2, n_head=2, bos_token_id=0,
                        eos_token_id=0, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)  # fmt: skip
    model = GPT2LMHeadModel(config)
    ids = torch.tensor([[*fast(prompt)["input_ids"], 2, 0]])
    labels = torch.full_like(ids, -100)
    labels[0, -2:] = ids[0, -2:]
    for _ in range(steps):
        gradients = torch.autograd.grad(model(ids, labels=labels).loss, list(model.parameters()), allow_unused=True)
        with torch.no_grad():
            for weights, gradient in zip(model.parameters(), gradients, strict=True):
                weights -= 0.01 * (0 if gradient is None else gradient.sign())
    model.eval().save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def test_a_local_model_that_has_learned_to_answer(tmp_path: Path, facts: list[Fact]) -> None:
    prompt = "\n\n".join(f"{m['role']}: {m['content']}" for m in ask(facts, 1)) + "\n\nassistant: "
    lie = ("The right elbow is bent at 90 degrees.", NAMES)
    save_tiny_model(tmp_path / "model", [sentences((ELBOW, NAMES), lie), "junk"], prompt, steps=30)
    writer = DescriptionWriter(LocalModel(str(tmp_path / "model")), tmp_path / "answers", 50)
    words = writer.describe(facts, 1)
    assert words.text == ELBOW
    assert [text for text, _ in words.dropped] == [lie[0]]
    assert writer.tally.figures()["faithfulness"] == 0.5


def test_a_local_model_of_random_weights_says_nothing_true(tmp_path: Path, facts: list[Fact]) -> None:
    model = LocalModel(str(save_tiny_model(tmp_path / "model", ["{", "elbow", "bent", "85"])))
    writer = DescriptionWriter(model, tmp_path / "answers", 50)
    words = writer.describe(facts, 1)
    assert words.model == ()
    assert words.text == " ".join(sentence.text for sentence in words.templates)
    assert writer.tally.broken + writer.tally.failed >= 1
    assert model.answer(ask(facts, 1)) == model.answer(ask(facts, 1))


def test_a_local_model_that_can_not_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(LanguageModelError, match="can't be loaded as a language model"):
        LocalModel(str(tmp_path))


def test_a_local_model_runs_on_the_device_asked_for(tmp_path: Path) -> None:
    folder = str(save_tiny_model(tmp_path, ["a"]))
    model = make_model(folder, None, device="cpu")
    assert isinstance(model, LocalModel) and model._model.device.type == "cpu"
    with pytest.raises(ConfigError, match="--device tpu is unknown"):
        make_model(folder, None, device="tpu")


def test_a_prompt_that_is_too_long(tmp_path: Path) -> None:
    model = LocalModel(str(save_tiny_model(tmp_path, ["a"])))
    with pytest.raises(LanguageModelError, match="takes 96 tokens"):
        model.answer([{"role": "user", "content": "line\n" * 100}])
