"""Files in the formats of ViTPose, Sapiens and Sapiens2, made from their published key names."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

from sia.backbones.sapiens import SAPIENS
from sia.errors import WeightsError
from stages.ensemble.experts.expert import COCO_JOINTS
from stages.ensemble.experts.published import read_weights
from stages.ensemble.experts.sapiens import Sapiens, load_sapiens
from stages.ensemble.experts.sapiens2 import load_sapiens2
from stages.ensemble.experts.vitpose import load_vitpose

CROPS = torch.randn(1, 3, 256, 192, generator=torch.Generator().manual_seed(0))


def vitpose(simple: bool = True, experts: int = 1) -> VitPoseForPoseEstimation:
    torch.manual_seed(0)
    backbone = VitPoseBackboneConfig(
        hidden_size=384, num_hidden_layers=2, num_attention_heads=12, num_experts=experts,
        part_features=96 if experts > 1 else 0, layer_norm_eps=1e-6, out_indices=[2],
    )  # fmt: skip
    return VitPoseForPoseEstimation(
        VitPoseConfig(backbone_config=backbone, use_simple_decoder=simple, num_labels=17)
    ).eval()


def official(model: VitPoseForPoseEstimation) -> dict[str, torch.Tensor]:
    """In the names of the authors' .pth, written down from their files."""
    state, out = model.state_dict(), {}
    for name in ("weight", "bias"):
        out[f"backbone.patch_embed.proj.{name}"] = state[f"backbone.embeddings.patch_embeddings.projection.{name}"]
        out[f"backbone.last_norm.{name}"] = state[f"backbone.layernorm.{name}"]
        out[f"keypoint_head.final_layer.{name}"] = state[f"head.conv.{name}"]
        for i in range(2):
            old, new = f"backbone.encoder.layer.{i}", f"backbone.blocks.{i}"
            parts = [state[f"{old}.attention.attention.{part}.{name}"] for part in ("query", "key", "value")]
            out[f"{new}.attn.qkv.{name}"] = torch.cat(parts)
            out[f"{new}.attn.proj.{name}"] = state[f"{old}.attention.output.dense.{name}"]
            out[f"{new}.norm1.{name}"] = state[f"{old}.layernorm_before.{name}"]
            out[f"{new}.norm2.{name}"] = state[f"{old}.layernorm_after.{name}"]
            for key in state:
                if key.startswith(f"{old}.mlp.") and key.endswith(name):
                    out[key.replace(old, new)] = state[key]
    out["backbone.pos_embed"] = state["backbone.embeddings.position_embeddings"]
    for key in state:
        for i, (deconv, norm) in enumerate((("deconv1", "batchnorm1"), ("deconv2", "batchnorm2"))):
            for part, place in ((deconv, 3 * i), (norm, 3 * i + 1)):
                if key.startswith(f"head.{part}."):
                    out[f"keypoint_head.deconv_layers.{place}.{key.rsplit('.', 1)[1]}"] = state[key]
    return out


