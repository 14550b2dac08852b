"""A small SDPose in the published layout: folders, file names, key names and configurations as the authors have them.

The decoder's keys and shapes give files of exactly the published lengths, and so do those of the U-Net. The VAE is
eight bytes longer than diffusers writes it today, which are the older names of its attention.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sia.errors import WeightsError
from stages.ensemble.experts.loading import MemberName, load_expert
from stages.ensemble.experts.sdpose import HeatmapDecoder, load_sdpose
from stages.ensemble.members import digests

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

CHANNELS = (8, 16, 16, 16)
DECODER = Path("decoder/decoder.safetensors")
OLDER = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def write(folder: Path, joints: int) -> Path:
    """What teemosliang/SDPose-Body (17) or SDPose-Wholebody (133) holds, with few channels."""
    torch.manual_seed(joints)
    diffusers.UNet2DConditionModel(
        sample_size=96, cross_attention_dim=16, attention_head_dim=[1, 2, 2, 2], use_linear_projection=True,
        block_out_channels=CHANNELS, layers_per_block=1, norm_num_groups=4, class_embed_type="projection",
        projection_class_embeddings_input_dim=4,
    ).save_pretrained(folder / "unet")  # fmt: skip
    config = json.loads((folder / "unet/config.json").read_text())
    del config["class_embed_type"], config["projection_class_embeddings_input_dim"]  # as Stable Diffusion 2 has it
    (folder / "unet/config.json").write_text(json.dumps(config))
    diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, latent_channels=4,
        block_out_channels=[4, 4, 8, 8], layers_per_block=1, norm_num_groups=4,
    ).save_pretrained(folder / "vae")  # fmt: skip
    file = folder / "vae/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    for new, old in OLDER.items():
        weights = {k.replace(f".attentions.0.{new}.", f".attentions.0.{old}."): v for k, v in weights.items()}
    save_file(weights, file, {"format": "pt"})
    diffusers.DDPMScheduler(prediction_type="sample").save_pretrained(folder / "scheduler")
    write_text(folder)
    width = CHANNELS[joints != 17]
    (folder / "decoder").mkdir()
    save_file(HeatmapDecoder(width, joints).state_dict(), folder / DECODER)
    return folder


def write_text(folder: Path) -> None:
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2}
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer/vocab.json").write_text(json.dumps(words))
    (folder / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    (folder / "tokenizer/special_tokens_map.json").write_text(json.dumps(special))
    about = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special, "pad_token": "!"}
    (folder / "tokenizer/tokenizer_config.json").write_text(json.dumps(about))
    text = transformers.CLIPTextConfig(
        vocab_size=4, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        bos_token_id=0, eos_token_id=2,  # as for Stable Diffusion 2, though its tokens are others
    )  # fmt: skip
    transformers.CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    file = folder / "text_encoder/model.safetensors"
    older = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    save_file({**load_file(file), **older}, file, {"format": "pt"})


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("SDPose-Body"), 17)


@pytest.fixture
def copied(body: Path, tmp_path: Path) -> Iterator[Path]:
    yield Path(shutil.copytree(body, tmp_path / "SDPose-Body"))


@torch.inference_mode()
def as_authors_run_it(folder: Path, crops: torch.Tensor, block: int) -> torch.Tensor:
    """Features of the U-Net, from the parts, with the numbers of SDPose_D_Pipeline.py."""
    options = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet", **options).eval()
    vae = diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae").eval()
    encoder = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    kept: list[torch.Tensor] = []
    unet.up_blocks[block].register_forward_hook(lambda *arguments: kept.append(arguments[-1]))
    text = encoder(torch.tensor([[0, 1]]))[0].repeat(len(crops), 1, 1)
    task = torch.tensor([[1.0, 0.0]])
    labels = torch.cat([torch.sin(task), torch.cos(task)], dim=-1).repeat(len(crops), 1)
    unet(vae.encode(crops).latent_dist.mean * 0.18215, torch.tensor(999), text, class_labels=labels)
    return kept[0]


@pytest.mark.parametrize(("joints", "block"), [(17, -1), (133, -2)])
def test_the_network_is_the_authors(tmp_path: Path, joints: int, block: int) -> None:
    folder = write(tmp_path / "SDPose", joints)
    expert = load_sdpose(folder, "cpu")
    crops = torch.rand(1, 3, 128, 96) * 2 - 1
    features = as_authors_run_it(folder, crops, block)
    assert features.shape == (1, CHANNELS[-1 - block], 16, 12)
    state = load_file(folder / DECODER)
    functional = torch.nn.functional
    hidden = functional.conv_transpose2d(features, state["deconv_layers.0.weight"], stride=2, padding=1)
    hidden = functional.silu(functional.instance_norm(hidden))
    hidden = functional.conv2d(hidden, state["conv_layers.0.weight"], state["conv_layers.0.bias"])
    hidden = functional.silu(functional.instance_norm(hidden))
    expected = functional.conv2d(hidden, state["final_layer.weight"], state["final_layer.bias"])
    with torch.inference_mode():
        found = expert.network(crops)
    assert found.shape == (1, joints, 32, 24) and found.std() > 0.01
    assert torch.allclose(found, expected, atol=1e-5)
    assert expert.joints == list(range(17))


@pytest.mark.parametrize(("width", "joints", "length"), [(320, 17, 6_986_756), (640, 133, 28_196_828)])
def test_the_decoder_is_as_long_as_the_published_file(tmp_path: Path, width: int, joints: int, length: int) -> None:
    save_file(HeatmapDecoder(width, joints).state_dict(), tmp_path / "decoder.safetensors")
    assert (tmp_path / "decoder.safetensors").stat().st_size == length


def test_a_person_is_found_where_they_are(copied: Path) -> None:
    """The decoder is fitted to one disc by least squares; keypoints come back in the image's pixels."""
    image = np.zeros((480, 640, 3), np.uint8)
    y, x = np.mgrid[:480, :640]
    image[(x - 331.5) ** 2 + (y - 203.5) ** 2 < 24**2] = 255
    boxes = np.array([[250.0, 100, 400, 320]])
    expert = load_sdpose(copied, "cpu")
    crops = expert_input(expert, image, boxes)
    decoder = expert.network.decoder
    hidden: list[torch.Tensor] = []
    decoder.final_layer.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0]))
    with torch.inference_mode():
        expert.network(torch.cat([crops, crops.flip(-1)]))
    lit = torch.nn.functional.interpolate(crops.mean(1, keepdim=True), hidden[0].shape[-2:], mode="area")
    blob = torch.nn.functional.avg_pool2d((lit > 0).float(), 31, 1, 15) ** 4
    rows = hidden[0].permute(0, 2, 3, 1).reshape(-1, CHANNELS[0])
    rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
    target = torch.cat([blob, blob.flip(-1)]).reshape(-1, 1)
    solution = torch.linalg.lstsq(rows, target).solution[:, 0]
    weights = load_file(copied / DECODER)
    weights["final_layer.weight"] = solution[None, :-1, None, None].repeat(17, 1, 1, 1)
    weights["final_layer.bias"] = solution[-1:].repeat(17)
    save_file(weights, copied / DECODER)
    poses = load_expert(MemberName("sdpose", copied), "cpu").predict(image, boxes)
    assert poses.keypoints.shape == (1, 17, 2) and poses.confidences.shape == (1, 17)
    assert np.abs(poses.keypoints - (331.5, 203.5)).max() < 24  # inside the disc, by a network nobody trained


