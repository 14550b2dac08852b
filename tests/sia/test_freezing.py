"""A frozen backbone: no gradient, nothing kept for one, statistics as they were; and blocks computed again."""

from __future__ import annotations

import functools
from unittest import mock

import pytest
import timm
import torch

from sia.losses.criterion import PoseCriterion
from sia.registry import MODELS, create_model


def step(model, batch) -> int:
    """One step; returns the bytes that autograd kept for the gradient, parameters aside."""
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.zero_grad(set_to_none=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(batch.images, batch)
    losses = PoseCriterion(model.sigmas)(output, batch, max(1.0, float(batch.people.sum())))
    sum(losses.values()).backward()
    return sum(kept.values())


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("people", [[2, 1], [0, 0]])
@pytest.mark.parametrize("name", list(MODELS))
def test_all_but_the_backbone_has_a_gradient_in_every_batch(make_config, make_batch, name, people):
    model = create_model(make_config(name)).train()
    model.backbone.set_trainable("nothing")
    step(model, make_batch(people))
    for key, parameter in model.named_parameters():
        assert (parameter.grad is None) == key.startswith("backbone."), key


@pytest.mark.parametrize("trainable", ["nothing", "adapters", "all"])
def test_only_what_learns_changes_its_statistics(make_config, make_batch, trainable):
    model = create_model(make_config())
    model.backbone.set_trainable(trainable)
    model.train()
    before = {key: value.clone() for key, value in model.backbone.named_buffers()}
    step(model, make_batch([1, 1]))
    moved = {key for key, value in model.backbone.named_buffers() if not torch.equal(value, before[key])}
    assert all("running" in key or "tracked" in key for key in moved)
    assert bool(moved) == (trainable == "all")
    model.backbone.set_trainable("all")
    model.train()
    assert all(module.training for module in model.backbone.modules())


def test_it_is_the_same_function_frozen(make_config, make_batch):
    """But for the statistics of batch normalisation, which this backbone hasn't."""
    with mock.patch("timm.create_model", functools.partial(timm.create_model, depth=5)):
        model = create_model(make_config("sia_pose", backbone="vit_tiny_patch16_224")).train()
    batch = make_batch([2, 1])
    torch.manual_seed(0)
    step(model, batch)
    free = gradients(model)
    model.backbone.set_trainable("nothing")
    torch.manual_seed(0)
    step(model, batch)
    frozen = gradients(model)
    assert frozen.keys() == {key for key in free if not key.startswith("backbone.")}
    for key, value in frozen.items():
        torch.testing.assert_close(value, free[key], msg=key)


def test_a_deeper_frozen_backbone_keeps_no_more(make_config, make_batch):
    """Blocks that only patches run through leave nothing behind."""

    def kept(depth: int, trainable: str) -> int:
        with mock.patch("timm.create_model", functools.partial(timm.create_model, depth=depth)):
            model = create_model(make_config("sia_pose_simple", backbone="vit_tiny_patch16_224")).train()
        model.backbone.set_trainable(trainable)
        torch.manual_seed(0)
        return step(model, make_batch([2, 1]))

    assert kept(3, "nothing") == kept(5, "nothing")
    assert kept(5, "all") > 1.2 * kept(3, "all")
    assert kept(3, "nothing") < 0.6 * kept(3, "all")


def test_computing_blocks_again_changes_no_gradient_and_keeps_less(make_config, make_batch):
    model = create_model(make_config("sia_pose")).train()
    batch, results = make_batch([2, 1]), []
    for recompute in (False, True):
        model.backbone.recompute = recompute
        torch.manual_seed(0)
        results.append((step(model, batch), gradients(model)))
    (kept, plain), (less, again) = results
    assert less < kept
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[key], again[key]) for key in plain)