def newer(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """In the names of MMPose 1; it keeps the sum of the first place and the others."""
    renamed = {}
    for key, tensor in weights.items():
        for old, new in (
            ("keypoint_head.", "head."), (".blocks.", ".layers."), (".norm1.", ".ln1."), (".norm2.", ".ln2."),
            (".mlp.fc1.", ".ffn.layers.0.0."), (".mlp.fc2.", ".ffn.layers.1."), (".last_norm.", ".ln1."),
            (".patch_embed.proj.", ".patch_embed.projection."),
        ):  # fmt: skip
            key = key.replace(old, new)
        renamed[key] = tensor
    places = renamed["backbone.pos_embed"]
    return {**renamed, "backbone.pos_embed": places[:, 1:] + places[:, :1]}


@torch.inference_mode()
def heatmaps(model: VitPoseForPoseEstimation) -> torch.Tensor:
    index = torch.zeros(1, dtype=torch.long)
    return model(CROPS, dataset_index=index).heatmaps


@pytest.mark.parametrize(("simple", "experts"), [(True, 1), (False, 1), (True, 6)])
def test_vitpose_of_every_head_is_read_from_both_formats(tmp_path: Path, simple: bool, experts: int) -> None:
    model = vitpose(simple, experts)
    model.save_pretrained(tmp_path / "folder")
    extra = {"associate_keypoint_heads.0.final_layer.weight": torch.zeros(14, 384, 3, 3)} if experts > 1 else {}
    torch.save({"meta": {"epoch": 210}, "state_dict": official(model) | extra}, tmp_path / "vitpose.pth")
    for path in (tmp_path / "folder", tmp_path / "vitpose.pth"):
        expert = load_vitpose(path, "cpu")
        with torch.inference_mode():
            assert torch.allclose(expert.network(CROPS), heatmaps(model), atol=1e-5), path
    poses = expert.predict(np.zeros((64, 48, 3), np.uint8), np.array([[5.0, 5, 40, 60]]))
    assert poses.keypoints.shape == (1, 17, 2) and np.isfinite(poses.keypoints).all()


def test_vitpose_of_mmpose_1_is_read(tmp_path: Path) -> None:
    model = vitpose(simple=False)
    torch.save({"state_dict": newer(official(model))}, tmp_path / "td-hm_ViTPose-small.pth")
    with torch.inference_mode():
        found = load_vitpose(tmp_path / "td-hm_ViTPose-small.pth", "cpu").network(CROPS)
    assert torch.allclose(found, heatmaps(model), atol=1e-5)


def test_vitpose_that_does_not_fit_is_refused_by_key_and_shape(tmp_path: Path) -> None:
    weights = official(vitpose())
    path = tmp_path / "weights.pth"
    without = {key: value for key, value in weights.items() if key != "backbone.blocks.1.norm1.bias"}
    torch.save({"state_dict": without}, path)
    with pytest.raises(WeightsError, match=r"missing: backbone\.encoder\.layer\.1\.layernorm_before\.bias"):
        load_vitpose(path, "cpu")
    torch.save({"state_dict": {**weights, "backbone.pos_embed": torch.zeros(1, 50, 384)}}, path)
    with pytest.raises(WeightsError, match=r"\(1, 50, 384\) instead of \(1, 193, 384\)"):
        load_vitpose(path, "cpu")
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, path)
    with pytest.raises(WeightsError, match=r"backbone\.patch_embed\.proj\.weight"):
        load_vitpose(path, "cpu")


def test_a_folder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    vitpose().save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    key = "backbone.encoder.layer.0.mlp.fc1.weight"
    save_file({**weights, key: torch.zeros(8, 384)}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"mlp\.fc1\.weight.*\(8, 384\)"):
        load_vitpose(folder, "cpu")
    save_file({k: v for k, v in weights.items() if k != key}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"missing: .*mlp\.fc1\.weight"):
        load_vitpose(folder, "cpu")
    with pytest.raises(WeightsError, match="'vitpose', not a 'sapiens2'"):
        load_sapiens2(folder, "cpu")
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match="no folder of a model"):
        load_vitpose(folder, "cpu")


WIDTH = 1024


@pytest.fixture(autouse=True)
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAPIENS["sapiens_0.3b"], "depth", 1)


def small_sapiens() -> dict[str, torch.Tensor]:
    """By the published names, a Sapiens of 0.3 B parameters of one layer and with a narrow head."""
    layer = {
        "ln1": (WIDTH,), "ln2": (WIDTH,), "attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH),
        "ffn.layers.0.0": (4 * WIDTH, WIDTH), "ffn.layers.1": (WIDTH, 4 * WIDTH),
    }  # fmt: skip
    shapes = {
        "backbone.patch_embed.projection": (WIDTH, 3, 16, 16),
        **{f"backbone.layers.0.{name}": shape for name, shape in layer.items()},
        "backbone.ln1": (WIDTH,),
        **{f"head.conv_layers.{i}": (8, 8, 1, 1) for i in (0, 3)},
        **{f"head.{part}_layers.{i}": (8,) for part in ("deconv", "conv") for i in (1, 4)},
        "head.final_layer": (17, 8, 1, 1),
    }
    torch.manual_seed(0)
    weights = {"backbone.pos_embed": torch.randn(1, 3072, WIDTH)}
    for name, shape in shapes.items():
        weights |= {f"{name}.weight": 0.1 * torch.randn(shape), f"{name}.bias": 0.1 * torch.randn(shape[0])}
        if name.startswith(("head.deconv", "head.conv")) and len(shape) == 1:
            weights |= {f"{name}.running_mean": torch.randn(8), f"{name}.running_var": torch.rand(8) + 0.5}
            weights |= {f"{name}.num_batches_tracked": torch.tensor(1)}
    return weights | {f"head.deconv_layers.{i}.weight": torch.randn(n, 8, 4, 4) for i, n in ((0, WIDTH), (3, 8))}


