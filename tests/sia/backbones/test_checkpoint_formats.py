"""Each published format: a file in exactly that format is read, and the backbone then computes what its maker's does.

Real widths and key names, few blocks. Hugging Face's `save_pretrained` writes the published names; the others are
written out here by hand, with the computation of CLIP beside them.
"""

from __future__ import annotations

import re

import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from sia.backbones.build import SIZES, build_backbone
from sia.backbones.pretrained_weights import architecture_of, load_backbone_weights
from sia.backbones.sapiens import SAPIENS
from sia.errors import WeightsError
from tests.sia.backbones.vits import DEPTH, patches, randomise, same, small, timm_patches, timm_reference


def saved(model: nn.Module, folder) -> dict[str, torch.Tensor]:
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


HF = {"hidden_size": 384, "num_hidden_layers": DEPTH, "num_attention_heads": 6}


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("wrapped", [False, True])
def test_hf_dinov2(tmp_path, registers, wrapped):
    shape = {**HF, "mlp_ratio": 4, "patch_size": 14, "image_size": 70}
    if registers:
        config = transformers.Dinov2WithRegistersConfig(num_register_tokens=registers, **shape)
        kinds = (transformers.Dinov2WithRegistersModel, transformers.Dinov2WithRegistersForImageClassification)
    else:
        config = transformers.Dinov2Config(**shape)
        kinds = (transformers.Dinov2Model, transformers.Dinov2ForImageClassification)
    model = kinds[wrapped](config).eval()
    randomise(model)
    state = saved(model, tmp_path)
    assert wrapped == any(key.startswith("dinov2") for key in state)
    backbone = small(f"vit_small_patch14{'_reg4' * bool(registers)}_dinov2", (70, 70))
    assert load_backbone_weights(backbone, state).startswith("HF DINOv2: a ViT of width 384, 2 blocks, patch 14")
    images = torch.randn(2, 3, 70, 70)
    base = model.base_model if wrapped else model
    with torch.no_grad():
        expected = base(images).last_hidden_state[:, 1 + registers :]
    same(patches(backbone, images), expected)


def test_hf_dinov2_giant_has_a_gated_mlp(tmp_path):
    shape = {"hidden_size": 1536, "num_hidden_layers": DEPTH, "num_attention_heads": 24, "patch_size": 14}
    config = transformers.Dinov2Config(use_swiglu_ffn=True, mlp_ratio=4, image_size=28, **shape)
    model = transformers.Dinov2Model(config).eval()
    randomise(model)
    backbone = small("vit_giant_patch14_dinov2", (28, 28))
    load_backbone_weights(backbone, saved(model, tmp_path))
    images = torch.randn(1, 3, 28, 28)
    with torch.no_grad():
        same(patches(backbone, images), model(images).last_hidden_state[:, 1:])


@pytest.mark.parametrize("gated", [False, True])
def test_hf_dinov3(tmp_path, gated):
    shape = {**HF, "intermediate_size": 1536, "patch_size": 16, "image_size": 64, "num_register_tokens": 4}
    activation = "silu" if gated else "gelu"  # as in the published configurations of S+ and S
    config = transformers.DINOv3ViTConfig(use_gated_mlp=gated, hidden_act=activation, **shape)
    model = transformers.DINOv3ViTModel(config).eval()
    randomise(model)
    state = saved(model, tmp_path)
    assert "layer.0.attention.q_proj.weight" in state and "layer.0.attention.k_proj.bias" not in state
    backbone = small(f"vit_small{'_plus' * gated}_patch16_dinov3_qkvb")
    assert load_backbone_weights(backbone, state).startswith("HF DINOv3: a ViT of width 384, 2 blocks, patch 16, 4 reg")
    images = torch.randn(2, 3, 48, 80)  # rotary positions know no training size
    with torch.no_grad():
        expected = model(images).last_hidden_state[:, 5:]
    same(patches(backbone, images), expected)


