"""Every registered model passes the same suite: gradients, any input, one way, determinism, half precision."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import timm
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

from sia.losses.criterion import PoseCriterion
from sia.losses.matcher import UNMATCHED
from sia.model import OTHERS, PoseModel
from sia.modules.roi_keypoint_head import STRIDE
from sia.outputs import Prediction
from sia.registry import MODELS, create_model
from tests.processes import finish, start

NAMES = list(MODELS)
FULL = ["sia_pose_simple", "sia_pose"]
TIMM = ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "eva02_tiny_patch14_224", "vit_small_patch16_dinov3"]
# what: the people of each image, and what is special about them
BATCHES = {
    "people": ([2, 1], {"ignored": 2}),
    "one image": ([1], {}),
    "nobody": ([0, 0], {}),
    "nobody, padded": ([0, 0], {"padding": 2, "ignored": 1}),
    "nobody labelled": ([3, 1], {"labelled": 0.0}),
    "more people than tokens": ([20, 9], {}),
    "an image smaller than a patch": ([1, 0], {"size": (10, 7)}),
    "not square, no whole patches": ([2, 1], {"size": (50, 100)}),
}


@pytest.fixture(autouse=True)
def seed() -> None:
    """The same images whichever tests ran before."""
    torch.manual_seed(0)


def assert_same_people(found: Prediction, expected: Prediction, atol: float = 1e-5) -> None:
    """Equal but for rounding, which differs between processors, and which a flat heatmap's parabola magnifies."""
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=atol)


