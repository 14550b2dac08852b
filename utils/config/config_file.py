"""Flags in a YAML file (-CONFIG): the same names and values as on the command line, one ``NAME: value`` a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sia.errors import ConfigError, unknown
from utils.config.train_config import flag_fields
from utils.yaml_file import compose_yaml

_FLAG = "-CONFIG"


def with_config_files(argv: Sequence[str]) -> list[str]:
    """The command line with what the named files say put before it, so that what it says itself wins.

    Raises:
        ConfigError: a file that can't be used; the message names the line.
    """
    words: list[str] = []
    for place, word in enumerate(argv):
        if word.startswith(f"{_FLAG}="):
            words += read_flags(Path(word.partition("=")[2]))
        elif word == _FLAG and place + 1 < len(argv):
            words += read_flags(Path(argv[place + 1]))
    return [*words, *argv]


def read_flags(file: Path) -> list[str]:
    """Words of a command line. Values are taken as they are written, so that ``on`` or ``010`` means itself.

    Raises:
        ConfigError: it can't be read, is no list of flags, or names one that doesn't exist.
    """
    document = compose_yaml(file, _FLAG, "Give a YAML file with lines such as EPOCH: 50.", ConfigError)
    if document is None:
        return []
    if not isinstance(document, yaml.MappingNode):
        raise ConfigError(f"-CONFIG {file} must have lines such as EPOCH: 50.")
    words: dict[str, list[str]] = {}
    for key, value in document.value:
        where = f"-CONFIG {file}, line {key.start_mark.line + 1}:"
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{where} a list or a table is no flag. Write lines such as EPOCH: 50.")
        name = str(key.value)
        if name in words:
            raise ConfigError(f"{where} {name} stands there twice.")
        words[name] = _words(name, value, where)
    return [word for group in words.values() for word in group]


def _words(name: str, value: Any, where: str) -> list[str]:
    """One entry as words."""
    flags = {f.metadata["flag"].lstrip("-"): f for f in flag_fields() if f.metadata["flag"] != _FLAG}
    if name not in flags:
        raise ConfigError(f"{where} {unknown('flag', name, list(flags))}")
    entry = flags[name]
    texts = [item.value for item in value.value] if isinstance(value, yaml.SequenceNode) else [value.value]
    if isinstance(value, yaml.MappingNode) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise ConfigError(f"{where} {name} needs a value, such as on the command line.")
    if entry.metadata["kind"] is not bool:
        return [f"{entry.metadata['flag']}={','.join(texts)}"]
    if texts[0] not in ("true", "false"):
        raise ConfigError(f"{where} {name} '{texts[0]}' must be true or false.")
    return [entry.metadata["flag"]] if texts[0] == "true" else []
