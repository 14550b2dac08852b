"""How many small faults in the code the tests notice: samples mutants, tests each, and lists the survivors.

python benchmarks/mutants.py "sia/criterion.py sia/matcher.py = tests/sia/test_criterion.py tests/sia/test_matcher.py"
python benchmarks/mutants.py "utils/annotation_*.py = tests/utils/test_annot*.py" "stages = tests/stages" --number 50

Each argument names sources (files, folders or globs) and their tests; a mutant meets those that run its line. The seed
draws mutants by function, line and change: a sample survives moves between files. An ``--output`` is continued.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
WARM = ("torch", "torchvision", "timm", "cv2", "matplotlib.pyplot", "pycocotools.cocoeval", "faster_coco_eval")
SWAPS = {
    ast.Lt: "< <= >=", ast.LtE: "<= < >", ast.Gt: "> >= <=", ast.GtE: ">= > <", ast.Eq: "== !=", ast.NotEq: "!= ==",
    ast.In: "in not_in", ast.NotIn: "not_in in", ast.Is: "is is_not", ast.IsNot: "is_not is", ast.And: "and or",
    ast.Or: "or and", ast.Add: "+ -", ast.Sub: "- +", ast.Mult: "* /", ast.Div: "/ *", ast.FloorDiv: "// /",
    ast.Mod: "% *", ast.Pow: "** *", ast.BitAnd: "& |", ast.BitOr: "| &",
}  # fmt: skip
UNSEEN = {"annotation", "returns", "decorator_list"}
"""Parts of the syntax tree in which tests see no change."""


@dataclass(frozen=True)
class Mutant:
    """Bytes from ``start`` to ``end`` of a file become ``new``; runs where one of ``lines`` runs."""

    file: str
    name: str
    lines: range
    start: int
    end: int
    new: str


def changes(node: ast.AST, source: bytes, span: Callable[[Any], tuple[int, int]]) -> Iterator[tuple[int, int, str]]:
    """Start, end and new text of each change of a node; ``span`` gives the bytes of nodes."""
    terms: Sequence[ast.expr] = ()
    operators: Sequence[ast.AST] = ()
    match node:
        case ast.Compare(left, operators, others):
            terms = [left, *others]
        case ast.BinOp(left, operator, right):
            terms, operators = [left, right], [operator]
        case ast.BoolOp(operator, terms):
            operators = [operator] * len(terms)
        case ast.UnaryOp(ast.Not()):
            yield span(node)[0], span(node)[0] + len("not "), ""
        case ast.Constant(bool() as value):
            yield *span(node), str(not value)
        case ast.Constant(int() | float() as value):
            yield *span(node), str(value + 1)
        case ast.Return(ast.expr()):
            yield *span(node), "return None"
        case ast.Expr(ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break():
            yield *span(node), "pass"
        case ast.Assign([ast.Attribute() | ast.Subscript()]):
            yield *span(node), "pass"
    for before, after, symbol in zip(terms, terms[1:], operators, strict=False):
        old, *words = (word.replace("_", " ") for word in SWAPS.get(type(symbol), "?").split())
        start = source.find(old.encode(), span(before)[1], span(after)[0])
        yield from ((start, start + len(old), new) for new in words if start >= 0)


def mutants_of(file: str, text: str) -> list[Mutant]:
    """All changes of a file, one at a time, that leave it valid Python."""
    source, seen, found = text.encode(), Counter[str](), list[Mutant]()
    rows = source.splitlines(keepends=True)
    starts = [sum(map(len, rows[:number])) for number in range(len(rows))]

    def span(node: Any) -> tuple[int, int]:
        return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset

    def visit(node: Any, function: str, first: int) -> None:
        first = node.lineno if isinstance(node, ast.stmt) else first
        for start, end, new in changes(node, source, span):
            with contextlib.suppress(SyntaxError):
                ast.parse(source[:start] + new.encode() + source[end:])
                row = rows[source.count(b"\n", 0, start)].decode().strip()
                name = f"{function} | {row} | {' '.join(source[start:end].decode().split())} -> {new}"
                seen[name] += 1
                found.append(Mutant(file, f"{name} | {seen[name]}", range(first, node.lineno + 1), start, end, new))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            function = f"{function}.{node.name}".strip(".")
        for field, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and field not in UNSEEN and not isinstance(child, ast.JoinedStr):
                    visit(child, function, first)

    visit(ast.parse(text), "", 1)
    return found


def fork(body: Callable[[], int], seconds: float) -> int | None:
    """The exit status of `body` in a fork of this process; None if it took longer. No process of it stays."""

    def child() -> None:
        os.setsid()
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1), os.dup2(log, 2)
        sys.exit(body())

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(seconds)
    status = process.exitcode
    with contextlib.suppress(ProcessLookupError):
        os.killpg(int(process.pid or -1), signal.SIGKILL)
    process.join()
    return status


def run_tests(files: Sequence[str]) -> int:
    """Pytest's exit status, in this process."""
    return pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--basetemp", "basetemp", *files])