def test_hf_dinov3_without_biases_fits_timms_biasless_model(tmp_path):
    shape = {**HF, "intermediate_size": 1536, "patch_size": 16, "num_register_tokens": 4}
    model = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**shape)).eval()
    randomise(model)
    state = saved(model, tmp_path)
    with pytest.raises(WeightsError, match=r"2 unexpected \(blocks\.0\.attn\.qkv\.bias"):
        load_backbone_weights(small("vit_small_patch16_dinov3"), state)
    state |= {key: torch.zeros_like(value) for key, value in state.items() if re.search(r"[qv]_proj\.bias", key)}
    load_backbone_weights(small("vit_small_patch16_dinov3"), state)  # as published: zeros
    missing = {key: value for key, value in state.items() if not re.search(r"[qv]_proj\.bias", key)}
    load_backbone_weights(small("vit_small_patch16_dinov3"), missing)


@pytest.mark.parametrize("whole", [False, True])
def test_hf_clip(tmp_path, whole):
    vision = {"hidden_size": 768, "num_hidden_layers": DEPTH, "num_attention_heads": 12, "intermediate_size": 3072}
    vision |= {"patch_size": 32, "image_size": 96}
    if whole:
        text = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50}
        model = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision)).eval()
        tower = model.vision_model
    else:
        model = tower = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**vision)).eval()
    randomise(model)
    state = saved(model, tmp_path)
    backbone = small("vit_base_patch32_clip_quickgelu_224", (96, 96))
    report = load_backbone_weights(backbone, state)
    assert report.startswith("HF CLIP: a ViT of width 768, 2 blocks, patch 32")
    assert whole == ("ignored" in report)
    assert "need a backbone with QuickGELU" not in report
    images = torch.randn(2, 3, 96, 96)
    inner = getattr(tower, "vision_model", tower)
    with torch.no_grad():
        expected = inner.post_layernorm(tower(images).last_hidden_state)[:, 1:]
    same(patches(backbone, images), expected)
    assert "need a backbone with QuickGELU" in load_backbone_weights(small("vit_base_patch32_clip_224"), state)


