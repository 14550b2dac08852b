"""The convolutional network of the RoI keypoint head: any of timm's, with the weights that it was published with."""

from __future__ import annotations

import pytest
import timm
import torch

from sia.errors import ConfigError, WeightsError
from sia.modules.conv_pyramid import ConvPyramid, ConvTrunk, load_trunk_weights
from sia.modules.roi_keypoint_head import Heatmaps, RoIKeypointHead, RoIs, best_places, heatmap_target

NETWORKS = ("tf_efficientnet_lite0", "mobilenetv4_conv_small_050", "resnet18")


def one_crop() -> RoIs:
    zero = torch.zeros(1, dtype=torch.int64)
    return RoIs(zero, zero, torch.tensor([[0.4, 0.2]]), torch.tensor([[0.2, 0.3]]))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_several_families_read_crops(name: str):
    head = RoIKeypointHead(8, torch.full((3,), 0.05), 8, (96, 64), name).eval()
    found = head(torch.rand(1, 3, 100, 200), torch.tensor([1.0, 0.5]), torch.rand(1, 8), torch.zeros(1), one_crop())
    assert found.heatmaps.cells == (48, 32), "cells of two pixels"
    assert found.fine.shape == (1, 8, 24, 16)
    places, _ = best_places(found.heatmaps, head.reach)
    torch.testing.assert_close(found.heatmaps.rois.inside(found.poses) * torch.tensor([32, 48]), places)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_of_timm_fit_by_name(name: str):
    """The maps are those of timm's own network."""
    torch.manual_seed(0)
    published, trunk = timm.create_model(name).eval(), ConvTrunk(name).eval()
    load_trunk_weights(trunk, published.state_dict())
    pixels = torch.rand(1, 3, 64, 64)
    ours, theirs = trunk(pixels)[-1], timm.create_model(name, features_only=True).eval()
    theirs.load_state_dict({key: published.state_dict()[key] for key in theirs.state_dict()})
    torch.testing.assert_close(ours, theirs(pixels)[-1])


def test_weights_of_another_implementation_fit_by_order():
    published = timm.create_model("tf_efficientnet_lite0").state_dict()
    renamed = {f"layer{number}": value for number, value in enumerate(published.values())}
    trunk = ConvTrunk("tf_efficientnet_lite0")
    load_trunk_weights(trunk, renamed)
    for key, value in trunk.net.state_dict().items():
        assert torch.equal(value, published[key]), key


def test_weights_of_another_network_are_refused():
    with pytest.raises(WeightsError, match=r"don't fit resnet18: .* of its .* tensors"):
        load_trunk_weights(ConvTrunk("resnet18"), timm.create_model("tf_efficientnet_lite0").state_dict())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet81", "timm has no network 'resnet81'; close names: "),
        ("vit_tiny_patch16_224", "maps at strides 16, 16, 16"),
        ("swin_tiny_patch4_window7_224", "gives no maps of features"),
    ],
)
def test_what_is_no_such_network_is_refused(name: str, message: str):
    with pytest.raises(ConfigError, match=message):
        ConvTrunk(name)


@pytest.mark.parametrize(("name", "side"), [("resnet18", 32), ("tf_efficientnet_lite0", 32), ("hrnet_w18_small", 48)])
def test_crops_that_it_cannot_learn_from_are_refused(name: str, side: int):
    """A last map of one pixel, of one person, has nothing to be normalised by."""
    with pytest.raises(ConfigError, match=rf"{name} can't learn from crops of {side} px \(.*: choose larger multiples"):
        RoIKeypointHead(8, torch.full((3,), 0.05), 8, (side, side), name)


@pytest.mark.parametrize(("name", "side"), [("tf_efficientnet_lite0", 48), ("test_convnext", 32)])
def test_small_crops_of_one_person_teach(name: str, side: int):
    pyramid = ConvPyramid(8, 4, name, (side, side)).train()
    assert pyramid(torch.rand(1, 3, side, side), torch.rand(1, 4))[0].isfinite().all()


def test_the_network_sees_colours_as_it_learned_them():
    """Whatever the model normalises by: grey that is 0 to the network is 0 to it here, too."""
    trunk = ConvTrunk("tf_efficientnet_lite0")
    mean, std = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    trunk.set_input(mean, std)
    image = torch.full((3, 4, 4), 0.5)
    torch.testing.assert_close((image - mean) / std * trunk.scale + trunk.shift, torch.zeros(3, 4, 4))


def test_finer_cells_tell_places_as_well():
    """A target between two cells is read back, and so is one in the middle of a cell."""
    points = torch.tensor([[[20.5, 11.0], [7.25, 30.5]]])
    shares = heatmap_target(points, (48, 40), stride=2).clamp(min=1e-9)
    read, share = best_places(Heatmaps(shares.log(), one_crop(), (48, 40), stride=2), torch.full((2,), 0.1))
    torch.testing.assert_close(read, points, atol=0.06, rtol=0)
    assert (share > 0.9).all()


def test_gradients_reach_the_network():
    pyramid = ConvPyramid(8, 4, "tf_efficientnet_lite0", (64, 64))
    fine, deep = pyramid(torch.rand(2, 3, 64, 64), torch.rand(2, 4))
    (fine.square().mean() + deep.square().mean()).backward()
    without = [name for name, parameter in pyramid.named_parameters() if parameter.grad is None]
    assert not without


@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_weights_may_be_wrapped_as_trainings_save_them(wrapper: str):
    published, trunk = timm.create_model("test_efficientnet").state_dict(), ConvTrunk("test_efficientnet")
    load_trunk_weights(trunk, {"epoch": 1, wrapper: published})
    assert torch.equal(trunk.net.state_dict()["conv_stem.weight"], published["conv_stem.weight"])
    published["conv_stem.weight"][0] = torch.nan
    with pytest.raises(WeightsError, match=r"not finite, the first is conv_stem\.weight"):
        load_trunk_weights(trunk, published)
