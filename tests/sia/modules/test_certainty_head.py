"""The certainty head: it says more, and changes nothing of what is said without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sia.io.bundled_weights import DEFAULT
from sia.io.checkpoint import load_checkpoint, save_checkpoint
from sia.losses.criterion import PoseCriterion
from sia.registry import MODELS, create_model, read_description
from sia.runtimes.predictor import Predictor
from tests.inference_helpers import quarters, save_weights

OWN = "certainty."


def twins(config):
    """The same weights with and without the head."""
    torch.manual_seed(3)
    without = create_model(config)
    torch.manual_seed(3)
    return without, create_model(replace(config, certainty=True))


def backward(model, batch) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    losses = PoseCriterion(model.sigmas)(model.train()(batch.images, batch), batch, 3.0)
    torch.stack(list(losses.values())).sum().backward()
    assert ("sigma" in losses) == ("visibility" in losses) == (model.certainty is not None)
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("name", list(MODELS))
def test_all_else_starts_and_learns_as_without_it(make_config, make_batch, name):
    """To the bit: no accuracy can be lost."""
    without, having = twins(make_config(name))
    told = {key for key in having.state_dict() if key.startswith(OWN)}
    assert told and having.state_dict().keys() - told == without.state_dict().keys()
    assert all(torch.equal(value, having.state_dict()[key]) for key, value in without.state_dict().items())
    batch = make_batch([2, 1])
    plain, more = backward(without, batch), backward(having, batch)
    assert all(torch.equal(value, more[key]) for key, value in plain.items())
    assert all(more[key].abs().sum() > 0 for key in more.keys() - plain.keys())


@pytest.mark.parametrize("people", [[0, 0], [1, 0]])
def test_it_has_a_gradient_in_every_batch(make_config, make_batch, people):
    found = backward(create_model(replace(make_config(), certainty=True)), make_batch(people))
    assert all(value is not None and torch.isfinite(value).all() for value in found.values())


@pytest.mark.parametrize("name", list(MODELS))
def test_predictions_stay_and_more_is_said(make_config, make_batch, name):
    without, having = (model.eval() for model in twins(make_config(name)))
    with torch.no_grad():
        having.certainty.revise[2].weight.mul_(100)  # so that no change is rounded away
    images = make_batch([1, 1, 1], size=(64, 64)).images
    with torch.inference_mode():
        plain, more = without(images), having(images)
    assert plain.certainty is None and plain.guess is None
    assert all(torch.equal(a, b) for a, b in zip(plain.people, more.people, strict=True))
    for part in more.certainty:
        assert part.shape == more.people.confidences.shape and part.dtype == torch.float32
    crops = torch.zeros_like(more.people.scores, dtype=torch.bool)
    crops[more.heatmaps.rois.image, more.heatmaps.rois.row] = True
    changed = (more.certainty.log_sigmas != more.guess.log_sigmas).all(-1)
    assert torch.equal(changed, crops) and not crops.all()  # people without a crop keep the guess


@pytest.mark.parametrize("alone", [True, False])
def test_it_can_be_trained_alone_or_left_out(make_config, make_batch, alone):
    model = create_model(replace(make_config("sia_pose"), certainty=True))
    model.train_certainty_only() if alone else model.freeze_roi_head()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    backward(model, make_batch([2, 1]))
    optimizer.step()
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    if alone:
        assert moved == {key for key in before if key.startswith(OWN)}
    else:  # what finds people moves, and nothing of what reads their crops
        assert {key.split(".")[0] for key in moved} == {"backbone", "head", "tokens", "norm_patches", "norm_tokens"} | {
            "duplicate_suppression"
        }


def test_weights_of_before_say_nothing_of_it(tmp_path: Path):
    """Their description doesn't name it."""
    payload = load_checkpoint(save_weights(tmp_path / "new.pt"))
    del payload["model_config"]["certainty"]
    save_checkpoint(tmp_path / "old.pt", payload)
    (people,) = Predictor.load(tmp_path / "old.pt", "cpu").predict([quarters(60, 80)])
    assert len(people) and people.visibilities is None and people.sigmas is None


def test_sigmas_are_in_pixels_of_the_image(tmp_path: Path):
    """An image of twice the size has twice the standard deviation."""
    predictor = Predictor.load(save_weights(tmp_path / "a.pt", certainty=True), "cpu")
    small = quarters(64, 64)
    one, two = predictor.predict([small, small.repeat(2, 0).repeat(2, 1)])
    assert one.sigmas.shape == (len(one), 17)
    np.testing.assert_allclose(two.sigmas, 2 * one.sigmas, rtol=0.05)


@pytest.mark.parametrize("size", ["n16", "n32"])
def test_the_bundled_weights_tell(tmp_path: Path, size: str):
    """And what else they say is what they say without it."""
    weights = DEFAULT.with_name(f"sia_pose_simple-{size}.safetensors")
    payload = load_checkpoint(weights)
    assert read_description(payload, weights)[0].certainty
    payload["model_config"]["certainty"] = False
    payload["weights"] = {key: value for key, value in payload["weights"].items() if not key.startswith(OWN)}
    save_checkpoint(tmp_path / "without.pt", payload)
    more, plain = (
        Predictor.load(path, "cpu", (128, 128)).predict([quarters(90, 120)])[0]
        for path in (weights, tmp_path / "without.pt")
    )
    assert more.visibilities.shape == more.sigmas.shape == more.confidences.shape and plain.sigmas is None
    for name in ("boxes", "scores", "keypoints", "confidences"):
        assert np.array_equal(getattr(more, name), getattr(plain, name))
