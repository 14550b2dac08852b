"""A convolutional network of timm that reads crops, with a light decoder: what ImageNet taught it is taken along."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sia.commands.values import format_size
from sia.errors import ConfigError, WeightsError, first_line
from sia.modules.layers import Residual

TRIED = 128
"""Pixels along the image that a network is tried with."""

STRIDES = (4, 8, 16)
"""Of the maps that a network must have; one of stride 32 is used where there is one."""


class ConvTrunk(nn.Module):
    """Maps of a timm network at strides 4, 8, 16, and 32 where it has one.

    Attributes:
        name: of timm.
        channels: of each map.
        scale, shift: buffers (3, 1, 1), from the normalisation of the model's input to the one the network learned by.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, name: str, size: tuple[int, int] = (TRIED, TRIED)) -> None:
        """Builds it with random weights.

        Args:
            name: of timm.
            size: height and width of a crop in pixels.

        Raises:
            ConfigError: timm has no such network, it has no maps at these strides, or crops of this size can't be.
        """
        super().__init__()
        self.name = name
        self.net, strides = _build(name, size)
        self.wanted = [index for index, stride in enumerate(strides) if stride in (*STRIDES, 32)]
        self.channels = [self.net.feature_info.channels()[index] for index in self.wanted]
        self.register_buffer("scale", torch.ones(3, 1, 1))
        self.register_buffer("shift", torch.zeros(3, 1, 1))

    def set_input(self, mean: Tensor, std: Tensor) -> None:
        """Says by which mean and standard deviation (3, 1, 1), of colours in [0, 1], the input is normalised."""
        config = timm.get_pretrained_cfg(self.name) or timm.models.PretrainedCfg()
        own_mean, own_std = (torch.tensor(value)[:, None, None] for value in (config.mean, config.std))
        self.scale.copy_(std / own_std)
        self.shift.copy_((mean - own_mean) / own_std)

    @property
    def depth(self) -> int:
        """The last of its stages."""
        return max(stage_of(name) for name, _ in self.net.named_parameters())

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """pixels (n, 3, h, w), normalised for the model -> the maps, finest first."""
        maps = self.net(pixels * self.scale + self.shift)
        return [maps[index] for index in self.wanted]


def stage_of(name: str) -> int:
    """Of a part of a network by its name: 0 for the stem, then its blocks, stages or layers."""
    number = re.match(r"(?:blocks\.|layer|stages[._])(\d+)", name)
    return 0 if number is None else int(number[1]) + 1


def _build(name: str, size: tuple[int, int]) -> tuple[Any, list[int]]:
    if not timm.is_model(name):
        close = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3, cutoff=0.5)
        raise ConfigError(f"timm has no network {name!r}" + (f"; close names: {', '.join(close)}." if close else "."))
    with torch.device("meta"):  # without memory, however large it is
        strides = _try(name, size)
    return timm.create_model(name, pretrained=False, features_only=True), strides


