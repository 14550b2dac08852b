"""What comes from elsewhere: an image by its address, weights from a model hub."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sia.errors import DataError, WeightsError, first_line
from sia.io.optional import need
from sia.io.secrets import mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST = 64 << 20
"""Bytes of an image that is downloaded."""
SECONDS = 30.0
"""That a server may be silent."""
HUB_FILE = "model.pt"
"""What is taken of a repository; where it has none, its only file with one of `LOADABLE`."""
LOADABLE = (".pt", ".onnx")


def is_web_address(source: str) -> bool:
    """Whether it begins with ``http://`` or ``https://``."""
    return source.lower().startswith(("http://", "https://"))


def download(address: str) -> bytes:
    """The content of an image's address; nothing is kept on the disk.

    Raises:
        DataError: no answer in time, an error of the server, an empty or a truncated answer, or one that is too large.
    """
    import http.client  # a tenth of a second, and seldom needed
    import urllib.request

    try:
        request = urllib.request.Request(address, headers={"User-Agent": "sia-pose"})
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            content: bytes = answer.read(LARGEST + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
        reason = getattr(error, "reason", None) or first_line(error)
        raise DataError(f"Can't download {mask(address)}: {reason}. Check the address, or download it first.") from None
    if len(content) > LARGEST:
        raise DataError(f"{mask(address)} has more than {LARGEST >> 20} MiB. Download it first and give its path.")
    return content


def read_address(address: str) -> NDArray[np.uint8]:
    """The image at an address, (H, W, 3) uint8 RGB, as `read_image` reads it from a file.

    Raises:
        DataError: it can't be downloaded, or is no image.
    """
    from sia.io.images import read_image

    content = download(address)
    with tempfile.TemporaryDirectory(prefix="sia-") as folder:
        path = Path(folder) / "image"
        path.write_bytes(content)
        try:
            return read_image(path)
        except DataError as error:
            raise DataError(str(error).replace(str(path), mask(address))) from error


def hub_weights(name: str) -> Path:
    """Weights of a repository ``owner/name`` on the Hugging Face hub: `HUB_FILE`, else its only file of weights.

    Downloaded once; HF_HOME, HF_ENDPOINT and HF_TOKEN are obeyed.

    Raises:
        WeightsError: the hub doesn't give it, or it is not clear which file is meant.
        ConfigError: the package huggingface_hub is missing.
    """
    hub = need("huggingface_hub", f"hf:{name}")
    try:
        files = hub.HfApi().list_repo_files(name)
        choices = [HUB_FILE] if HUB_FILE in files else [file for file in files if file.endswith(LOADABLE)]
        if len(choices) == 1:
            return Path(hub.hf_hub_download(name, choices[0]))
    except (OSError, ValueError, RuntimeError) as error:  # its own classes derive from these
        raise WeightsError(f"Can't get hf:{name}: {first_line(error)}. Check the name and the connection.") from error
    what = f"several: {', '.join(choices)}" if choices else f"none of the endings {', '.join(LOADABLE)}"
    raise WeightsError(f"hf:{name} must have {HUB_FILE} or one file of weights, but has {what}.")
