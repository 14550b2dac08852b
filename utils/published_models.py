"""Published models that can be fetched: where they are, how large, their checksums and their licences.

The table is published_models.tsv. Its bytes and sha256 are those of the last file, the weights, and stand there only
where they are known for sure (several independent sources agree). A revision keeps the file of an address the same.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from sia.errors import ConfigError, unknown


@dataclass(frozen=True)
class License:
    """Terms of a model: where their text is, and what a user has to agree to before the download, if anything."""

    name: str
    link: str
    consent: str = ""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a model: a path in its repository or an address; bytes and sha256 where they are known for sure."""

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
        files: what belongs to it, its weights last.
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


APACHE = License("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0")
SAPIENS = License(
    "CC-BY-NC-4.0", "https://creativecommons.org/licenses/by-nc/4.0/", "no commercial use, and credit to its authors"
)
SAPIENS2 = License(
    "Sapiens2 License", "https://github.com/facebookresearch/sapiens2/blob/main/LICENSE.md",
    "Meta's own terms, which forbid surveillance and biometric processing among other uses; read them",
)  # fmt: skip
LICENSES = {license.name: license for license in (APACHE, SAPIENS, SAPIENS2)}


def _read(row: dict[str, str]) -> PublishedModel:
    hosted = not row["where"].startswith("https://")
    *others, last = (file if hosted else f"{row['where']}/{file}" for file in row["files"].split())
    weights = RemoteFile(last, int(row["bytes"]) if row["bytes"] else None, row["sha256"] or None)
    files = (*map(RemoteFile, others), weights)
    where = (row["where"], row["revision"]) if hosted else ()
    return PublishedModel(row["name"], row["about"], LICENSES[row["licence"]], files, *where)


with Path(__file__).with_suffix(".tsv").open(encoding="utf-8", newline="") as _table:
    MODELS = tuple(map(_read, csv.DictReader(_table, delimiter="\t")))
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