@functools.cache
def built(config, depth: int | None = None) -> PoseModel:
    """A model, built once; a timm backbone with few blocks. Draws nothing from the tests' numbers."""
    options = {} if depth is None else {"depth": depth}
    with torch.random.fork_rng(), mock.patch("timm.create_model", functools.partial(timm.create_model, **options)):
        torch.manual_seed(0)
        model = create_model(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # parts that start near zero are to do something
        for key, value in model.named_parameters():
            small = key.endswith(("2.weight", "gamma", "gamma_1", "gamma_2")) and not value.any(-1).all()
            if small or "head." in key:
                value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return model


def step(model: PoseModel, batch) -> dict[str, torch.Tensor]:
    model.train().zero_grad(set_to_none=True)
    losses = PoseCriterion(model.sigmas)(model(batch.images, batch), batch, max(1.0, float(batch.people.sum())))
    sum(losses.values()).backward()
    return losses


def check_gradients(model: PoseModel) -> None:
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{key} has no gradient"
        assert parameter.grad.isfinite().all(), f"{key} has a gradient that is not finite"


@pytest.mark.parametrize("what", list(BATCHES))
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_a_gradient_in_every_batch(make_batch, make_config, name, what):
    people, options = BATCHES[what]
    model = built(make_config(name))
    losses = step(model, make_batch(people, **options))
    assert all(value.isfinite() for value in losses.values())
    check_gradients(model)


@pytest.mark.parametrize("what", list(BATCHES))
def test_every_parameter_of_the_older_refiner_has_a_gradient(make_batch, make_config, what):
    people, options = BATCHES[what]
    model = built(replace(make_config("sia_pose"), map_refiner=True))
    losses = step(model, make_batch(people, **options))
    assert all(value.isfinite() for value in losses.values())
    check_gradients(model)


@pytest.mark.parametrize("keypoints", [1, 5, 21])
@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_keypoints(make_batch, make_config, name, keypoints):
    model = built(make_config(name, keypoints=keypoints))
    step(model, make_batch([2, 1], keypoints=keypoints))
    check_gradients(model)
    with torch.inference_mode():
        assert model.eval()(torch.rand(1, 3, 64, 64)).people.poses.shape[2:] == (keypoints, 2)


@pytest.mark.parametrize("backbone", TIMM)
@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter_of_a_timm_backbone(make_batch, make_config, name, backbone):
    model = built(make_config(name, backbone=backbone), depth=3)
    for people in ([1, 2], [0, 0]):
        step(model, make_batch(people, size=(48, 64)))
        check_gradients(model)


def test_the_shapes_of_a_training_output(make_batch, make_config):
    config = replace(make_config("sia_pose"), map_refiner=True)
    model, batch = built(config).train(), make_batch([3, 1])
    output, head_config = model(batch.images, batch), model.head_config
    rows = head_config.groups * head_config.tokens
    assert len(output.layers) == head_config.token_blocks
    assert len(output.refined) == 1 + head_config.layers
    assert all(layer.poses.shape == (2, rows, 17, 2) for layer in output.layers)
    assert all(layer.poses.shape == (2, head_config.people, 17, 2) for layer in output.refined)
    assert output.people is output.refined[-1]
    count = len(output.heatmaps.rois.extent)
    assert 4 <= count <= 4 + 2 * OTHERS
    assert output.heatmaps.log_probabilities.shape == (count, 17, (head_config.roi_size[0] // STRIDE) ** 2)
    assert output.proposals.scores.shape == output.patch_person.shape == (2, 24)
    assert output.matched.shape == (2, head_config.groups, 3)
    assert output.selected.shape == (2, head_config.people)


@pytest.mark.parametrize("name", NAMES)
def test_keypoints_are_read_for_those_who_are_matched(make_batch, make_config, name):
    model, batch = built(make_config(name)).train(), make_batch([3, 1])
    output = model(batch.images, batch)
    for b in range(2):
        rows = output.matched[b, 0]
        assert set(rows[rows != UNMATCHED].tolist()) <= set(output.selected[b].tolist())
        assert len(set(output.selected[b].tolist())) == model.head_config.people


@pytest.mark.parametrize("name", NAMES)
def test_inference_needs_no_labels_and_matches_nothing(make_config, name):
    model = built(make_config(name)).eval()
    output = model(torch.rand(1, 3, 64, 64))
    assert output.matched is None
    assert output.patch_person is None
    assert output.people.scores.shape == (1, model.head_config.people)


@pytest.mark.parametrize("size", [(100, 150), (64, 200), (16, 16), (1, 1), (33, 17)])
@pytest.mark.parametrize("name", NAMES)
def test_any_input_size(make_config, name, size):
    model = built(make_config(name)).eval()
    with torch.inference_mode():
        people = model(torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)).people
    patches = -(-size[0] // 16) * -(-size[1] // 16)
    assert people.poses.shape == (2, min(model.head_config.people, patches), 17, 2)
    assert all(part.isfinite().all() for part in people)


@pytest.mark.parametrize("size", [(64, 64), (128, 96), (32, 192)])
def test_a_patch_starts_with_as_many_pixels_at_any_input_size(make_config, size):
    """People of one size in pixels look the same to the encoder, so they shall start from the same box."""
    model = built(make_config("sia_pose_simple"))
    start = model.patch_reference((size[0] // 16, size[1] // 16), size, 1)
    native = 16 * float(model.backbone.native_side)
    torch.testing.assert_close(start.boxes[..., 2:] * max(size), torch.full_like(start.boxes[..., 2:], native / 4))


@pytest.mark.parametrize("name", NAMES)
def test_bytes_and_floats_are_the_same_image(make_config, name):
    model, images = built(make_config(name)).eval(), torch.randint(0, 256, (1, 3, 48, 64), dtype=torch.uint8)
    with torch.inference_mode():
        for a, b in zip(model(images).people, model(images.float() / 255).people, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_is_the_same_image(make_config, name):
    model, images = built(make_config(name)).eval(), torch.rand(2, 3, 48, 64)
    with torch.inference_mode():
        last = model(images.contiguous(memory_format=torch.channels_last)).people
        assert_same_people(model(images).people, last, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_read_alike_alone_and_in_company(make_config, name):
    model, images = built(make_config(name)).eval(), torch.rand(3, 3, 64, 48)
    others = torch.rand(3, 3, 64, 48)
    others[1] = images[1]
    with torch.inference_mode():
        alone, together, elsewhere = (model(batch).people for batch in (images[1:2], images, others))
    assert_same_people(alone, Prediction(*(part[1:2] for part in together)), atol=1e-4)
    assert all(torch.equal(a[1], b[1]) for a, b in zip(together, elsewhere, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_again_gives_the_same_again(make_batch, make_config, name):
    model, batch = built(make_config(name)), make_batch([2, 1])
    results = []
    for _ in range(2):
        torch.manual_seed(7)
        losses = step(model, batch)
        gradients = [parameter.grad.clone() for parameter in model.parameters()]
        results.append([*losses.values(), *gradients])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_padding_to_whole_patches_is_what_the_letterbox_would_do(make_config, name):
    """Pixels beyond the input count as the mean colour: the same people, in units of the same longer side."""
    model = built(make_config(name)).eval()
    images = torch.rand(1, 3, 50, 64)
    grey = model.backbone.mean.expand(1, 3, 14, 64)
    with torch.inference_mode():
        found, padded = model(images).people, model(torch.cat([images, grey], 2)).people
    assert_same_people(found, padded)


@pytest.mark.parametrize("backbone", [None, "vit_small_patch14_reg4_dinov2", "eva02_tiny_patch14_224"])
@pytest.mark.parametrize("name", FULL)
def test_patches_never_look_at_tokens(make_config, name, backbone):
    model = built(make_config(name, backbone=backbone), depth=None if backbone is None else 3).eval()
    seen = []
    keep = model.backbone.run_block

    def run_block(*arguments):
        result = keep(*arguments)
        seen.append(result[0].tokens)
        return result

    images = torch.rand(2, 3, 64, 48)
    with torch.inference_mode(), mock.patch.object(model.backbone, "run_block", run_block):
        model(images)
        features = model.backbone.embed(model.normalise(images))
        for index, tokens in enumerate(seen.copy()):
            before, (features, _) = features, keep(index, features)
            unread = index == model.backbone.depth - 1 and not model.reads_patches
            torch.testing.assert_close(tokens, (before if unread else features).tokens, rtol=1e-4, atol=1e-4)
    assert len(seen) == model.backbone.depth


@pytest.mark.parametrize("backbone", [None, "eva02_tiny_patch14_224", "vit_small_patch16_dinov3"])
@pytest.mark.parametrize("name", NAMES)
def test_fused_and_plain_attention_are_the_same(make_batch, make_config, name, backbone):
    model, batch = (
        built(make_config(name, backbone=backbone), depth=None if backbone is None else 3),
        make_batch([2, 1]),
    )

    def candidates() -> list[torch.Tensor]:
        torch.manual_seed(0)
        return [part for layer in model.train()(batch.images, batch).layers for part in layer]

    with mock.patch.object(F, "scaled_dot_product_attention", side_effect=AssertionError("this is not plain")):
        model.fuse_attention(False)
        plain = candidates()
    model.fuse_attention(True)
    for a, b in zip(plain, candidates(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_groups_never_look_at_each_other(make_batch, make_config, name):
    """In training, the first group gives what inference gives (but for what BatchNorm does, frozen here)."""
    model, batch = built(make_config(name)), make_batch([0, 0])
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    with torch.no_grad():
        training = model(batch.images, batch).layers[-1]
        alone = model.eval()(batch.images)
    alone = alone.layers[-1]
    assert_same_people(Prediction(*(part[:, : alone.scores.shape[1]] for part in training)), alone)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_autocast_trains_with_finite_losses_and_gradients(make_batch, make_config, name):
    model, batch = built(make_config(name)).train(), make_batch([2, 0])
    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(batch.images, batch)
    losses = PoseCriterion(model.sigmas)(output, batch, 2.0)
    sum(losses.values()).backward()
    assert all(part.dtype == torch.float32 for part in output.people)
    check_gradients(model)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(batch.images, batch)
        assert sum(PoseCriterion(model.sigmas)(output, batch, 2.0).values()).isfinite()


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_no_numbers_give_a_loss_and_no_exception(make_batch, make_config, name):
    """The engine stops on a loss that is not finite and names the images; the matcher must let it get there."""
    torch.manual_seed(0)
    model = create_model(make_config(name)).train()
    with torch.no_grad():
        model.norm_patches.bias[0] = float("nan")
    losses = step(model, make_batch([2, 1]))
    assert not sum(losses.values()).isfinite()


def test_training_without_labels_is_refused(make_config):
    with pytest.raises(AssertionError, match="labels"):
        built(make_config()).train()(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_lower_the_loss(make_batch, make_config, name):
    torch.manual_seed(0)
    model, batch = create_model(make_config(name)), make_batch([2, 1], size=(64, 64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(12):
        losses.append(float(sum(step(model, batch).values()).detach()))
        optimizer.step()
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def train_as_rank(rank: int, folder: Path, make_batch, make_config) -> None:
    """Two steps of every model; DistributedDataParallel raises in the second after a parameter without gradient."""
    dist.init_process_group("gloo")
    lines = []
    for name in NAMES:
        torch.manual_seed(0)
        config = make_config(name)
        model = DistributedDataParallel(create_model(config).train())
        criterion = PoseCriterion(torch.tensor(config.sigmas))
        for number in range(2):
            model.zero_grad()
            batch = make_batch([2, 1] if rank == 0 else [0, 0], ignored=rank, seed=number)
            sum(criterion(model(batch.images, batch), batch, 1.5).values()).backward()
        missing = [key for key, parameter in model.named_parameters() if parameter.grad is None]
        total = sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None)
        lines.append(f"{name} {total:.4f} {missing}")
    (folder / f"{rank}.txt").write_text("\n".join(lines))
    dist.destroy_process_group()


def test_two_ranks_of_which_one_sees_nobody(tmp_path, make_batch, make_config):
    assert finish(start(2, train_as_rank, tmp_path, make_batch, make_config)) == [0, 0]
    first, second = ((tmp_path / f"{rank}.txt").read_text() for rank in range(2))
    assert first == second
    assert [line.split()[0] for line in first.splitlines()] == NAMES
    assert all(line.endswith("[]") for line in first.splitlines())
