"""The mutants command: its changes are valid and complete, its sample stays in a move, and verdicts are right."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.mutants import mutants_of

SOURCE = '''"""A module."""
LIMIT: int | None = 3


class Box:
    def holds(self, x: float, y: float = 0.5) -> bool:
        if not self.sides and x + y <= LIMIT:
            raise ValueError(f"{x + 1}")
        return 0 < x


def unused() -> None:
    print("ä", 1)
'''
TEST = """from boxes.box import Box

def test_box():
    box = Box()
    box.sides = True
    assert box.holds(1) is True and box.holds(-1) is False
"""


def mutated() -> dict[str, str]:
    """The changed line of each mutant, by its name."""
    data, lines = SOURCE.encode(), {}
    for mutant in mutants_of("box.py", SOURCE):
        text = (data[: mutant.start] + mutant.new.encode() + data[mutant.end :]).decode()
        ast.parse(text)
        rows = [new for old, new in zip(SOURCE.splitlines(), text.splitlines(), strict=True) if old != new]
        assert len(rows) == 1
        lines[mutant.name] = rows[0].strip()
    return lines


def test_every_kind_of_change_is_made_once() -> None:
    assert sorted(mutated().values()) == sorted(
        [
            "LIMIT: int | None = 4",
            "def holds(self, x: float, y: float = 1.5) -> bool:",
            "if self.sides and x + y <= LIMIT:",
            "if not self.sides or x + y <= LIMIT:",
            "if not self.sides and x - y <= LIMIT:",
            "if not self.sides and x + y < LIMIT:",
            "if not self.sides and x + y > LIMIT:",
            "pass",
            "return None",
            "return 1 < x",
            "return 0 <= x",
            "return 0 >= x",
            "pass",
            'print("ä", 2)',
        ]
    )


def test_names_are_the_same_in_another_file_and_place() -> None:
    moved = mutants_of("other/place.py", "import os\n\n" + SOURCE)
    assert [mutant.name for mutant in moved] == list(mutated())


def test_verdicts(tmp_path: Path) -> None:
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / "box.py").write_text(SOURCE)
    (tmp_path / "test_box.py").write_text(TEST)
    root = Path(__file__).resolve().parents[2]
    body = (
        f"import sys; from pathlib import Path; sys.path[:0] = ['.', {str(root)!r}]; sys.dont_write_bytecode = True; "
    )
    body += "from benchmarks.mutants import measure; measure(['boxes = test_box.py'], 99, 0, Path('out.json'))"
    for _ in range(2):  # the second time everything is known
        subprocess.run([sys.executable, "-c", body], cwd=tmp_path, check=True, capture_output=True, timeout=250)
    found = json.loads((tmp_path / "out.json").read_text())
    verdicts = {name.split(" | ", 1)[1]: entry["verdict"] for name, entry in found["mutants"].items()}
    assert (
        verdicts["return 0 < x | < -> >= | 1"] == verdicts["return 0 < x | return 0 < x -> return None | 1"] == "killed"
    )
    assert verdicts["return 0 < x | < -> <= | 1"] == "survived"
    assert verdicts['print("ä", 1) | 1 -> 2 | 1'] == "not run"
    assert found["killed"] == found["verdicts"]["killed"] / 14
    assert (tmp_path / "boxes" / "box.py").read_text() == SOURCE
