"""SDPose (Liang et al., 2025, arXiv:2509.24980): the U-Net of Stable Diffusion 2 with a heatmap decoder.

The folder is the authors' on Hugging Face, teemosliang/SDPose-Body (17 keypoints) or SDPose-Wholebody (133): unet,
vae, text_encoder and tokenizer as diffusers writes them, and decoder/decoder.safetensors. Nothing is denoised: the
U-Net sees the image's latent once, at the last time step, and a block of its way up is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sia.errors import WeightsError, first_line
from sia.io.checkpoint import read_state_dict
from sia.io.optional import need
from sia.runtimes.device import choose_device
from stages.ensemble.experts.crops import CropStyle
from stages.ensemble.experts.expert import coco_joints
from stages.ensemble.experts.heatmap import HeatmapPartner
from stages.ensemble.experts.published import filled, load_folder, quiet, refuse_report, shape_of

SIZE = (1024, 768)
_COLOURS = ((127.5,) * 3, (127.5,) * 3)
_LATENT = 0.18215
"""What latents of Stable Diffusion are multiplied by."""
_LAST_STEP = 999
_TASK = (1.0, 0.0)
"""Annotating, as opposed to reconstructing the image; the U-Net is told its sine and cosine."""
_TASK_EMBEDDING = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 2 * len(_TASK)}
_BATCH = 2
"""Crops of 1024x768 a forward pass."""


class HeatmapDecoder(nn.Module):
    """(B, C, h, w) features -> (B, K, 2h, 2w) heatmaps; named as in the authors' file.

    Args:
        width: C.
        joints: K.
    """

    def __init__(self, width: int, joints: int) -> None:
        super().__init__()
        self.deconv_layers = nn.Sequential(
            nn.ConvTranspose2d(width, width, 4, 2, 1, bias=False), nn.InstanceNorm2d(width), nn.SiLU()
        )
        self.conv_layers = nn.Sequential(nn.Conv2d(width, width, 1), nn.InstanceNorm2d(width), nn.SiLU())
        self.final_layer = nn.Conv2d(width, joints, 1)

    def forward(self, features: Tensor) -> Tensor:
        """The heatmaps."""
        heatmaps: Tensor = self.final_layer(self.conv_layers(self.deconv_layers(features)))
        return heatmaps


class SDPose(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> (B, K, H/4, W/4) heatmaps.

    Args:
        unet, vae: of diffusers.
        decoder: on top.
        block: which of the U-Net's blocks on the way up it decodes.
        text: (1, tokens, channels) what the text encoder makes of an empty prompt.
    """

    def __init__(self, unet: Any, vae: Any, decoder: HeatmapDecoder, block: nn.Module, text: Tensor) -> None:
        super().__init__()
        self.unet: Any = unet
        self.vae: Any = vae
        self.decoder = decoder
        self.text: Tensor
        self.register_buffer("text", text)
        self._features: Tensor | None = None
        block.register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self._features = output

    def forward(self, crops: Tensor) -> Tensor:
        """The heatmaps; the latent is the mean of its distribution, so equal images give equal poses."""
        latents = self.vae.encode(crops).latent_dist.mode() * _LATENT
        task = torch.tensor([_TASK], device=crops.device)
        labels = torch.cat([task.sin(), task.cos()], dim=-1).expand(len(crops), -1)
        self.unet(latents, _LAST_STEP, self.text.expand(len(crops), -1, -1), class_labels=labels)
        features, self._features = self._features, None
        assert features is not None
        heatmaps: Tensor = self.decoder(features)
        return heatmaps


def load_sdpose(path: Path, device: str) -> HeatmapPartner:
    """Opens the authors' folder.

    Raises:
        WeightsError: a file is missing, broken, or doesn't fit; the message names keys and shapes.
        ConfigError: the device can't be used, or diffusers is missing.
    """
    chosen = choose_device(device).torch
    decoder, width = _decoder(path / "decoder" / "decoder.safetensors")
    unet = _part("UNet2DConditionModel", path / "unet", **_TASK_EMBEDDING)
    widths = tuple(unet.config.block_out_channels)
    if width not in widths[:2]:
        raise WeightsError(
            f"{path}: the decoder takes {width} channels, but the U-Net's last blocks have {widths[:2]}."
        )
    block = unet.up_blocks[
        -1 - widths.index(width)
    ]  # the body's decoder sees the last one, the whole body's the one before
    model = SDPose(unet, _part("AutoencoderKL", path / "vae"), decoder, block, _empty_prompt(path))
    model = model.to(chosen).eval().requires_grad_(False)
    joints = coco_joints(decoder.final_layer.out_channels, path)
    return HeatmapPartner(model, CropStyle(SIZE, True, _COLOURS), joints, chosen, path, _BATCH)


def _decoder(path: Path) -> tuple[HeatmapDecoder, int]:
    """The decoder, and how many channels it takes."""
    weights: Mapping[str, Tensor] = read_state_dict(path)
    width = shape_of(weights, "deconv_layers.0.weight", 4, path)[0]
    joints = shape_of(weights, "final_layer.weight", 4, path)[0]
    return filled(lambda: HeatmapDecoder(width, joints), weights, path, "It must be the decoder of SDPose."), width


def _part(name: str, folder: Path, **changes: object) -> Any:
    """A model of diffusers, every weight of which fits."""
    diffusers = need("diffusers", "SDPose")
    try:
        with quiet(diffusers.utils.logging):
            model, report = getattr(diffusers, name).from_pretrained(
                folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False, torch_dtype=torch.float32,
                output_loading_info=True, ignore_mismatched_sizes=True, **changes,
            )  # fmt: skip
    except Exception as error:  # diffusers has a class of its own for each kind of bad file
        raise WeightsError(f"{folder} can't be used: {first_line(error)}") from error
    refuse_report(report, folder)
    return model


@torch.inference_mode()
def _empty_prompt(path: Path) -> Tensor:
    """(1, 2, channels): start and end of the text."""
    transformers = need("transformers", "SDPose")
    try:
        tokens = transformers.CLIPTokenizer.from_pretrained(path / "tokenizer", local_files_only=True)("").input_ids
    except Exception as error:  # likewise
        raise WeightsError(f"{path / 'tokenizer'} can't be used: {first_line(error)}") from error
    encoder = load_folder(path / "text_encoder", transformers.CLIPTextConfig, transformers.CLIPTextModel)
    text: Tensor = encoder.eval()(torch.tensor([tokens]))[0]
    return text.float()
