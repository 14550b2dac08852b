"""The work of scripts/train_roi_head.py: crops of every data set, then the training, then a file of weights."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from datasets.coco.coco_pose import CocoPose
from sia.commands.values import SIDES, within_sides
from sia.errors import ConfigError, DataError
from sia.io.checkpoint import KEPT, load_checkpoint, save_checkpoint
from sia.io.weights import build_described, load_weights
from sia.modules.conv_pyramid import ConvPyramid, load_trunk_weights
from sia.registry import create_model, read_description
from stages.roi_head.crops import Crops, save_crops
from stages.roi_head.sampling import CropSampler
from stages.roi_head.train import HeadTraining, Recipe
from stages.training.initialization import load_roi_trunk

HEAD = "roi_head."
"""What is replaced where a new network is asked for."""


class Source(NamedTuple):
    """What ROOT:ANN[:PX] names."""

    root: Path
    annotations: Path
    side: int

    @classmethod
    def parse(cls, text: str, side: int) -> Source:
        """With an input size of `side` pixels where it names none.

        Raises:
            ConfigError: it is not of that form.
        """
        root, _, rest = text.partition(":")
        annotations, _, pixels = rest.partition(":")
        if not annotations or (pixels and not pixels.isdecimal()):
            raise ConfigError(f"'{text}' is not ROOT:ANN or ROOT:ANN:PX, as in COCO/images:train.json:512.")
        side = int(pixels or side)
        if not within_sides((side, side)):
            raise ConfigError(f"'{text}': an input of {side} px can't be. Give {SIDES[0]} to {SIDES[1]}.")
        return cls(Path(root), Path(annotations), side)

    def folder(self, crops: Path, weights: Path) -> Path:
        """Where the crops are that a model of these weights found."""
        given = hashlib.sha256(weights.read_bytes() + self.annotations.read_bytes() + str(self.root.resolve()).encode())
        name = f"{self.annotations.parent.name}-{self.annotations.stem}-{self.side}"
        return crops / f"{name}-{given.hexdigest()[:8]}"


def run(args: argparse.Namespace) -> None:
    """Crops, training, weights."""
    torch.manual_seed(args.seed)
    checkpoint = load_checkpoint(args.weight_path)
    saved, skeleton = read_description(checkpoint, args.weight_path)
    model = build_described(saved, checkpoint["weights"], args.weight_path).eval()
    side = max(saved.image_size)
    sources = [Source.parse(text, side) for text in (*args.data, args.val)]
    sets = [CocoPose(source.root, source.annotations, skeleton=skeleton, labelled=False) for source in sources]
    folders = [source.folder(args.crops, args.weight_path) for source in sources]
    for source, images, folder in zip(sources, sets, folders, strict=True):
        if not folder.exists():
            count = save_crops(model, images, (source.side, source.side), folder)
            print(f"{source.annotations}: {len(images)} images, {count} crops in {folder}", flush=True)
    *learned, held_out = map(Crops.load, folders)
    config, trunk = replace(saved, roi_size=saved.roi_size if args.roi_size is None else args.roi_size), None
    if args.trunk is not None:  # what told the certainty of the old head's keypoints knows nothing of the new one's
        name, trunk = load_roi_trunk(args.trunk)
        config = replace(config, roi_trunk=name, certainty=False)
        if saved.certainty:
            print("Visibility and sigma are left out: train_pose.py --CERTAINTY_ONLY teaches them for the new head.")
    whole = create_model(config)
    own = whole.state_dict()
    kept = {key: value for key, value in checkpoint["weights"].items() if trunk is None or not key.startswith(HEAD)}
    load_weights(whole, {**own, **{key: kept[key] for key in kept if key in own}}, args.weight_path)
    if trunk is not None:
        assert isinstance(whole.roi_head.body, ConvPyramid)
        whole.roi_head.body.trunk.set_input(whole.backbone.mean, whole.backbone.std)
        load_trunk_weights(whole.roi_head.body.trunk, trunk)
    recipe = Recipe(epochs=args.epochs, batch=args.batch, rate=args.lr, seed=args.seed)
    sampler = CropSampler(learned, recipe.batch, recipe.epochs, recipe.seed)
    if not sampler.people:
        raise DataError("No person of --data was found who has a keypoint: nothing can be learned from them.")
    if not held_out.areas.any():
        raise DataError("No person of --val was found who has a keypoint: nothing can be measured on them.")
    training = HeadTraining(whole.to(memory_format=torch.channels_last), sampler, recipe)
    training.run(held_out, skeleton.flip_order, args.output.with_suffix(".state.pt"), args.every)
    described = {"metrics": {}, "model_config": config.to_dict(), "weights": whole.state_dict()}
    save_checkpoint(args.output, {**{key: checkpoint[key] for key in KEPT if key in checkpoint}, **described})
    print(f"Written: {args.output}")