def _try(name: str, size: tuple[int, int]) -> list[int]:
    """The strides of its maps, after one look at their shapes, and one crop in training."""
    try:
        net: Any = timm.create_model(name, pretrained=False, features_only=True).eval()
        strides = list(net.feature_info.reduction())
        if not set(STRIDES) <= set(strides):
            raise ConfigError(f"{name} has maps at strides {', '.join(map(str, strides))}: {_ADVICE}")
        maps = net(torch.zeros(1, 3, TRIED, TRIED))
    except ConfigError:
        raise
    except Exception as error:  # what networks that are made for another use raise
        raise ConfigError(f"{name} gives no maps of features ({first_line(error)}): {_ADVICE}") from error
    shapes = [tuple(part.shape[1:]) for part in maps]
    if shapes != [
        (count, TRIED // s, TRIED // s) for count, s in zip(net.feature_info.channels(), strides, strict=True)
    ]:
        raise ConfigError(f"{name} gives maps of other shapes than it says: {_ADVICE}")
    try:  # batch normalisation needs more than one value, and some networks halve what has to be even
        net.train()(torch.zeros(1, 3, *size))
    except Exception as error:
        raise ConfigError(
            f"{name} can't learn from crops of {format_size(size)} px ({first_line(error)}): choose larger multiples "
            "of 32 (-ROI_SIZE)."
        ) from error
    return strides


_ADVICE = "choose a convolutional network with maps at strides 4, 8 and 16, such as resnet18 or mobilenetv4_conv_small."


def load_trunk_weights(trunk: ConvTrunk, state: Mapping[str, Any]) -> None:
    """Fills a trunk with the weights of its network, by name or, where all names differ, by order.

    Args:
        trunk: filled in place.
        state: of timm's network, or of another implementation that lists the same layers in the same order, also under
            'model' or 'state_dict'; what comes behind the last map (a classifier) is left out.

    Raises:
        WeightsError: they don't fit.
    """
    target = trunk.net.state_dict()
    for wrapper in ("model", "state_dict"):
        inner = state.get(wrapper)
        state = inner if isinstance(inner, Mapping) else state
    named = any(key in state for key in target)
    fitted = dict(state) if named else dict(zip(target, state.values(), strict=False))
    wrong = [key for key in target if getattr(fitted.get(key), "shape", None) != target[key].shape]
    wrong += [key for key in target if key not in wrong and not torch.isfinite(fitted[key]).all()]
    if wrong:
        raise WeightsError(
            f"The weights don't fit {trunk.name}: {len(wrong)} of its {len(target)} tensors are missing, of another "
            f"shape or not finite, the first is {wrong[0]}. Give the weights of that network."
        )
    trunk.net.load_state_dict({key: fitted[key] for key in target})


class ConvPyramid(nn.Module):
    """A trunk, and a decoder from its coarsest map up to stride 4 (Lin et al., Feature Pyramid Networks, section 3).

    Attributes:
        stride: pixels of the crop along a cell of the heatmaps: each place of the stride-4 map gives four.
    """

    stride = 2

    def __init__(self, width: int, person: int, trunk: str, size: tuple[int, int]) -> None:
        """Builds it.

        Args:
            width: channels at strides 4 and 8, twice as many below.
            person: width of the token that says who is meant.
            trunk: timm's name of the network.
            size: height and width of a crop in pixels.
        """
        super().__init__()
        self.trunk = ConvTrunk(trunk, size)
        wide = 2 * width
        fine, middle, *coarse = self.trunk.channels
        self.from4, self.from8 = nn.Conv2d(fine, width, 1), nn.Conv2d(middle, width, 1)
        self.from16, self.from32 = (
            nn.Conv2d(coarse[0], wide, 1),
            nn.ModuleList(nn.Conv2d(coarse[1], wide, 1) for _ in coarse[1:]),
        )
        self.person = nn.Linear(person, wide)
        self.at16 = nn.Sequential(Residual(wide), Residual(wide))
        self.to8, self.at8 = nn.Conv2d(wide, width, 1), Residual(width)
        self.to4, self.at4 = nn.Conv2d(width, width, 1), Residual(width)

    def forward(self, pixels: Tensor, person: Tensor) -> tuple[Tensor, Tensor]:
        """pixels (n, 3, h, w), person (n, D) -> features at stride 4 (n, width, h / 4, w / 4), and at 16."""
        fine, middle, coarse, *coarsest = self.trunk(pixels)
        at16 = self.from16(coarse) + self.person(person)[..., None, None]
        for project, features in zip(self.from32, coarsest, strict=True):
            at16 = at16 + _resized(project(features), at16)
        at16 = self.at16(at16)
        at8 = self.at8(self.from8(middle) + _resized(self.to8(at16), middle))
        return self.at4(self.from4(fine) + _resized(self.to4(at8), fine)), at16


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="nearest")
