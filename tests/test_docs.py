"""The documents: they build as a site, and what they name is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*DOCS, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
         ROOT / "weights/README.md"]  # fmt: skip
CODE = ("*.py", "scripts/*.py", "sia/**/*.py", "utils/**/*.py", "datasets/**/*.py", "stages/**/*.py",
        "benchmarks/**/*.py", "scripts/*.sh")  # fmt: skip
SOURCES = [path for pattern in CODE for path in sorted(ROOT.glob(pattern)) if "/." not in f"{path.relative_to(ROOT)}"]

LINK = re.compile(r"\]\(([^)\s]+)\)")
LOADED = re.compile(r"<(?:script|img|iframe)[^>]+src=\"?(https?:[^\s\">]+)|<link[^>]+href=\"?(https?:[^\s\">]+)")
EARLIER = re.compile(r"\bat a61b267\b|git show \w{7}")
FLAG = re.compile(r"(?<![\w/-])(-[A-Z][A-Z_]+|--[A-Z_]+|--[a-z]+(?:[_-][a-z]+)*)(?![\w-])")
OTHERS = {
    "--extra", "--max-restarts", "--nnodes", "--nodes", "--nproc_per_node", "--rdzv_backend", "--rdzv_endpoint",
    "--rdzv_id", "--shm-size", "--strict", "--no-deps", "--rm", "--user",
}  # fmt: skip
"""Flags of other programs that the documents name."""


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def slug(heading: str) -> str:
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # --quiet would hide warnings from --strict
    built = sorted(tmp_path.glob("*.html"))
    assert {path.stem for path in built} >= {path.stem for path in DOCS}
    assert [LOADED.findall(path.read_text(encoding="utf-8")) for path in built] == [[]] * len(built)


def test_every_page_is_in_the_navigation() -> None:
    content = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"\w+\.md", yaml.dump(yaml.safe_load(content)["nav"]))
    assert sorted(listed) == [path.name for path in DOCS]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / file if file else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), link


def present(page: Path) -> str:
    """A page without its paragraphs about earlier commits, whose commands have gone."""
    text = page.read_text(encoding="utf-8")
    return "\n\n".join(part for part in re.split(r"\n\n|\n(?=- )", text) if not EARLIER.search(part))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_commands_name_exist(page: Path) -> None:
    names = re.findall(r"(?<![\w/.])(?:scripts|benchmarks|extras)/[\w/]+\.(?:py|sh|yaml)", present(page))
    assert [name for name in names if not (ROOT / name).is_file()] == []


def test_pages_that_the_code_names_exist() -> None:
    names = {name for path in SOURCES for name in re.findall(r"docs/\w+\.md", path.read_text(encoding="utf-8"))}
    assert names
    assert [name for name in sorted(names) if not (ROOT / name).is_file()] == []


def test_flags_in_the_documents_exist_and_all_of_a_training_are_there() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    known = {*re.findall(r"[\"'](--?[A-Za-z][\w-]*)[\"']", code), "--help"}
    pages = [path for path in PAGES if path.name != "CHANGELOG.md"]
    used = {flag: named(path) for path in pages for flag in FLAG.findall(present(path))}
    assert {flag: page for flag, page in used.items() if flag not in known | OTHERS} == {}
    command = [sys.executable, str(ROOT / "train_pose.py"), "--help"]
    shown = set(FLAG.findall(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert "-MODEL" in shown
    assert shown - OTHERS - {"--help"} - used.keys() == set()


def test_the_documents_are_short() -> None:
    assert sum(len(path.read_text(encoding="utf-8").split()) for path in DOCS) <= 15_000
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 120
