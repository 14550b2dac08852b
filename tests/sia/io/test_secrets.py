"""No secret in what is printed or written, whatever is wrong with it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import inference_image_pose
import scripts.download_models
import train_pose
from sia.commands.jobs.run import describe_run
from sia.description.chat_server import ChatServer
from sia.description.language_model import LanguageModelError
from sia.errors import ConfigError, DataError, complain, exit_status
from sia.io.output_file import write_json
from sia.io.secrets import mask, read_key
from sia.skeletons.skeleton import COCO_PERSON
from utils.logger import Dashboards
from utils.run_folder import environment

PARTS = ("s3cr-etone", "s3cr-ettwo")

KEYS = ["{}\n{}", "{} {}", "{}\u00fc{}", "{}\r\n{}\n", " {}{}\n", "{}\u2028{}"]
"""With a line end, a blank, a character that HTTP lacks; good after trimming."""

ADDRESSES = [
    "rtsp://{}:{}@camera.invalid/live", "https://{}:{}@127.0.0.1:9/v1", "https:/{}:{}@host.invalid/a.jpg",
    "https://a:{}@{}@host.invalid/", "https://a:{}/{}@host.invalid/v1", "https://a:{} {}@host.invalid/v1",
    "https://a:{}\n{}@host.invalid/v1", "https://host.invalid/v1?token={}{}", "a:{}{}@host.invalid/v1",
    "https://[{}:{}@host.invalid/v1", "ftp://{}:{}\u00fc@host.invalid/v1",
]  # fmt: skip


def failing_wandb(**_: object) -> None:
    raise RuntimeError(f"the key {read_key('WANDB_API_KEY')!r} is wrong")


def ask_server() -> None:
    try:
        ChatServer("http://127.0.0.1:9/v1", "model", timeout=1, pause=0).answer([])
    except LanguageModelError as error:
        complain(str(error))


def records(folder: Path, address: str) -> None:
    args = argparse.Namespace(video_path=address, weight_path=Path(address), batch_size=1)
    predictor = SimpleNamespace(skeleton=COCO_PERSON, describe=lambda: "a model")
    write_json(folder / "run.json", describe_run(predictor, args))
    write_json(folder / "environment.json", environment(("train_pose.py", "-COCO_ROOT", address)))


def fail(address: str) -> None:
    raise DataError(f"Can't open {address}, nor {Path(address)}, nor {address!r}.")


def assert_hidden(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    files = [file for file in folder.rglob("*") if file.is_file()]
    for text in (*capsys.readouterr(), *(file.read_text() for file in files)):
        assert not any(part in text for part in PARTS), text


@pytest.mark.parametrize("key", KEYS)
def test_no_key_is_shown(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    value = key.format(*PARTS)
    fakes: dict[str, str] = dict.fromkeys(("SIA_LLM_KEY", "HF_TOKEN", "WANDB_API_KEY"), value)
    monkeypatch.setattr("os.environ", {**fakes, "HF_ENDPOINT": "http://127.0.0.1:9", "PATH": ""})
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=failing_wandb, Settings=lambda **_: None))
    exit_status(ask_server)
    assert scripts.download_models.main(["--model", "vitpose", "--output_dir", str(tmp_path / "weights")]) == 1
    for line in Dashboards(tmp_path, ["wandb"], name="run", config={}).warnings:
        print(line)
    complain(f"Invalid header value {('Bearer ' + value).encode()!r}; Invalid header value: {'Bearer ' + value!r}")
    complain(f"Invalid header value Bearer {value}")
    assert_hidden(capsys, tmp_path)


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_password_of_an_address_is_shown(address: str, tmp_path: Path, monkeypatch, capsys) -> None:
    value = address.format(*PARTS)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(sys, "argv", ["command", value])  # as a command has it
    monkeypatch.setenv("HF_ENDPOINT", value)
    exit_status(lambda: fail(value))
    records(tmp_path, value)
    image, common = ["--image_path", value], ["--output_dir", str(tmp_path / "out")]
    assert inference_image_pose.main([*image, *common]) == 1
    assert inference_image_pose.main([*image, *common, "--describe", "-LLM", "m", "-LLM_URL", value]) == 1
    assert train_pose.main(["-MODEL", "sia_pose", "-COCO_ROOT", value, "-TRAIN_ANN", value, "-VAL_ANN", value]) == 1
    assert train_pose.main(["-BS", value]) == 1
    with pytest.raises(SystemExit):
        inference_image_pose.main([*image, value])
    for mirror in ([], ["--mirror", value]):
        assert scripts.download_models.main(["--model", "vitpose", "--output_dir", str(tmp_path / "w"), *mirror]) == 1
    assert_hidden(capsys, tmp_path)


@pytest.mark.parametrize(
    "text",
    ["C:\\dir\\a@b", "http://host:8000/a@2x.jpg", "mail a@b.de", "Can't read 10:30@home.jpg", "http://[::1]:8/v1"],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask(text) == text


def test_a_key_is_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", " hf_abc\n")
    assert read_key("HF_TOKEN") == "hf_abc"
    monkeypatch.setenv("HF_TOKEN", "\n")
    assert read_key("HF_TOKEN") is None
    monkeypatch.setenv("HF_TOKEN", "hf_a\nb")
    with pytest.raises(ConfigError, match="HF_TOKEN holds a line end"):
        read_key("HF_TOKEN")