def expert_input(expert, image, boxes) -> torch.Tensor:
    from stages.ensemble.experts.crops import cut, windows_of

    return torch.from_numpy(cut(image, windows_of(boxes, expert.style.size), expert.style))


def test_crops_are_scaled_as_the_authors_do(body: Path) -> None:
    expert = load_sdpose(body, "cpu")
    white = expert_input(expert, np.full((40, 30, 3), 255, np.uint8), np.array([[0.0, 0, 10, 10]]))
    assert white.shape == (1, 3, 1024, 768)
    assert (white[0, :, 512, 384] == 1).all() and (white[0, :, 0, 0] == -1).all()  # inside; beyond the border


def test_files_in_subfolders_belong_to_a_member(copied: Path) -> None:
    (copied / ".cache/huggingface").mkdir(parents=True)
    (copied / ".cache/huggingface/lock").write_text("")
    names = list(digests(copied))
    assert DECODER.as_posix() in names and "unet/config.json" in names and "vae/config.json" in names
    assert not any(".cache" in name for name in names)


def change(file: Path, key: str, value: torch.Tensor | None) -> None:
    weights = {k: v for k, v in load_file(file).items() if k != key}
    save_file(weights if value is None else {**weights, key: value}, file)


def test_what_does_not_fit_is_refused(copied: Path) -> None:
    unet = copied / "unet/diffusion_pytorch_model.safetensors"
    whole = unet.read_bytes()
    change(unet, "conv_in.bias", None)
    with pytest.raises(WeightsError, match=r"unet.*missing: conv_in\.bias"):
        load_sdpose(copied, "cpu")
    unet.write_bytes(whole)
    change(unet, "conv_in.bias", torch.zeros(3))
    with pytest.raises(WeightsError, match=r"unet.*conv_in\.bias"):
        load_sdpose(copied, "cpu")
    unet.write_bytes(whole[:1000])
    with pytest.raises(WeightsError, match=r"unet.*can't be used"):
        load_sdpose(copied, "cpu")
    unet.write_bytes(whole)
    decoder = (copied / DECODER).read_bytes()
    change(copied / DECODER, "deconv_layers.1.running_mean", torch.zeros(8))
    with pytest.raises(WeightsError, match=r"deconv_layers\.1\.running_mean"):
        load_sdpose(copied, "cpu")
    (copied / DECODER).write_bytes(decoder)
    for missing in ("vae/config.json", "tokenizer/vocab.json", "text_encoder/model.safetensors", str(DECODER)):
        content = (copied / missing).read_bytes()
        (copied / missing).unlink()
        with pytest.raises(WeightsError, match=missing.split("/")[0]):
            load_sdpose(copied, "cpu")
        (copied / missing).write_bytes(content)
    load_sdpose(copied, "cpu")


def test_another_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"decoder\.safetensors.*no such file"):
        load_sdpose(tmp_path, "cpu")
