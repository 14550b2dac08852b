"""A folder of fetched models: ``MODEL/FILE``, and models.lock.json with the checksum of each file that was accepted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from msgspec import Meta, Struct, to_builtins
from tqdm import tqdm

from sia.errors import DownloadError
from sia.io.input_file import sha256_of
from sia.io.output_file import write_json, writing
from sia.io.stored import Count, Sha256, read_stored
from sia.sharing.hub import fetch_file, hub_library, hub_token
from utils.published_models import PublishedModel, RemoteFile

LOCK = "models.lock.json"


class _Accepted(Struct):
    """What the lock file says of a file; `modified` is its time in nanoseconds, 0 where an older version wrote it."""

    sha256: Sha256
    bytes: Count
    modified: Annotated[int, Meta(ge=0)] = 0


def fetch_model(model: PublishedModel, folder: Path, mirror: str | None = None) -> None:
    """Fetches all files of a model, and accepts nothing that isn't what it was.

    Args:
        model: its licence was agreed to.
        folder: made where it is missing.
        mirror: a folder or an http(s) address with the same layout, in place of the models' own addresses.

    Raises:
        DownloadError: a file can't be fetched, or is not what the registry or the lock file says.
        OutputError: it can't be written.
    """
    for file in model.files:
        target = folder / model.name / file.name
        locked = _read_lock(folder / LOCK).get(f"{model.name}/{file.name}")
        known = file.sha256 or (locked.sha256 if locked else None)
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            path = target if target.exists() else _obtain(model, file, target, mirror)
            digest = sha256_of(path)
            if known not in (None, digest):
                remedy = "Move it away first."  # what is there is never overwritten
                if path != target:
                    path.unlink()
                    remedy = "It was removed."
                raise DownloadError(f"{target} has sha256 {digest}, but it should be {known}. {remedy}")
            path.replace(target)
        verdict = (
            "its checksum is right." if file.sha256 else "its checksum is that of the first use." if known else
            f"it can't be verified, as no checksum is known. Its sha256 is {digest}; {LOCK} has it, and another file "
            "will be refused from now on."
        )  # fmt: skip
        tqdm.write(f"{target}: {verdict}")
        status = target.stat()
        entry = _Accepted(digest, status.st_size, status.st_mtime_ns)
        entries = {**_read_lock(folder / LOCK), f"{model.name}/{file.name}": entry}
        write_json(folder / LOCK, to_builtins(entries), indent=2)


def _obtain(model: PublishedModel, file: RemoteFile, target: Path, mirror: str | None) -> Path:
    """The complete file beside the target."""
    if mirror is None and model.repository:
        url = hub_library().hf_hub_url(model.repository, file.path, revision=model.revision)
        return fetch_file(url, target, hub_token(), file.bytes)
    if mirror is None:
        return fetch_file(file.path, target, size=file.bytes)
    if mirror.startswith(("http://", "https://")):
        url = f"{mirror.rstrip('/')}/{quote(model.name)}/{quote(file.name)}"
        return fetch_file(url, target, size=file.bytes)
    origin = Path(mirror) / model.name / file.name
    if not origin.is_file():
        raise DownloadError(f"The mirror has no {origin}. Its layout is MODEL/FILE, as in the output folder.")
    return Path(shutil.copyfile(origin, target.with_name(f".{target.name}.part")))


def check_unchanged(path: Path) -> None:
    """Refuses what was fetched and has changed since, before it is used.

    Size and time are compared with those in the lock file. Only where the time differs is the file read: its checksum
    decides then. Files that no lock file beside their folder knows are the user's own, and pass.

    Args:
        path: a file, or the folder of a model, as -MEMBERS and -BACKBONE name it.

    Raises:
        DownloadError: a file has changed, or the lock file can't be used.
    """
    folder = path if path.is_dir() else path.parent
    for key, entry in _read_lock(folder.resolve().parent / LOCK).items():
        model, _, name = key.partition("/")
        file = folder / name
        if model != folder.resolve().name or (folder != path and name != path.name) or not file.is_file():
            continue
        status = file.stat()
        if (status.st_size, status.st_mtime_ns) == (entry.bytes, entry.modified):
            continue
        if status.st_size != entry.bytes or sha256_of(file) != entry.sha256:
            raise DownloadError(
                f"{file} has changed since it was fetched: its sha256 was {entry.sha256} ({LOCK}). Move it away and "
                "fetch it again with scripts/download_models.py."
            )


def _read_lock(path: Path) -> dict[str, _Accepted]:
    remedy = "Move it away: it is made again, but what was accepted before is trusted anew."
    return read_stored(path, dict[str, _Accepted], "lock file", remedy, DownloadError) if path.exists() else {}