def sapiens_heatmaps(weights: dict[str, torch.Tensor], crops: torch.Tensor) -> torch.Tensor:
    """As the authors' code computes them."""

    def part(name: str) -> list[torch.Tensor]:
        return [weights[f"{name}.weight"], weights[f"{name}.bias"]]

    def normed(values: torch.Tensor, name: str) -> torch.Tensor:
        statistics = [weights[f"{name}.{kind}"] for kind in ("running_mean", "running_var")]
        return F.relu(F.batch_norm(values, *statistics, *part(name)))

    layer = "backbone.layers.0"
    patches = F.conv2d(crops, *part("backbone.patch_embed.projection"), stride=16, padding=2)
    tokens = patches.flatten(2).transpose(1, 2) + weights["backbone.pos_embed"]
    qkv = F.linear(F.layer_norm(tokens, (WIDTH,), *part(f"{layer}.ln1"), eps=1e-6), *part(f"{layer}.attn.qkv"))
    heads = (some.unflatten(-1, (16, 64)).transpose(1, 2) for some in qkv.chunk(3, dim=-1))
    mixed = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    tokens = tokens + F.linear(mixed, *part(f"{layer}.attn.proj"))
    hidden = F.linear(F.layer_norm(tokens, (WIDTH,), *part(f"{layer}.ln2"), eps=1e-6), *part(f"{layer}.ffn.layers.0.0"))
    tokens = F.layer_norm(tokens + F.linear(F.gelu(hidden), *part(f"{layer}.ffn.layers.1")), (WIDTH,),
                          *part("backbone.ln1"), eps=1e-6)  # fmt: skip
    values = tokens.transpose(1, 2).unflatten(-1, patches.shape[2:])
    for i in (0, 3):
        up = F.conv_transpose2d(values, weights[f"head.deconv_layers.{i}.weight"], stride=2, padding=1)
        values = normed(up, f"head.deconv_layers.{i + 1}")
    for i in (0, 3):
        values = normed(F.conv2d(values, *part(f"head.conv_layers.{i}")), f"head.conv_layers.{i + 1}")
    return F.conv2d(values, *part("head.final_layer"))


@torch.inference_mode()
def test_sapiens_computes_what_the_authors_do(tmp_path: Path) -> None:
    weights = small_sapiens()
    torch.save({"state_dict": weights}, tmp_path / "sapiens.pth")
    crops = torch.randn(1, 3, 1024, 768)
    found = load_sapiens(tmp_path / "sapiens.pth", "cpu").network(crops)
    expected = sapiens_heatmaps(weights, crops)
    assert found.shape == (1, 17, 256, 192) and expected.std() > 0.1
    assert torch.allclose(found, expected, atol=1e-3)


def test_sapiens_has_the_published_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAPIENS["sapiens_0.3b"], "depth", 24)
    with torch.device("meta"):
        state = Sapiens("sapiens_0.3b", (768, 768), (768, 768), 17).state_dict()
    assert sum(tensor.numel() for tensor in state.values()) * 4 == pytest.approx(1.32e9, rel=0.02)


def test_sapiens_pth_is_read_beside_objects_of_its_framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class ConfigDict(dict):
        def __reduce_ex__(self, _: object) -> tuple:
            return ConfigDict, (dict(self),)

    module = types.ModuleType("mmengine.config.config")
    module.ConfigDict = ConfigDict
    ConfigDict.__module__, ConfigDict.__qualname__ = "mmengine.config.config", "ConfigDict"
    for name in ("mmengine", "mmengine.config", "mmengine.config.config"):
        monkeypatch.setitem(sys.modules, name, module if name.endswith(".config") else types.ModuleType(name))
    module.config = module
    sys.modules["mmengine"].config = module
    weights = small_sapiens()
    path = tmp_path / "sapiens_0.3b_coco_best_coco_AP_796.pth"
    message = {"cfg": ConfigDict(a=1), "score": np.float64(0.796), "losses": np.zeros(3)}
    torch.save({"meta": message, "state_dict": weights}, path)
    for name in ("mmengine", "mmengine.config", "mmengine.config.config"):
        monkeypatch.delitem(sys.modules, name)
    found = load_sapiens(path, "cpu").network.state_dict()
    assert torch.equal(found["backbone.pos_embed"], weights["backbone.pos_embed"]) and len(found) == len(weights)