@pytest.mark.parametrize("whole", [False, True])
def test_hf_vit_mae(tmp_path, whole):
    shape = {"hidden_size": 192, "num_hidden_layers": DEPTH, "num_attention_heads": 3, "intermediate_size": 768}
    shape |= {"patch_size": 16, "image_size": 64, "mask_ratio": 0.0}
    decoder = {"decoder_hidden_size": 32, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    config = transformers.ViTMAEConfig(decoder_intermediate_size=64, **decoder, **shape)
    model = (transformers.ViTMAEForPreTraining if whole else transformers.ViTMAEModel)(config).eval()
    randomise(model)
    state = saved(model, tmp_path)
    backbone = small("vit_tiny_patch16_224")
    assert load_backbone_weights(backbone, state).startswith("HF ViT-MAE" if whole else "HF ViT: ")
    images, order = torch.randn(2, 3, 64, 64), torch.arange(16.0).expand(2, 16)
    with torch.no_grad():
        expected = (model.vit if whole else model)(images, noise=order).last_hidden_state[:, 1:]
    same(patches(backbone, images), expected)
    if whole:
        assert backbone.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


def openai_state(width: int, patch: int, grid: int, prefix: str, frames: int | None = None) -> dict[str, torch.Tensor]:
    """The vision tower as OpenAI's CLIP names it; ViCLIP's first convolution spans `frames` frames."""
    torch.manual_seed(1)
    time = () if frames is None else (frames,)
    shapes: dict[str, tuple[int, ...]] = {
        "class_embedding": (width,),
        "positional_embedding": (grid * grid + 1, width),
        "proj": (width, 512),
        "conv1.weight": (width, 3, *time, patch, patch),
        **{f"{norm}.{part}": (width,) for norm in ("ln_pre", "ln_post") for part in ("weight", "bias")},
    }
    for index in range(DEPTH):
        block = f"transformer.resblocks.{index}."
        shapes |= {block + "attn.in_proj_weight": (3 * width, width), block + "attn.in_proj_bias": (3 * width,)}
        shapes |= {block + "attn.out_proj.weight": (width, width), block + "attn.out_proj.bias": (width,)}
        shapes |= {block + f"ln_{i}.{part}": (width,) for i in (1, 2) for part in ("weight", "bias")}
        shapes |= {block + "mlp.c_fc.weight": (4 * width, width), block + "mlp.c_fc.bias": (4 * width,)}
        shapes |= {block + "mlp.c_proj.weight": (width, 4 * width), block + "mlp.c_proj.bias": (width,)}
    state = {prefix + key: torch.randn(shape) * 0.05 for key, shape in shapes.items()}
    for key in state:
        if re.search(r"ln_\w+\.weight$", key):
            state[key] += 0.5
    return state


def clip_tower(state: dict[str, torch.Tensor], prefix: str, images: torch.Tensor, heads: int) -> torch.Tensor:
    """CLIP's vision tower written out (Radford et al., 2021): patch tokens after the last norm, QuickGELU."""
    w = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if w["conv1.weight"].ndim == 5:  # a still film of as many frames as the convolution spans
        frames = w["conv1.weight"].shape[2]
        x = F.conv3d(
            images[:, :, None].expand(-1, -1, frames, -1, -1), w["conv1.weight"], stride=w["conv1.weight"].shape[2:]
        )
    else:
        x = F.conv2d(images, w["conv1.weight"], stride=w["conv1.weight"].shape[2:])
    x = x.flatten(2).transpose(1, 2)
    if "temporal_positional_embedding" in w:  # as ViCLIP's clip_vision.py does with a single frame
        x = x + w["temporal_positional_embedding"].mean(1)
    x = torch.cat([w["class_embedding"].expand(len(x), 1, -1), x], dim=1) + w["positional_embedding"]
    norm = lambda x, name: F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"])  # noqa: E731
    x = norm(x, "ln_pre")
    for index in range(DEPTH):
        block = f"transformer.resblocks.{index}."
        y = norm(x, block + "ln_1")
        y, _ = F.multi_head_attention_forward(
            *[y.transpose(0, 1)] * 3, x.shape[-1], heads, w[block + "attn.in_proj_weight"],
            w[block + "attn.in_proj_bias"], None, None, False, 0.0, w[block + "attn.out_proj.weight"],
            w[block + "attn.out_proj.bias"], training=False, need_weights=False,
        )  # fmt: skip
        x = x + y.transpose(0, 1)
        y = F.linear(norm(x, block + "ln_2"), w[block + "mlp.c_fc.weight"], w[block + "mlp.c_fc.bias"])
        x = x + F.linear(y * torch.sigmoid(1.702 * y), w[block + "mlp.c_proj.weight"], w[block + "mlp.c_proj.bias"])
    return norm(x, "ln_post")[:, 1:]


@pytest.mark.parametrize("prefix", ["", "visual."])
def test_openai_clip(prefix):
    state = openai_state(768, 32, 3, prefix)
    if prefix:  # the whole model has a text tower, with blocks of the same name at the root
        state |= {"transformer.resblocks.0.ln_1.weight": torch.zeros(512), "positional_embedding": torch.zeros(77, 512)}
        state |= {"token_embedding.weight": torch.zeros(9, 512), "logit_scale": torch.zeros(())}
    backbone = small("vit_base_patch32_clip_quickgelu_224", (96, 96))
    assert load_backbone_weights(backbone, state).startswith("OpenAI CLIP: a ViT of width 768, 2 blocks, patch 32")
    assert backbone.mean.flatten().tolist() == pytest.approx([0.48145466, 0.4578275, 0.40821073])
    images = torch.randn(2, 3, 96, 96)
    same(patches(backbone, images), clip_tower(state, prefix, images, heads=12))


@pytest.mark.parametrize("frames", [1, 2])
def test_viclip(frames):
    state = openai_state(768, 16, 3, "vision_encoder.", frames)
    state |= {"vision_encoder.temporal_positional_embedding": torch.randn(1, 8, 768), "temp": torch.ones(())}
    state |= {"text_encoder.transformer.resblocks.0.ln_1.weight": torch.zeros(512)}
    backbone = small("vit_base_patch16_clip_quickgelu_224", (48, 48))
    report = load_backbone_weights(backbone, state)
    assert report.startswith("ViCLIP: a ViT of width 768, 2 blocks, patch 16") and "temporal_positional" in report
    images = torch.randn(2, 3, 48, 48)
    same(patches(backbone, images), clip_tower(state, "vision_encoder.", images, heads=12))


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_timm(wrapper):
    model = timm_reference("vit_tiny_patch16_224", 64)
    state = model.state_dict() if wrapper is None else {wrapper: model.state_dict(), "epoch": 3}
    backbone = small("vit_tiny_patch16_224")
    report = load_backbone_weights(backbone, state)
    assert report.startswith("timm: a ViT of width 192, 2 blocks, patch 16") and "head.weight" in report
    images = torch.randn(2, 3, 64, 64)
    same(patches(backbone, images), timm_patches(model, images))


@pytest.mark.parametrize(
    "name", ["vit_small_patch16_dinov3_qkvb", "eva02_tiny_patch14_224", "deit3_small_patch16_224",
             "vit_small_patch16_rope_mixed_224", "vit_base_patch16_siglip_gap_224", "deit_tiny_distilled_patch16_224"]
)  # fmt: skip
def test_timm_families(name):
    backbone, other = small(name), small(name)
    randomise(other)
    load_backbone_weights(backbone, other.vit.state_dict())
    images = torch.randn(1, 3, backbone.patch * 4, backbone.patch * 4)
    same(patches(backbone, images), patches(other, images))


def test_timm_model_that_keeps_its_norm_behind_the_pooling():
    model = timm_reference("vit_tiny_patch16_224", 64, global_pool="avg")
    assert "fc_norm.weight" in model.state_dict()
    backbone = small("vit_tiny_patch16_224")
    load_backbone_weights(backbone, model.state_dict())
    images = torch.randn(2, 3, 64, 64)
    same(patches(backbone, images), model.fc_norm(timm_patches(model, images)))


@pytest.mark.parametrize("decoder", [False, True])
def test_mae(decoder):
    model = timm_reference("vit_tiny_patch16_224", 64)
    model.pos_embed.data[:, 0] = 0  # fixed sine positions: zero for the class token
    state = {key: value for key, value in model.state_dict().items() if not key.startswith("head")}
    if decoder:
        state |= {"mask_token": torch.zeros(1, 1, 32), "decoder_pos_embed": torch.zeros(1, 17, 32)}
        state |= {"decoder_embed.weight": torch.zeros(32, 192), "decoder_blocks.0.norm1.weight": torch.zeros(32)}
        state |= {"decoder_norm.weight": torch.zeros(32), "decoder_pred.bias": torch.zeros(768)}
    backbone = small("vit_tiny_patch16_224")
    assert load_backbone_weights(backbone, {"model": state}).startswith("MAE: ")
    assert backbone.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    images = torch.randn(2, 3, 64, 64)
    same(patches(backbone, images), timm_patches(model, images))


def test_dino_training_checkpoint_gives_the_teacher():
    teacher = timm_reference("vit_tiny_patch16_224", 64)
    student = timm_reference("vit_tiny_patch16_224", 64)
    wrapped = {
        who: {f"{prefix}backbone.{key}": value for key, value in model.state_dict().items() if "head" not in key}
        | {f"{prefix}head.mlp.0.weight": torch.zeros(3), f"{prefix}head.last_layer.weight_g": torch.zeros(3)}
        for who, prefix, model in (("student", "module.", student), ("teacher", "", teacher))
    }
    teacher.cls_token.data += 1
    backbone = small("vit_tiny_patch16_224")
    assert load_backbone_weights(backbone, wrapped).startswith("DINO: ")
    torch.testing.assert_close(backbone.vit.cls_token, teacher.cls_token)


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("chunked", [False, True])
def test_dinov2_original(registers, chunked):
    """Facebook's file: positions of the class token inside pos_embed, also where there are registers."""
    name = f"vit_small_patch14{'_reg4' * bool(registers)}_dinov2"
    model = timm_reference(name, 70, num_classes=0)
    state = dict(model.state_dict())
    if registers:
        state["register_tokens"] = state.pop("reg_token")
        own = torch.randn(1, 1, 384)
        state |= {"cls_token": state["cls_token"] - own, "pos_embed": torch.cat([own, state["pos_embed"]], dim=1)}
    state["mask_token"] = torch.zeros(1, 384)
    if chunked:
        state = {re.sub(r"^blocks\.", "blocks.0.", key): value for key, value in state.items()}
    backbone = small(name, (70, 70))
    assert load_backbone_weights(backbone, state).startswith("DINOv2: ")
    images = torch.randn(2, 3, 70, 70)
    same(patches(backbone, images), timm_patches(model, images))


def test_dinov3_original():
    """Facebook's file: storage tokens, and a key bias that a mask makes zero."""
    model = timm_reference("vit_small_patch16_dinov3_qkvb", 64, num_classes=0)
    state = {}
    for key, value in model.state_dict().items():
        if key.endswith("q_bias"):
            mask = torch.ones(3, 384)
            mask[1] = 0
            bias = torch.cat([value, torch.randn(384), model.get_parameter(key.replace("q_bias", "v_bias"))])
            state |= {key.replace("q_bias", "qkv.bias"): bias, key.replace("q_bias", "qkv.bias_mask"): mask.flatten()}
        elif not key.endswith("v_bias"):
            key = re.sub(r"\.gamma_([12])$", r".ls\1.gamma", key)
            state[key.replace("reg_token", "storage_tokens")] = value
    state |= {"mask_token": torch.zeros(1, 384), "rope_embed.periods": torch.zeros(16)}
    backbone = small("vit_small_patch16_dinov3_qkvb")
    assert load_backbone_weights(backbone, state).startswith("DINOv3: ")
    images = torch.randn(2, 3, 64, 64)
    same(patches(backbone, images), timm_patches(model, images))


SAPIENS_WIDTH, SAPIENS_HEADS = 1024, 16


def sapiens_state(grid: tuple[int, int], prefix: str, pretraining: bool) -> dict[str, torch.Tensor]:
    """Sapiens-0.3B as published (mmpretrain's names): the pretraining has a class token and a square grid."""
    torch.manual_seed(2)
    width = SAPIENS_WIDTH
    shapes: dict[str, tuple[int, ...]] = {
        "pos_embed": (1, grid[0] * grid[1] + pretraining, width),
        "patch_embed.projection.weight": (width, 3, 16, 16),
        "patch_embed.projection.bias": (width,),
        "ln1.weight": (width,),
        "ln1.bias": (width,),
    }
    if pretraining:
        shapes["cls_token"] = (1, 1, width)
    for index in range(DEPTH):
        layer = f"layers.{index}."
        for name, out, into in (
            ("attn.qkv", 3, 1),
            ("attn.proj", 1, 1),
            ("ffn.layers.0.0", 4, 1),
            ("ffn.layers.1", 1, 4),
        ):
            shapes |= {f"{layer}{name}.weight": (out * width, into * width), f"{layer}{name}.bias": (out * width,)}
        shapes |= {f"{layer}ln{i}.{part}": (width,) for i in (1, 2) for part in ("weight", "bias")}
    state = {prefix + key: torch.randn(shape) * 0.05 for key, shape in shapes.items()}
    for key in state:
        if re.search(r"ln\d\.weight$", key):
            state[key] += 0.5
    return state


def sapiens_pose(state: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """The backbone of the published pose models, written out: padding 2, no class token, the last norm."""
    w = {key.removeprefix("backbone."): value for key, value in state.items()}
    x = F.conv2d(
        images, w["patch_embed.projection.weight"], w["patch_embed.projection.bias"], stride=16, padding=2
    )  # fmt: skip
    x = x.flatten(2).transpose(1, 2) + w["pos_embed"]
    norm = lambda x, name: F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], 1e-6)  # noqa: E731
    for index in range(DEPTH):
        layer = f"layers.{index}."
        linear = lambda x, name, layer=layer: F.linear(x, w[f"{layer}{name}.weight"], w[f"{layer}{name}.bias"])  # noqa: E731
        q, k, v = linear(norm(x, layer + "ln1"), "attn.qkv").unflatten(-1, (3, SAPIENS_HEADS, -1)).unbind(2)
        y = F.scaled_dot_product_attention(*(part.transpose(1, 2) for part in (q, k, v)))
        x = x + linear(y.transpose(1, 2).flatten(2), "attn.proj")
        x = x + linear(F.gelu(linear(norm(x, layer + "ln2"), "ffn.layers.0.0")), "ffn.layers.1")
    return norm(x, "ln1")


