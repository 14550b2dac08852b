"""`sia push`: weights into a repository of the Hugging Face hub, with a model card."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from sia.errors import ConfigError, OutputError, WeightsError
from sia.io.bundled_weights import find_weights
from sia.io.input_file import check_input_file, sha256_of
from sia.io.output_file import write_text
from sia.sharing.hub import WEIGHTS, asking, hub_library, hub_token, split_name


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `sia push`."""
    parser.epilog = "The token is that of HF_TOKEN, or of: hf auth login. HF_ENDPOINT names another hub."
    parser.add_argument("weights", metavar="WEIGHTS", help="best.pt or last.pt, an export (.onnx), or a bundled name")
    parser.add_argument("repository", metavar="OWNER/NAME", help="made where it is missing; else it gets a new commit")
    parser.add_argument("--public", action="store_true", help="anyone may see a new repository (default: its owner)")
    parser.add_argument("--license", metavar="ID", help="of the weights, as the hub spells it, such as apache-2.0")
    parser.add_argument("--data", metavar="TEXT", help="what they were trained on, in a sentence or two, for the card")
    parser.add_argument("--accuracy", metavar="TEXT", help="what was measured, where the file has no figures of it")
    parser.add_argument("--dry_run", action="store_true", help="print the model card, and send nothing")


def run(args: argparse.Namespace) -> None:
    """Sends model.safetensors (an export as it is) and README.md as one commit; prints where they are.

    Raises:
        ConfigError: no such name, no token, or a public model of unknown licence or data.
        WeightsError: the file is missing, broken, unsafe, or not of a SIA Pose model.
        OutputError: the hub doesn't take it.
    """
    repository, revision = split_name(args.repository)
    if revision is not None:
        raise ConfigError(f"'{args.repository}' names a revision. Leave it out: a push makes a new one.")
    if args.public and not (args.license and args.data):
        raise ConfigError("--public needs --license and --data: people have to know what they may do, and what it saw.")
    path = find_weights(args.weights)
    check_input_file(path, "Check the name.", WeightsError)
    if path.suffix == ".xml":
        raise ConfigError(f"{path} is one of two files. Push the checkpoint that it was made from, or an .onnx file.")
    token = hub_token()
    if token is None and not args.dry_run:
        raise ConfigError("The hub wants to know who you are: set HF_TOKEN, or run: hf auth login")
    with tempfile.TemporaryDirectory(prefix="sia-") as folder:
        digest = fill_folder(Path(folder), path, repository, args)
        if args.dry_run:
            print((Path(folder) / "README.md").read_text(encoding="utf-8"))
            return
        hub = hub_library()
        api, files = hub.HfApi(token=token), sorted(Path(folder).iterdir())
        with asking(f"Can't push to {repository}", OutputError):
            api.create_repo(repository, private=not args.public, exist_ok=True)
            added = [hub.CommitOperationAdd(file.name, file) for file in files]
            done = api.create_commit(repository, added, commit_message="Weights of SIA Pose")
    print(f"{done.commit_url}\nsha256 {digest}\nTo use it: sia predict photo.jpg --weight_path hf:{repository}")


def fill_folder(folder: Path, path: Path, repository: str, args: argparse.Namespace) -> str:
    """Writes what is to be sent; returns the sha256 of the weights."""
    from sia.commands.info import read_facts
    from sia.io.checkpoint import load_checkpoint, save_safetensors
    from sia.sharing.model_card import model_card

    facts = read_facts(path)  # builds the model, so that what is sent is whole
    if path.suffix == ".onnx":
        target = folder / "model.onnx"
        shutil.copyfile(path, target)
    else:
        target = folder / WEIGHTS[0]
        save_safetensors(target, load_checkpoint(path))
    digest = sha256_of(target)
    card = model_card(repository, target.name, digest, facts, args)
    write_text(folder / "README.md", card)
    return digest