def test_sapiens_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    weights, path = small_sapiens(), tmp_path / "sapiens.pth"
    torch.save({"state_dict": {k: v for k, v in weights.items() if k != "head.conv_layers.3.bias"}}, path)
    with pytest.raises(WeightsError, match=r"missing: head\.conv_layers\.3\.bias"):
        load_sapiens(path, "cpu")
    torch.save({"state_dict": {**weights, "backbone.pos_embed": torch.zeros(1, 4096, 1024)}}, path)
    with pytest.raises(WeightsError, match=r"pos_embed \(1, 4096, 1024\) instead of \(1, 3072, 1024\)"):
        load_sapiens(path, "cpu")


def test_a_pickle_that_runs_a_program_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"meta": Trap(), "state_dict": {"a": torch.zeros(1)}}, tmp_path / "trap.pth")
    with pytest.raises(WeightsError, match="could run a program"):
        read_weights(tmp_path / "trap.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
@pytest.mark.parametrize("joints", [17, 308])
def test_sapiens_torchscript_is_read(tmp_path: Path, joints: int) -> None:
    path = tmp_path / "sapiens_torchscript.pt2"
    torch.jit.trace(nn.Conv2d(3, joints, 4, 4).eval(), torch.zeros(1, 3, 64, 64)).save(str(path))
    expert = load_sapiens(path, "cpu")
    assert expert.joints == list(COCO_JOINTS[joints]) and expert.style.colours[0] == (123.5, 116.5, 103.5)
    torch.jit.trace(nn.Conv2d(3, joints, 2, 2).eval(), torch.zeros(1, 3, 64, 64)).save(str(path))
    with pytest.raises(WeightsError, match=r"\(1, keypoints, 256, 192\), but gives \(1, \d+, 512, 384\)"):
        load_sapiens(path, "cpu")


def sapiens2() -> nn.Module:
    theirs = pytest.importorskip("transformers.models.sapiens2")  # newer than the lower bound
    torch.manual_seed(0)
    head = {"upsample_out_channels": [8, 8], "conv_out_channels": [8, 8, 8]}
    return theirs.modeling_sapiens2.Sapiens2ForPoseEstimation(
        theirs.configuration_sapiens2.Sapiens2Config(
            hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, image_size=[1024, 768],
            num_key_value_heads_per_layer=[4, 2, 4], num_labels=308, head_config=head, key_bias=False,
        )
    ).eval()  # fmt: skip


def test_sapiens2_is_read_from_both_formats(tmp_path: Path) -> None:
    model = sapiens2()
    model.save_pretrained(tmp_path)  # writes the published names
    weights = load_file(tmp_path / "model.safetensors")
    assert "backbone.blocks.1.attn.wq.weight" in weights and "decode_head.conv_pose.bias" in weights
    path = tmp_path / "sapiens2_0.4b_pose.safetensors"
    save_file({**weights, "backbone.rope_embed.periods": torch.ones(4)}, path)
    crops = torch.randn(1, 3, 64, 48)
    with torch.inference_mode():
        expected = model(crops).heatmaps
        for source in (path, tmp_path):
            expert = load_sapiens2(source, "cpu")
            assert torch.allclose(expert.network(crops), expected, atol=1e-5)
    assert expert.joints[9:11] == [62, 41] and expert.style.size == (1024, 768)


def test_sapiens2_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    sapiens2().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    path = tmp_path / "sapiens2.safetensors"
    save_file({k: v for k, v in weights.items() if k != "backbone.blocks.2.ln2.weight"}, path)
    with pytest.raises(WeightsError, match=r"missing: .*2\.norm2\.weight"):
        load_sapiens2(path, "cpu")
    save_file({k: v for k, v in weights.items() if "storage" not in k}, path)
    with pytest.raises(WeightsError, match=r"backbone\.storage_tokens"):
        load_sapiens2(path, "cpu")
    save_file({**weights, "backbone.blocks.0.attn.proj.weight": torch.zeros(64, 32)}, path)
    with pytest.raises(WeightsError, match=r"\(64, 32\)"):
        load_sapiens2(path, "cpu")
