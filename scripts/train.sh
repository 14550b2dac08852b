#!/usr/bin/env bash
# Trains a pose model with torchrun on all GPUs of this machine, or else on its CPU. Makes the Python environment first
# if none is active. Flags go to train_pose.py (bash scripts/train.sh --help lists them).
#
#   bash scripts/train.sh                                                  the demo: people drawn here, no download
#   bash scripts/train.sh -INIT scratch                                    the same from random weights
#   bash scripts/train.sh -MODEL sia_pose_decoder_led -EPOCH 2             the demo, changed
#   bash scripts/train.sh -MODEL sia_pose -COCO_ROOT D -TRAIN_ANN A.json -VAL_ANN B.json       your own images
#   bash scripts/train.sh --RESUME runs/NAME/weights/last.pt               goes on where a training stopped
set -euo pipefail
ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# ---- The demo's settings: images of few and large people ----
DEMO_MINUTES=10 # from the start of this script to the table, environment and images included
DEMO_LEAST=4    # minutes of training, however long those took
DEMO_TRAIN=2000 # images to train on
DEMO_VAL=200    # images to evaluate on
DEMO_SIDE=128   # their side, and the model's input, in pixels
DEMO_FLAGS=(
    -MODEL sia_pose_simple -SIZE n16 -IMGSZ "$DEMO_SIDE" -BS 8 -EVAL_EVERY 5
    # The images vary enough, and these epochs are too few to learn any by heart.
    -MOSAIC 0 -ROTATE 0 -SHIFT 0 -COLOUR 0 -SCALE_MIN 1 -SCALE_MAX 1
)
# -------------------------------------------------------------

# shellcheck source=scripts/environment.sh
source "$ROOT/scripts/environment.sh"

make_demo_data() {
    DEMO_DATA=$ROOT/data/synthetic-close-$DEMO_SIDE-$DEMO_TRAIN-$DEMO_VAL
    "$PYTHON" "$ROOT/scripts/make_synthetic.py" --output "$DEMO_DATA" --train "$DEMO_TRAIN" --val "$DEMO_VAL" \
        --size "$DEMO_SIDE" --seed 0 --close --workers "$(getconf _NPROCESSORS_ONLN)"
}

# What is left of DEMO_MINUTES for train_pose.py, less the seconds in which torchrun starts.
demo_time() {
    local left=$((60 * DEMO_MINUTES - SECONDS - 15))
    if ((left < 60 * DEMO_LEAST)); then left=$((60 * DEMO_LEAST)); fi
    printf '%d.%02d' $((left / 60)) $((left % 60 * 100 / 60))
}

launch() {
    exec "$PYTHON" "$ROOT/scripts/launch.py" "$ROOT/train_pose.py" "$@"
}

# Says what is wrong with the user's flags before anything is drawn; the data named here are in the place of the demo's.
check_flags() {
    "$PYTHON" "$ROOT/scripts/launch.py" --check "$ROOT/train_pose.py" -MODEL sia_pose_simple -COCO_ROOT "$ROOT" \
        -TRAIN_ANN "$ROOT/README.md" -VAL_ANN "$ROOT/README.md" "$@"
}

if has_flag "-h --help" "$@"; then
    use_environment "$ROOT/extras/requirements.txt"
    exec "$PYTHON" "$ROOT/train_pose.py" --help
elif has_flag "-COCO_ROOT -TRAIN_ANN -VAL_ANN --RESUME -STAGE -PIPELINE -CONFIG" "$@"; then
    use_environment "$ROOT/extras/requirements.txt"
    launch "$@"
fi

if ! has_flag "-EPOCH -TIME" "$@"; then
    say "This demo takes about $DEMO_MINUTES minutes: it makes the environment and $((DEMO_TRAIN + DEMO_VAL)) synthetic images" \
        "where they are missing, then trains for as long as is left, and shows AP before and after."
fi
use_environment "$ROOT/extras/requirements.txt"
check_flags "$@"
make_demo_data
if ! has_flag "-EPOCH -TIME" "$@"; then DEMO_FLAGS+=(-TIME "$(demo_time)"); fi
launch "${DEMO_FLAGS[@]}" -COCO_ROOT "$DEMO_DATA/images" -TRAIN_ANN "$DEMO_DATA/train.json" \
    -VAL_ANN "$DEMO_DATA/val.json" "$@"
