"""scripts/download_models.py: the list, the licences, a download through HF_ENDPOINT, and one line for every error."""

from __future__ import annotations

import sys

import pytest

from scripts.download_models import main
from tests.fake_hub import point_at
from tests.file_server import FileServer
from tests.serving import serving
from utils.published_models import MODELS, find_model


@pytest.fixture
def server(monkeypatch, tmp_path):
    with serving(FileServer()) as server:
        point_at(server, monkeypatch, tmp_path / "home")
        yield server


def serve(server, name):
    model = find_model(name)
    for file in model.files:
        server.files[f"/{model.repository}/resolve/{model.revision}/{file.path}"] = f"content of {file.name}".encode()
    return model


def test_list(capsys):
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(model.name in printed for model in MODELS)
    assert "134 MB  sha256" in printed


def test_a_model(server, tmp_path, capsys):
    model = serve(server, "vitpose-base")
    assert main(["--model", "ViTPose_Base", "--output_dir", str(tmp_path)]) == 0
    fetched = {path.name: path.read_text() for path in (tmp_path / model.name).iterdir()}
    assert fetched == {file.name: f"content of {file.name}" for file in model.files}
    printed = capsys.readouterr()
    assert "Apache-2.0" in printed.out
    assert "can't be verified" in printed.out + printed.err


def test_several_names_of_one_model_fetch_it_once(server, tmp_path):
    model = serve(server, "vitpose-base")
    assert main(["--model", "vitpose_base", model.name, "--output_dir", str(tmp_path)]) == 0
    assert len(server.asked) == len(model.files)


def test_a_licence_that_asks(server, tmp_path, capsys, monkeypatch):
    model = serve(server, "sapiens2")
    flags = ["--model", "sapiens2", "--output_dir", str(tmp_path)]
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert main(flags) == 1
    assert "Agree with --accept_license" in capsys.readouterr().err
    assert server.asked == []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "no")
    assert main(flags) == 1
    monkeypatch.setattr("builtins.input", lambda question: "Yes")
    assert main(flags) == 0
    assert main([*flags, "--accept_license"]) == 0
    assert (tmp_path / model.name / model.files[0].name).is_file()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "vitpos"], "Did you mean vitpose"),
        (["--model", "vitpose-base"], "the server answers 404"),
        (["--model", "vitpose", "--mirror", "nowhere"], "The mirror has no nowhere/vitpose-base-simple/config.json"),
    ],
)
def test_what_can_not_work_is_one_line_and_status_1(server, tmp_path, capsys, flags, message):
    assert main([*flags, "--output_dir", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and "\n" not in error
    assert message in error


def test_a_checksum_of_the_registry_is_checked(server, tmp_path, capsys):
    model = serve(server, "dwpose")
    assert model.files[0].bytes == 134_399_116
    assert main(["--model", "dwpose", "--output_dir", str(tmp_path)]) == 1
    assert "but 134,399,116 are expected" in capsys.readouterr().err
    assert server.asked == []
