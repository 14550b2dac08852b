"""Published models that can be fetched: where they are, how large, their checksums and their licences.

A size or checksum is here only where it is known for sure (several independent sources agree); None says that it isn't.
A revision keeps the file of an address the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sia.errors import ConfigError, unknown

OPENMMLAB = "https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/onnx_sdk"
DINOV2 = "https://dl.fbaipublicfiles.com/dinov2"


@dataclass(frozen=True)
class License:
    """Terms of a model.

    Attributes:
        name: as its owner calls it.
        link: where its text is.
        consent: what a user has to agree to before the download; empty where nothing is asked.
    """

    name: str
    link: str
    consent: str = ""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a model.

    Attributes:
        path: in the repository, or the whole address where there is none.
        bytes: its size, None where it isn't known for sure.
        sha256: its checksum in hexadecimal, None where it isn't known for sure.
    """

    path: str
    bytes: int | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        """Without folders."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class PublishedModel:
    """A model to fetch.

    Attributes:
        name: what ``--model`` takes.
        about: one line.
        license: its terms.
        files: what belongs to it.
        repository: on Hugging Face, empty where the files have whole addresses.
        revision: branch or commit of the repository.
    """

    name: str
    about: str
    license: License
    files: tuple[RemoteFile, ...]
    repository: str = ""
    revision: str = "main"

    @property
    def family(self) -> str:
        """The part of the name before the size."""
        return self.name.split("-", 1)[0]


_APACHE = License("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0")
_SAPIENS = License(
    "CC-BY-NC-4.0",
    "https://creativecommons.org/licenses/by-nc/4.0/",
    "no commercial use, and credit to its authors",
)
_SAPIENS2 = License(
    "Sapiens2 License",
    "https://github.com/facebookresearch/sapiens2/blob/main/LICENSE.md",
    "Meta's own terms, which forbid surveillance and biometric processing among other uses; read them",
)


def _vitpose(
    name: str, about: str, revision: str, sha256: str | None = None, length: int | None = None
) -> PublishedModel:
    files = RemoteFile("config.json"), RemoteFile("preprocessor_config.json")
    weights = RemoteFile("model.safetensors", length, sha256)
    return PublishedModel(name, about, _APACHE, (*files, weights), f"usyd-community/{name}", revision)


def _sapiens(size: str, score: int) -> PublishedModel:
    file = RemoteFile(f"sapiens_host/pose/checkpoints/sapiens_{size}/sapiens_{size}_coco_best_coco_AP_{score}.pth")
    about = f"Sapiens {size.upper()}, COCO's 17 keypoints, {score / 10:.1f} AP on COCO val"
    return PublishedModel(f"sapiens-{size}", about, _SAPIENS, (file,), "noahcao/sapiens-pose-coco")


def _sapiens2(size: str, revision: str) -> PublishedModel:
    file = RemoteFile(f"sapiens2_{size}_pose.safetensors")
    about = f"Sapiens2 {size.upper()}, 308 keypoints"
    return PublishedModel(f"sapiens2-{size}", about, _SAPIENS2, (file,), f"facebook/sapiens2-pose-{size}", revision)


def _rtmpose(size: str, file: str, length: int | None = None, sha256: str | None = None) -> PublishedModel:
    about = f"RTMPose-{size} trained on seven data sets, ONNX in a zip file, COCO's 17 keypoints"
    return PublishedModel(f"rtmpose-{size}", about, _APACHE, (RemoteFile(f"{OPENMMLAB}/{file}", length, sha256),))


def _dinov2(size: str, about: str, length: int, sha256: str) -> PublishedModel:
    path = f"{DINOV2}/dinov2_vit{size}14/dinov2_vit{size}14_pretrain.pth"
    return PublishedModel(f"dinov2-{size}14", about, _APACHE, (RemoteFile(path, length, sha256),))


_DWPOSE = ("yzd-v/DWPose", "f7c16a3d45ad3783db41471848c80fbc281cabac")

MODELS = (
    _vitpose("vitpose-base-simple", "ViTPose-B, simple decoder, COCO's 17 keypoints",
             "a93ac0c67e0b7e2c55287d21d4c460c8f3c54d45",
             "85375373893ddd3641f3912821073e53f5435f9e966e1dca59d004454bfe4fdf"),
    _vitpose("vitpose-base", "ViTPose-B, classic decoder, COCO's 17 keypoints",
             "95be2991424e646950d656bb7fc15ec9be119700"),
    _vitpose("vitpose-plus-small", "ViTPose++-S, six data sets",
             "0c30b6534bb621af0162b481176742577264e36e",
             "f7bad8ed09eeeb2a7de6b38faaa8a88d07838e23e9c06a2a782099bca7467cb9", 132_619_932),
    _vitpose("vitpose-plus-base", "ViTPose++-B, six data sets",
             "92be54d7a29e42fad47b6e2ca01dd9e685a61e0d",
             "640225e4a9dd544239f1da0ae36af865a6e76e21e5f33a12656aa7b77fa5a5fa", 501_627_628),
    _vitpose("vitpose-plus-large", "ViTPose++-L, six data sets",
             "e211df377e49c89dba508ab3e83ddef13c0832b4"),
    _vitpose("vitpose-plus-huge", "ViTPose++-H, six data sets",
             "9f36d7aec1800d23e97f10c2e74393aee92aa53f",
             "0ecb49f1ab0b18cc2f18446b8100442cec88bd99dd53779ad5a7f8c71aa08506"),
    _sapiens("0.3b", 796),
    _sapiens("0.6b", 812),
    _sapiens("1b", 821),
    _sapiens("2b", 822),
    _sapiens2("0.4b", "73572e121602e8a6eb40eb841732e88f386d250b"),
    _sapiens2("0.8b", "76f06b9854d04bb1e59e0624de39b1e8921b12aa"),
    _sapiens2("1b", "f5fed8b97b99698d5eea1d14ff0855d0b4c3f000"),
    _sapiens2("5b", "ada1f29aa1fd454ca28665c700923a0101b6b24f"),
    PublishedModel(
        "dwpose-l", "DWPose-L 384x288, ONNX, 133 keypoints of which the first 17 are COCO's", _APACHE,
        (RemoteFile("dw-ll_ucoco_384.onnx", 134_399_116,
                    "724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843"),), *_DWPOSE),
    PublishedModel(
        "dwpose-detector", "YOLOX-L, ONNX, the person detector that DWPose is published with", _APACHE,
        (RemoteFile("yolox_l.onnx", 216_746_733,
                    "7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411"),), *_DWPOSE),
    _rtmpose("m", "rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504.zip"),
    _rtmpose("t", "rtmpose-t_simcc-body7_pt-body7_420e-256x192-026a1439_20230504.zip", 12_547_710,
             "937003a70832d9cc34ea16927f504792f3133e92dda1b9c626236bbbe9e805cb"),
    _rtmpose("s", "rtmpose-s_simcc-body7_pt-body7_420e-256x192-acd4a1ef_20230504.zip"),
    _rtmpose("l", "rtmpose-l_simcc-body7_pt-body7_420e-384x288-3f5a1437_20230504.zip"),
    _dinov2("s", "DINOv2 ViT-S/14 without registers, a backbone (-BACKBONE)", 88_283_115,
            "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9"),
    _dinov2("b", "DINOv2 ViT-B/14 without registers, a backbone (-BACKBONE)", 346_378_731,
            "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73"),
)  # fmt: skip
"""All models; the first of a family is what the family's name stands for."""


def find_model(name: str) -> PublishedModel:
    """By its name, or by that of its family; capitals and underscores for hyphens are as good.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    spelled = re.sub(r"[\s_]+", "-", name.strip().lower())
    found = next((model for model in MODELS if spelled in (model.name, model.family)), None)
    if found is None:
        known = [*dict.fromkeys(model.family for model in MODELS), *(model.name for model in MODELS)]
        raise ConfigError(f"{unknown('--model', name, known)} --list shows all.")
    return found