@pytest.fixture
def few_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAPIENS["sapiens_0.3b"], "depth", DEPTH)


def test_sapiens_pose_model(few_layers):
    state = sapiens_state((8, 6), "backbone.", pretraining=False)
    head = {"head.deconv_layers.0.weight": torch.zeros(1024, 768, 4, 4), "head.final_layer.bias": torch.zeros(17)}
    nested = {"meta": {"epoch": 210}, "state_dict": state | head}
    assert architecture_of(nested) == "sapiens_0.3b"
    backbone = build_backbone("sapiens_0.3b", (128, 96)).eval()
    report = load_backbone_weights(backbone, nested)
    assert report.startswith("Sapiens: a ViT of width 1024, 2 blocks, patch 16, 0 registers; 2 keys")
    assert backbone.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    images = torch.randn(2, 3, 128, 96)
    same(patches(backbone, images), sapiens_pose(state, images))


def test_sapiens_pretraining_loses_its_class_token_and_takes_another_grid(few_layers):
    state = sapiens_state((8, 8), "", pretraining=True)
    square, tall = (build_backbone("sapiens_0.3b", size).eval() for size in ((128, 128), (128, 96)))
    report = load_backbone_weights(square, state)
    assert "1 keys that are not the backbone's ignored (cls_token)" in report
    assert torch.equal(square.vit.pos_embed, state["pos_embed"][:, 1:])
    load_backbone_weights(tall, state)
    assert tall.vit.pos_embed.shape == (1, 48, 1024)
    wide = F.interpolate(state["pos_embed"][0, 1:].T.unflatten(1, (8, 8))[None], (8, 6), mode="bicubic", antialias=True)
    torch.testing.assert_close(tall.vit.pos_embed[0].T.unflatten(1, (8, 6)), wide[0], rtol=1e-4, atol=1e-5)


