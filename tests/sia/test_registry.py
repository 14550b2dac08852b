"""The registry: names, sizes, what travels in a checkpoint, and that the variants are what they are called."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from sia.backbones.build import SIZES
from sia.errors import ConfigError, WeightsError
from sia.registry import HEAD_CONFIGS, MODELS, ModelConfig, create_model


def test_the_models_and_sizes():
    assert list(MODELS) == ["sia_pose_simple", "sia_pose", "sia_pose_decoder_led"]
    assert list(SIZES) == ["p32", "n16", "h16", "n32", "ti16", "s16", "b16", "l14", "test"]
    assert set(HEAD_CONFIGS) == set(SIZES)


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("size", [size for size in SIZES if size != "test"])
def test_led_is_the_smallest_and_pose_the_largest(make_config, size):
    with torch.device("meta"):
        count = {name: parameters(create_model(make_config(name, size))) for name in MODELS}
    assert count["sia_pose_decoder_led"] < count["sia_pose_simple"] < count["sia_pose"]


@pytest.mark.parametrize("name", list(MODELS))
def test_a_config_survives_json_and_builds_the_same_model(make_config, name):
    config = make_config(name, keypoints=5, image_size=(48, 80))
    again = ModelConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    size = HEAD_CONFIGS[config.size]
    assert again == replace(config, roi_size=size.roi_size, roi_trunk=size.roi_trunk)
    torch.manual_seed(0)
    model = create_model(config).eval()
    twin = create_model(again).eval()
    twin.load_state_dict(model.state_dict())
    images = torch.rand(1, 3, 48, 80)
    with torch.inference_mode():
        for a, b in zip(model(images).people, twin(images).people, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", list(MODELS))
def test_weights_carry_mean_pose_and_sigmas(make_config, name):
    config = make_config(name, keypoints=5)
    state = create_model(config).state_dict()
    torch.testing.assert_close(state["sigmas"], torch.tensor(config.sigmas))
    torch.testing.assert_close(state["head.mean_pose"], torch.tensor(config.mean_pose))


@pytest.mark.parametrize("name", list(MODELS))
def test_weights_fit_a_model_of_another_input_size_only_by_its_own_config(make_config, name):
    small, large = (create_model(make_config(name, image_size=size)) for size in ((64, 64), (64, 128)))
    with pytest.raises(RuntimeError, match="pos_embed"):
        large.load_state_dict(small.state_dict())


@pytest.mark.parametrize("name", list(MODELS))
def test_the_seed_decides_the_weights(make_config, name):
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(create_model(make_config(name)).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"name": "sia_pose_simpel"}, ["model 'sia_pose_simpel'", "Did you mean 'sia_pose_simple'"]),
        ({"name": "yolo"}, ["model 'yolo'", "sia_pose_decoder_led"]),
        ({"size": "s14"}, ["size 's14'", "Did you mean"]),
        ({"num_keypoints": 4}, ["4 keypoints", "(3, 3)"]),
        ({"sigmas": (0.1,)}, ["3 keypoints", "(3, 1)"]),
        ({"roi_size": (70, 70)}, ["Crops of 70 px", "multiples of 16"]),
        ({"roi_size": (192, 70)}, ["Crops of 192x70 px", "multiples of 16"]),
        ({"roi_size": (64, 16)}, ["Crops of 64x16 px", "between 32 and 512"]),
    ],
)
def test_what_cannot_be_built_is_named(make_config, change, parts):
    values = make_config(keypoints=3).to_dict() | change
    with pytest.raises(ConfigError) as error:
        ModelConfig.from_dict(values)
    for part in parts:
        assert part in str(error.value)


def test_weights_keep_the_crops_that_they_were_made_with(make_config):
    """Those saved before it could be chosen read 64 pixels, whatever the size has now; one number is a square."""
    config = make_config(keypoints=3)
    old = {key: value for key, value in config.to_dict().items() if key != "roi_size"}
    assert create_model(ModelConfig.from_dict(old)).roi_head.size == (64, 64)
    assert ModelConfig.from_dict(old | {"roi_size": 128}).roi_size == (128, 128)
    assert create_model(replace(config, roi_size=(96, 64))).roi_head.size == (96, 64)
    again = ModelConfig.from_dict(replace(config, size="n16").to_dict())
    assert again.roi_size == HEAD_CONFIGS["n16"].roi_size == (96, 96)


def test_older_weights_of_sia_pose_keep_their_refiner(make_config):
    """Theirs reads a map of the whole image; their description doesn't say so."""
    config = make_config("sia_pose")
    old = {key: value for key, value in config.to_dict().items() if key != "map_refiner"}
    new, older = create_model(config), create_model(ModelConfig.from_dict(old))
    keys, older_keys = new.state_dict().keys(), older.state_dict().keys()
    assert any(key.startswith("roi_head.refiner.") for key in keys - older_keys)
    assert all(key.startswith("roi_head.refiner.") for key in keys - older_keys)
    assert {key.split(".")[0] for key in older_keys - keys} == {"refiner", "backbone"}  # its map is normalised
    assert ModelConfig.from_dict(config.to_dict()).map_refiner is False
    assert ModelConfig.from_dict(ModelConfig.from_dict(old).to_dict()).map_refiner is True
    simple = make_config("sia_pose_simple").to_dict()
    assert ModelConfig.from_dict({k: v for k, v in simple.items() if k != "map_refiner"}).map_refiner is False


def test_an_unknown_backbone_is_named_with_close_ones(make_config):
    with pytest.raises(ConfigError, match="vit_small_patch16_224"):
        create_model(make_config(backbone="vit_smal_patch16_224"))
    with pytest.raises(ConfigError, match="ResNet"):
        create_model(make_config(backbone="resnet18"))


def test_backbone_weights_fill_the_blocks_that_a_variant_keeps(make_config):
    torch.manual_seed(0)
    whole = create_model(replace(make_config("sia_pose"), map_refiner=True))
    weights = {key: value.clone() for key, value in whole.backbone.vit.state_dict().items()}
    for name in MODELS:
        torch.manual_seed(1)
        model = create_model(make_config(name), weights)
        own = model.backbone.vit.state_dict()
        assert all(torch.equal(value, weights[key]) for key, value in own.items()), name


def test_backbone_weights_of_another_width_are_refused(make_config):
    weights = create_model(replace(make_config("sia_pose", "n16"), map_refiner=True)).backbone.vit.state_dict()
    with pytest.raises(WeightsError):
        create_model(make_config("sia_pose"), weights)
