"""Members of an ensemble by what the user calls them: ``vitpose:weights/vitpose-base``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sia.errors import ConfigError, unknown
from sia.io.bundled_weights import find_weights
from stages.ensemble.experts.expert import Expert
from stages.ensemble.experts.own import OwnExpert
from stages.ensemble.experts.sapiens import load_sapiens
from stages.ensemble.experts.sapiens2 import load_sapiens2
from stages.ensemble.experts.sdpose import load_sdpose
from stages.ensemble.experts.simcc import load_simcc
from stages.ensemble.experts.vitpose import load_vitpose
from utils.model_files import check_unchanged

LOADERS: dict[str, Callable[[Path, str], Expert]] = {
    "own": OwnExpert.load,
    "vitpose": load_vitpose,
    "sapiens": load_sapiens,
    "sapiens2": load_sapiens2,
    "sdpose": load_sdpose,
    "dwpose": load_simcc,
    "rtmpose": load_simcc,
}


class MemberName(NamedTuple):
    """A kind of partner, and its file or folder."""

    kind: str
    path: Path


def parse_members(text: str | None) -> list[MemberName]:
    """``kind:path,kind:path`` -> members; nothing gives none.

    Raises:
        ConfigError: an unknown kind, or a member without a path.
    """
    members = []
    for word in (text or "").split(","):
        kind, _, path = word.strip().partition(":")
        if not kind and not path:
            continue
        if kind not in LOADERS:
            raise ConfigError(unknown("-MEMBERS kind", kind, list(LOADERS)))
        if not path:
            raise ConfigError(f"-MEMBERS {word.strip()} names no file. Write it as {kind}:PATH.")
        members.append(MemberName(kind, find_weights(path) if kind == "own" else Path(path)))
    return members


def load_expert(member: MemberName, device: str) -> Expert:
    """Opens a member's file.

    Raises:
        WeightsError: it is missing, broken, unsafe, or doesn't fit what the kind is published as.
        ConfigError: the device can't be used, or a package is missing.
        DownloadError: it was fetched, and has changed since.
    """
    check_unchanged(member.path)
    return LOADERS[member.kind](member.path, device)