def test_sapiens_that_does_not_fit_names_its_keys(few_layers):
    state = sapiens_state((8, 6), "backbone.", pretraining=False)
    del state["backbone.layers.1.attn.proj.bias"]
    state["backbone.layers.0.attn.gamma"] = torch.zeros(3)
    backbone = build_backbone("sapiens_0.3b", (128, 96))
    with pytest.raises(
        WeightsError, match=r"1 missing \(blocks\.1\.attn\.proj\.bias\); 1 unexpected \(blocks\.0\.attn\.g"
    ):
        load_backbone_weights(backbone, state)


@pytest.mark.parametrize("whole", [False, True])
def test_sapiens2(tmp_path, monkeypatch, whole):
    """Sapiens2-0.4B: a block of all heads and one that shares keys and values."""
    pytest.importorskip("transformers.models.sapiens2")  # newer than the lower bound
    heads = {"num_key_value_heads_per_layer": [16, 8], "num_attention_heads": 16}
    shape = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": DEPTH,
        "image_size": [64, 48],
        **heads,
    }
    if whole:
        head = {"upsample_out_channels": [8], "conv_out_channels": [8]}
        model = transformers.Sapiens2ForPoseEstimation(
            transformers.Sapiens2Config(**shape, head_config=head, num_labels=3)
        )
    else:
        model = transformers.Sapiens2Model(transformers.Sapiens2Config(**shape))
    randomise(model.eval())
    state = saved(model, tmp_path)
    assert ("backbone." * whole) + "blocks.0.attn.wq.weight" in state
    create = timm.create_model

    def shallow(name: str, **options) -> nn.Module:
        kind = {"num_kv_heads": (16, 8)} if "sapiens2" in name else {}
        return create(name, depth=DEPTH, **kind, **options)

    monkeypatch.setattr("timm.create_model", shallow)
    assert architecture_of(state) == "vit_large_patch16_sapiens2"
    backbone = build_backbone("vit_large_patch16_sapiens2", (64, 48)).eval()
    report = load_backbone_weights(backbone, state)
    assert report.startswith("Sapiens2: a ViT of width 1024, 2 blocks, patch 16, 8 registers")
    images = torch.randn(2, 3, 64, 80)  # rotary positions know no training size
    with torch.no_grad():
        expected = (model.base_model if whole else model)(images).last_hidden_state[:, 9:]
    same(patches(backbone, images), expected)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (1, 2, 3, 4, 5, 6)])
@pytest.mark.parametrize(
    "key", ["pos_embed", "cls_token", "patch_embed.proj.weight", "blocks.0.norm1.weight", "reg_token"]
)
def test_odd_shapes_are_weights_errors(key: str, shape: tuple[int, ...]) -> None:
    good = {"patch_embed.proj.weight": torch.ones(48, 3, 16, 16), "blocks.0.norm1.weight": torch.ones(48)}
    with pytest.raises(WeightsError):
        load_backbone_weights(build_backbone(SIZES["test"], (64, 64)), {**good, key: torch.ones(shape)})
