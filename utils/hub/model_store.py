"""A folder of fetched models: ``MODEL/FILE``, and models.lock.json with the checksum of each file that was accepted."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from msgspec import Meta, Struct, to_builtins

from sia.errors import DownloadError
from sia.io.output_file import output_error, write_json
from sia.io.secrets import mask
from sia.io.stored import Count, Sha256, read_stored
from utils.hub.download import Progress, discard, download, install
from utils.hub.model_registry import PublishedModel, RemoteFile

LOCK = "models.lock.json"
Say = Callable[[str], object]


class _Accepted(Struct):
    """What the lock file says of a file; `modified` is its time in nanoseconds, 0 where an older version wrote it."""

    sha256: Sha256
    bytes: Count
    source: str
    verified_by: str
    modified: Annotated[int, Meta(ge=0)] = 0


class ModelStore:
    """Fetches into a folder, and accepts nothing that isn't what it was.

    Args:
        folder: made where it is missing.
        mirror: a folder or an http(s) address with the same layout, in place of the models' own addresses.
        token: for Hugging Face, None for none.
        say: takes a line for the user.
        progress: takes the bytes that are there and how many there will be.
    """

    def __init__(
        self,
        folder: Path,
        mirror: str | None = None,
        token: str | None = None,
        say: Say = print,
        progress: Progress = lambda done, total: None,
    ) -> None:
        self.folder, self.mirror, self.token = folder, mirror, token
        self.say, self.progress = say, progress

    def fetch(self, model: PublishedModel) -> list[Path]:
        """All files of a model, checked.

        Raises:
            DownloadError: a file can't be fetched, or is not what the registry or the lock file says.
            OutputError: it can't be written.
        """
        return [self._file(model, file) for file in model.files]

    def _file(self, model: PublishedModel, file: RemoteFile) -> Path:
        target = self.folder / model.name / file.name
        known = file.sha256 or self._locked(model, file)
        if target.exists():
            digest = sha256_of(target)
            if known is None:
                self._accept(model, file, target, digest, "found there")  # this is its first use
            elif digest != known:  # what is there is never overwritten
                raise DownloadError(
                    f"{target} is there with sha256 {digest}, but it should be {known}. Move it away first."
                )
            else:
                self.say(f"{target} is there already, and its checksum is right.")
            return target
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(error, target) from error
        part, source = self._obtain(model, file, target)
        digest = sha256_of(part)
        if known is not None and digest != known:
            discard(target)
            whose = "its checksum is known to be" if file.sha256 else f"at first use ({LOCK}) it was"
            raise DownloadError(
                f"{source} is not the right file: sha256 {digest}, but {whose} {known}. It was removed."
            )
        install(part, target)
        self._accept(model, file, target, digest, source)
        return target

    def _obtain(self, model: PublishedModel, file: RemoteFile, target: Path) -> tuple[Path, str]:
        """The complete part, and where it is from."""
        if self.mirror is None:
            url = model.url(file)
            token = self.token if model.repository else None
            return download(url, target, file.bytes, token, self.progress), url
        if self.mirror.startswith(("http://", "https://")):
            url = f"{self.mirror.rstrip('/')}/{quote(model.name)}/{quote(file.name)}"
            return download(url, target, file.bytes, None, self.progress), url
        origin, part = Path(self.mirror) / model.name / file.name, target.with_name(f".{target.name}.part")
        if not origin.is_file():
            raise DownloadError(f"The mirror has no {origin}. Its layout is MODEL/FILE, as in the output folder.")
        try:
            shutil.copyfile(origin, part)
        except OSError as error:
            discard(target)
            raise output_error(error, target) from error
        return part, str(origin)

    def _accept(self, model: PublishedModel, file: RemoteFile, target: Path, digest: str, source: str) -> None:
        """Writes the lock file; the first checksum of a file that nobody knows is trusted from then on."""
        by = "registry" if file.sha256 else "first use"
        if file.sha256:
            self.say(f"{target}: its checksum is right.")
        elif self._locked(model, file):
            self.say(f"{target}: its checksum is that of the first use.")
        else:
            self.say(
                f"{target}: it can't be verified, as no checksum is known. Its sha256 is {digest}; "
                f"{LOCK} has it, and another file will be refused from now on."
            )
        status = target.stat()
        entry = _Accepted(digest, status.st_size, mask(source), by, status.st_mtime_ns)
        entries = {**_read_lock(self.folder / LOCK), f"{model.name}/{file.name}": entry}
        write_json(self.folder / LOCK, to_builtins(entries), indent=2)

    def _locked(self, model: PublishedModel, file: RemoteFile) -> str | None:
        entry = _read_lock(self.folder / LOCK).get(f"{model.name}/{file.name}")
        return None if entry is None else entry.sha256


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


def sha256_of(path: Path) -> str:
    """In hexadecimal.

    Raises:
        DownloadError: the file can't be read.
    """
    try:
        with path.open("rb") as stream:
            digest = hashlib.sha256()
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
            return digest.hexdigest()
    except OSError as error:
        raise DownloadError(f"Can't read {path}: {error.strerror}. Check its permissions.") from error