def lines_of(test: str, sources: Sequence[str]) -> set[tuple[str, int]]:
    """File and line of all that a test file runs in its own process; nothing where it fails."""
    lines = {str(Path(source).absolute()): set[int]() for source in sources}

    def trace(frame: Any, *_: object) -> Any:
        found = lines.get(frame.f_code.co_filename)
        if found is not None:
            found.add(frame.f_lineno)
        return trace if found is not None else None

    def traced() -> int:
        sys.settrace(trace)
        status = run_tests([test])
        sys.settrace(None)
        Path("lines.json").write_text(json.dumps([sorted(found) for found in lines.values()]))
        return status

    if fork(traced, 3600) != 0:
        print(f"left out, as it fails without mutants: {test}", Path("log.txt").read_text()[-1000:], sep="\n")
        return set()
    found = json.loads(Path("lines.json").read_text())
    return {(source, line) for source, numbers in zip(sources, found, strict=True) for line in numbers}


def verdict(mutant: Mutant, tests: Sequence[str], seconds: float) -> str:
    """What tests that take so many seconds say of a mutant."""
    if not tests:
        return "not run"
    file = Path(mutant.file)
    good = file.read_bytes()
    file.write_bytes(good[: mutant.start] + mutant.new.encode() + good[mutant.end :])
    status = fork(lambda: run_tests(tests), 60 + 5 * seconds)
    file.write_bytes(good)
    return "survived" if status == 0 else "killed" if status else "killed, by time"


def files_of(patterns: str, name: str = "*.py") -> list[str]:
    """Python files of folders, files and globs, relative to the present folder."""
    found = [path for pattern in patterns.split() for path in sorted(Path().glob(pattern))]
    return [str(file) for path in found for file in (sorted(path.rglob(name)) if path.is_dir() else [path])]


def measure(suites: Sequence[str], number: int, seed: int, output: Path) -> None:
    """Tests the sample; the file is written anew after each mutant."""
    done: dict[str, dict[str, Any]] = json.loads(output.read_text())["mutants"] if output.is_file() else {}
    parts = [(files_of(sources), files_of(tests, "test_*.py")) for sources, tests in (s.split("=") for s in suites)]
    pool = {m.name: (m, part) for part in parts for file in part[0] for m in mutants_of(file, Path(file).read_text())}
    names = sorted(pool, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[:number]
    seconds, lines = dict[str, float](), dict[str, set[tuple[str, int]]]()
    for sources, tests in parts:
        for test in tests:
            began = time.monotonic()
            lines[test] = lines.get(test, set()) | lines_of(test, sources)
            seconds[test] = time.monotonic() - began
            print(f"{seconds[test]:6.1f} s  {test}", flush=True)
    results: dict[str, dict[str, Any]] = {}
    for mutant, (_, tests) in map(pool.__getitem__, names):
        able = [test for test in tests if any((mutant.file, line) in lines[test] for line in mutant.lines)]
        able.sort(key=seconds.__getitem__)
        said = done.get(mutant.name, {}).get("verdict") or verdict(mutant, able, sum(seconds[test] for test in able))
        results[mutant.name] = {"verdict": said, "file": mutant.file, "line": mutant.lines[-1], "tests": able}
        verdicts = Counter(entry["verdict"].split(",")[0] for entry in results.values())
        share = verdicts["killed"] / len(results)
        summary = {"mutants_in_all": len(pool), "tested": len(results), "killed": share, "verdicts": verdicts}
        output.write_text(json.dumps({**summary, "seed": seed, "suites": suites, "mutants": results}, indent=1))
        print(f"{len(results):4}  {share:.1%}  {said:9} {mutant.file} {mutant.name}", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Reads the flags, and works in a copy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+", metavar="SOURCES=TESTS")
    parser.add_argument("--number", type=int, default=200, help="mutants (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    parser.add_argument("--output", type=Path, default=Path("mutants.json"), help="results (default: mutants.json)")
    args = parser.parse_args(argv)
    output = args.output.resolve()
    os.environ.setdefault("SIA_DATA", str(ROOT.parent / "shared" / "data"))
    for module in WARM:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT, f"{folder}/copy", ignore=shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__"))
        os.chdir(f"{folder}/copy")
        sys.dont_write_bytecode, sys.path[0] = True, str(Path.cwd())  # a stale compiled file would hide a mutant
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        measure(args.suites, args.number, args.seed, output)


if __name__ == "__main__":
    main()
