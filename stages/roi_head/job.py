"""The work of scripts/train_roi_head.py: crops of every data set, then the training, then a file of weights."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from datasets.coco.coco_pose import CocoPose
from sia.commands.values import SIDES, within_sides
from sia.errors import ConfigError, DataError
from sia.io.checkpoint import KEPT, load_checkpoint, save_checkpoint
from sia.io.weights import ACROSS, CERTAINTY, REFINERS, ROI_HEAD, build_described, fit_parts, load_weights
from sia.model import PoseModel
from sia.registry import ModelConfig, create_model, read_description
from stages.roi_head.crops import COLUMNS, CPU, Crops, save_crops
from stages.roi_head.sampling import CropSampler
from stages.roi_head.train import HeadTraining, Recipe
from stages.training.compilation import check_compiler
from stages.training.initialization import fill_roi_trunk, load_roi_trunk


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
        kept = f"{COLUMNS} {self.root.resolve()}"
        given = hashlib.sha256(weights.read_bytes() + self.annotations.read_bytes() + kept.encode())
        name = f"{self.annotations.parent.name}-{self.annotations.stem}-{self.side}"
        return crops / f"{name}-{given.hexdigest()[:8]}"


def run(args: argparse.Namespace) -> None:
    """Crops, training, weights."""
    if args.compile:
        check_compiler(CPU, "--compile")
    torch.manual_seed(args.seed)
    checkpoint = load_checkpoint(args.weight_path)
    saved, skeleton = read_description(checkpoint, args.weight_path)
    finder = build_described(saved, checkpoint["weights"], args.weight_path).eval()
    sources = [Source.parse(text, max(saved.image_size)) for text in (*args.data, args.val)]
    sets = [CocoPose(source.root, source.annotations, skeleton=skeleton, labelled=False) for source in sources]
    config, model = model_to_train(args, saved, checkpoint["weights"])  # what can't be is refused before hours of crops
    *learned, held_out = (make_crops(*pair, finder, args) for pair in zip(sources, sets, strict=True))
    recipe = Recipe(epochs=args.epochs, batch=args.batch, rate=args.lr, seed=args.seed, refiner_only=args.refiner_only)
    training = HeadTraining(model, sampler_of(learned, held_out, recipe), recipe)
    if args.compile:
        training.compile()
    training.run(held_out, skeleton.flip_order, args.output.with_suffix(".state.pt"), args.every)
    described = {"metrics": {}, "model_config": config.to_dict(), "weights": model.state_dict()}
    save_checkpoint(args.output, {**{key: checkpoint[key] for key in KEPT if key in checkpoint}, **described})
    print(f"Written: {args.output}")


def model_to_train(
    args: argparse.Namespace, saved: ModelConfig, weights: Mapping[str, Any]
) -> tuple[ModelConfig, PoseModel]:
    """The model with the head to train: that of its weights, or a new one around --trunk.

    Raises:
        ConfigError: --roi_size, --trunk or --model can't be, or there is no refiner for --refiner_only.
        WeightsError: the weights of --trunk can't be had, or don't fit, or have not all that --model needs.
    """
    config = replace(saved, roi_size=saved.roi_size if args.roi_size is None else args.roi_size)
    if args.model not in (None, saved.name):
        config = replace(config, name=args.model, map_refiner=False)
    if args.refiner_only and (config.name != "sia_pose" or config.map_refiner):
        raise ConfigError(
            "--refiner_only: this head has no refiner. Give --model sia_pose, and weights of sia_pose_simple."
        )
    if args.trunk is None:
        model = create_model(config)
        start = weights if args.head is None else {**weights, **head_of(args.head, model)}
        load_weights(model, fit_parts(start, model, ACROSS, *REFINERS), args.weight_path)
    else:  # what told the certainty of the old head's keypoints knows nothing of the new one's
        name, trunk = load_roi_trunk(args.trunk)
        config = replace(config, roi_trunk=name, certainty=False)
        model = create_model(config)
        kept = {key: value for key, value in weights.items() if not key.startswith(ROI_HEAD)}
        load_weights(model, fit_parts(kept, model, ROI_HEAD, CERTAINTY), args.weight_path)
        fill_roi_trunk(model, trunk)
        if saved.certainty:
            print("Visibility and sigma are left out: train_pose.py --CERTAINTY_ONLY teaches them for the new head.")
    return config, model.to(memory_format=torch.channels_last)


def head_of(file: Path, model: PoseModel) -> dict[str, Any]:
    """What of a file's RoI keypoint head fits a model; says how much that is."""
    other = {key: value for key, value in load_checkpoint(file)["weights"].items() if key.startswith(ROI_HEAD)}
    own = model.state_dict()
    fits = {key: value for key, value in other.items() if key in own and own[key].shape == value.shape}
    print(f"{file}: {len(fits)} of the {len(other)} tensors of its RoI keypoint head are taken over.")
    return fits


def make_crops(source: Source, images: CocoPose, finder: PoseModel, args: argparse.Namespace) -> Crops:
    """Those of a data set, in which `finder` finds the people; made now where there are none yet."""
    folder = source.folder(args.crops, args.weight_path)
    if not folder.exists():
        count = save_crops(finder, images, (source.side, source.side), folder)
        print(f"{source.annotations}: {len(images)} images, {count} crops in {folder}", flush=True)
    return Crops.load(folder)


def sampler_of(learned: Sequence[Crops], held_out: Crops, recipe: Recipe) -> CropSampler:
    """The order of the crops.

    Raises:
        DataError: there is nobody to learn from, or to measure on.
    """
    sampler = CropSampler(learned, recipe.batch, recipe.epochs, recipe.seed)
    if not sampler.people:
        raise DataError("No person of --data was found who has a keypoint: nothing can be learned from them.")
    if not held_out.areas.any():
        raise DataError("No person of --val was found who has a keypoint: nothing can be measured on them.")
    return sampler
