"""The torchrun launch that this process belongs to: what it started is found again when it restarts its processes."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sia.io.output_file import write_json

NOTE = ".launch.json"
"""In the folder of a run: the launch that made it."""


@dataclass(frozen=True)
class Launch:
    """A launch of torchrun.

    Attributes:
        run_id: torchrun's name for it: random with --standalone, the same on all machines with --rdzv_id.
        agent: the process that started this one, on its machine; it outlives its restarts.
        command: checksum of what it runs; the words themselves may hold what is nobody's business.
        restarted: whether torchrun says that it has started its processes anew.
    """

    run_id: str
    agent: str
    command: str
    restarted: bool

    @classmethod
    def present(cls, command: Sequence[str]) -> Launch | None:
        """That of this process; None without torchrun."""
        run_id = os.environ.get("TORCHELASTIC_RUN_ID")
        if run_id is None:
            return None
        restarted = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
        checksum = hashlib.sha256("\0".join(command).encode(errors="surrogateescape")).hexdigest()
        return cls(run_id, _parent(), checksum, restarted)

    def sign(self, folder: Path) -> None:
        """Notes in a new folder that it is of this launch.

        Raises:
            OutputError: nothing can be written there.
        """
        write_json(folder / NOTE, {name: value for name, value in asdict(self).items() if name != "restarted"})

    def find(self, folders: Iterable[Path]) -> Path | None:
        """The folder that an earlier process of this launch has made.

        The agent alone is no proof on several machines, where the first process may move; the name alone is none where
        users give every launch the same.
        """
        signed = [folder for folder in folders if (folder / NOTE).is_file() and self._wrote(_read(folder / NOTE))]
        return max(signed, key=lambda folder: (folder / NOTE).stat().st_mtime_ns, default=None)

    def _wrote(self, note: dict[str, Any]) -> bool:
        same = note.get("run_id") == self.run_id and note.get("command") == self.command
        return same and (note.get("agent") == self.agent or (self.restarted and self.run_id != "none"))


def _parent() -> str:
    """This machine, the number of the parent process, and when that was started, for numbers come again."""
    parent = os.getppid()
    try:
        started = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):  # no Linux
        started = "?"
    return f"{socket.gethostname()} {parent} {started}"


def _read(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}
