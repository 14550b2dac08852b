"""The Hugging Face hub, and files by their address, through huggingface_hub: HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sia.errors import DISK_FULL, ConfigError, DownloadError, SiaError, WeightsError, first_line
from sia.io.input_file import sha256_of
from sia.io.optional import need
from sia.io.output_file import output_error
from sia.io.secrets import mask, read_key

HUB = "hf:"
"""Begins the name of a repository on the Hugging Face hub."""
WEIGHTS = ("model.safetensors", "model.pt")
"""What is taken of a repository, the first that is there; else its only file of `LOADABLE`."""
LOADABLE = (".safetensors", ".pt", ".onnx")


def hub_library(name: str = "The Hugging Face hub") -> Any:
    """The package huggingface_hub.

    Raises:
        ConfigError: it is missing.
    """
    return need("huggingface_hub", name)


def hub_token() -> str | None:
    """That of HF_TOKEN, else of the user's login; None where there is none.

    Raises:
        ConfigError: HF_TOKEN can't be sent.
    """
    token: str | None = read_key("HF_TOKEN") or hub_library().get_token()
    return token


@contextlib.contextmanager
def asking(what: str, error: type[SiaError] = DownloadError, hint: str = "") -> Iterator[None]:
    """Turns whatever the hub or the connection says into one line.

    Args:
        what: isn't done then, such as ``Can't get hf:me/poses``.
        error: the class to raise.
        hint: how the line ends where nothing better is known.
    """
    try:
        yield
    except SiaError:
        raise
    except Exception as problem:  # of requests, httpx or httpx2, by the version of huggingface_hub
        status = getattr(getattr(problem, "response", None), "status_code", 0)
        reason = f"the server answers {status}" if status else first_line(problem).rstrip(".")
        if type(problem).__name__ in ("OfflineModeIsEnabled", "LocalEntryNotFoundError"):
            reason, hint = "it is not in the cache, and there is no connection", "Check HF_HUB_OFFLINE and the network."
        elif type(problem).__name__ == "GatedRepoError" or status in (401, 403):
            hint = "Check the name, accept its terms on its web page, and set HF_TOKEN or run: hf auth login"
        raise error(mask(f"{what}: {reason}. {hint}".rstrip())) from problem


def split_name(name: str) -> tuple[str, str | None]:
    """``owner/name``, with or without ``hf:`` and ``@revision``, as repository and revision.

    Raises:
        ConfigError: it is no such name.
    """
    match = re.fullmatch(r"(?:hf:)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", name)
    if match is None:
        raise ConfigError(f"'{name}' names no repository. Give owner/name, as in the address of its page.")
    return match[1], match[2]


def hub_weights(name: str) -> Path:
    """Weights of ``owner/name`` or ``owner/name@revision``, downloaded once: `WEIGHTS`, else its only `LOADABLE` file.

    Raises:
        WeightsError: the hub doesn't give it, or it is not clear which file is meant.
        ConfigError: the package huggingface_hub is missing, or this is no name.
    """
    repository, revision = split_name(name)
    hub = hub_library(f"hf:{name}")
    api = hub.HfApi(token=hub_token() or False)
    with asking(f"Can't get hf:{name}", WeightsError, "Check the name and the connection."):
        try:
            files = api.list_repo_files(repository, revision=revision)
        except Exception:  # without a connection, what was fetched before is there
            cached = {
                file: hub.try_to_load_from_cache(repository, file, revision=revision)
                for file in (*WEIGHTS, "model.onnx")
            }
            files = [file for file, path in cached.items() if isinstance(path, str)]
            if not files:
                raise
        choices = [file for file in WEIGHTS if file in files][:1] or [f for f in files if f.endswith(LOADABLE)]
        if len(choices) == 1:
            return Path(api.hf_hub_download(repository, choices[0], revision=revision))
    what = f"several: {', '.join(choices)}" if choices else f"none of the endings {', '.join(LOADABLE)}"
    raise WeightsError(f"hf:{name} must have {' or '.join(WEIGHTS)} or one file of weights, but has {what}.")


def fetch_file(url: str, target: Path, token: str | None = None, size: int | None = None) -> Path:
    """Fetches a file next to its final name, for the caller to check and to move there.

    What an earlier call left of the same content is continued, also after the process has ended; `hf_hub_download`
    begins again then.

    Args:
        url: http or https.
        target: the final name; the part is ``.NAME.ETAG.part`` beside it.
        token: sent to the first host only.
        size: in bytes, where it is known for sure.

    Returns:
        The path of the complete part.

    Raises:
        DownloadError: no such file, no permission, no connection, or another size; what is there of it stays.
        OutputError: it can't be written.
    """
    hub = hub_library("Downloading")
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    hub.logging.set_verbosity_error()  # its warnings have addresses with whatever the user typed into them
    with asking(f"Can't fetch {url}", hint="The same command goes on from what is there; or try --mirror."):
        about = hub.get_hf_file_metadata(url, token=token or False)
        if size is not None and about.size not in (None, size):
            raise DownloadError(f"{url} has {about.size:,} bytes, but {size:,} are expected: it is another file.")
        part = target.with_name(f".{target.name}.{re.sub(r'[^0-9A-Za-z]', '', about.etag or '')[:32]}.part")
        for other in {*target.parent.glob(f".{target.name}.*part")} - {part if about.etag else None}:
            other.unlink()
        try:
            with part.open("ab") as stream:
                headers = build_hf_headers(token=token or False)
                http_get(url, stream, resume_size=stream.tell(), headers=headers, expected_size=about.size)
        except OSError as problem:
            if problem.errno in DISK_FULL or problem.filename:
                raise output_error(problem, target) from problem
            raise
    if re.fullmatch("[0-9a-f]{64}", about.etag or "") and sha256_of(part) != about.etag:  # the hub's large files
        part.unlink()
        raise DownloadError(f"{url} was broken on its way: the hub says sha256 {about.etag}. Try again.")
    return part
