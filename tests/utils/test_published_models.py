"""The table of models: unique, well-formed, and no invented checksums."""

from __future__ import annotations

import re

import pytest

from sia.errors import ConfigError
from utils.published_models import MODELS, find_model


def test_names_are_unique_and_safe():
    names = [model.name for model in MODELS]
    assert len(set(names)) == len(names)
    places = [f"{model.name}/{file.name}" for model in MODELS for file in model.files]
    assert len(set(places)) == len(places)
    assert all(re.fullmatch(r"[a-z0-9.-]+/[A-Za-z0-9_.-]+", place) for place in places)


def test_checksums_are_whole():
    for model in MODELS:
        assert model.files
        for file in model.files:
            assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)


def test_every_file_with_a_known_checksum_is_pinned():
    """A branch can move away from its checksum."""
    for model in MODELS:
        if model.repository and any(file.sha256 for file in model.files):
            assert re.fullmatch(r"[0-9a-f]{40}", model.revision)


def test_addresses_are_https():
    assert all(file.path.startswith("https://") for model in MODELS if not model.repository for file in model.files)


@pytest.mark.parametrize(
    ("name", "model"),
    [("vitpose", "vitpose-base-simple"), ("sapiens", "sapiens-0.3b"), ("sapiens2", "sapiens2-0.4b"),
     ("dinov2", "dinov2-s14"), ("rtmpose-l", "rtmpose-l"), ("sapiens_2b", "sapiens-2b"),
     (" ViTPose_Base", "vitpose-base")],
)  # fmt: skip
def test_families_stand_for_their_first_model(name, model):
    assert find_model(name).name == model


def test_unknown_names_get_a_hint():
    with pytest.raises(ConfigError, match=r"--model vitpos is unknown\. Did you mean vitpose"):
        find_model("vitpos")


def test_sapiens_asks_for_consent_and_others_do_not():
    assert {model.family for model in MODELS if model.license.consent} == {"sapiens", "sapiens2"}
