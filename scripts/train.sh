#!/usr/bin/env bash
# Trains a pose model with torchrun on all GPUs of this machine, or else on its CPU. Makes the Python environment first
# if none is active. Flags go to train_pose.py (bash scripts/train.sh --help lists them).
#
#   bash scripts/train.sh                                                  the demo: people drawn here, no download
#   bash scripts/train.sh -INIT scratch                                    the same from random weights
#   bash scripts/train.sh -MODEL sia_pose_decoder_led -EPOCH 2             the demo, changed
#   bash scripts/train.sh -MODEL sia_pose -COCO_ROOT D -TRAIN_ANN A.json -VAL_ANN B.json       your own pictures
#   bash scripts/train.sh --RESUME runs/NAME/weights/last.pt               goes on where a training stopped
set -euo pipefail
ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# ---- The demo's settings: pictures of few and large people; they fit a quarter of an hour on a CPU with 2 threads ----
DEMO_TRAIN=3000 # pictures to train on
DEMO_VAL=200    # pictures to evaluate on
DEMO_SIDE=128   # their side, and the model's input, in pixels
# Each of several GPUs sees a share of the pictures: as many more passes are as many steps, in the same time.
DEMO_SHARES=0
while read -r _; do DEMO_SHARES=$((DEMO_SHARES + 1)); done < <(nvidia-smi --list-gpus 2>/dev/null)
DEMO_SHARES=$((DEMO_SHARES > 1 ? DEMO_SHARES : 1))
DEMO_EPOCHS=4
if grep -qsE 'avx512_bf16|amx_bf16' /proc/cpuinfo; then DEMO_EPOCHS=6; fi # such CPUs train 1.4 times as fast; GPUs more
DEMO_FLAGS=(
    -MODEL sia_pose_simple -SIZE n16 -IMGSZ "$DEMO_SIDE" -EPOCH "$((DEMO_EPOCHS * DEMO_SHARES))" -BS 8
    # The pictures vary enough, and these passes are too few to learn any by heart.
    -MOSAIC 0 -ROTATE 0 -SHIFT 0 -COLOUR 0 -SCALE_MIN 1 -SCALE_MAX 1
)
# ---------------------------------------------------------------------------

# shellcheck source=scripts/environment.sh
source "$ROOT/scripts/environment.sh"

# Whether the flags name their own data, or a checkpoint, a pipeline or a file that does.
brings_data() {
    local flag
    for flag in "$@"; do
        case $flag in
        -COCO_ROOT | -COCO_ROOT=* | -TRAIN_ANN | -TRAIN_ANN=* | -VAL_ANN | -VAL_ANN=* | --RESUME | --RESUME=* | \
            -STAGE | -STAGE=* | -PIPELINE | -PIPELINE=* | -CONFIG | -CONFIG=*) return 0 ;;
        esac
    done
    return 1
}

wants_help() {
    local flag
    for flag in "$@"; do
        case $flag in -h | --help) return 0 ;; esac
    done
    return 1
}

make_demo_data() {
    DEMO_DATA=$ROOT/data/synthetic-close-$DEMO_SIDE-$DEMO_TRAIN-$DEMO_VAL
    "$PYTHON" "$ROOT/scripts/make_synthetic.py" --output "$DEMO_DATA" --train "$DEMO_TRAIN" --val "$DEMO_VAL" \
        --size "$DEMO_SIDE" --seed 0 --close --workers "$(getconf _NPROCESSORS_ONLN)"
}

launch() {
    exec "$PYTHON" "$ROOT/scripts/launch.py" "$ROOT/train_pose.py" "$@"
}

# Says what is wrong with the user's flags before anything is drawn; the data named here are in the place of the demo's.
check_flags() {
    "$PYTHON" "$ROOT/scripts/launch.py" --check "$ROOT/train_pose.py" -MODEL sia_pose_simple -COCO_ROOT "$ROOT" \
        -TRAIN_ANN "$ROOT/README.md" -VAL_ANN "$ROOT/README.md" "$@"
}

use_environment "$ROOT/extras/requirements.txt"
if wants_help "$@"; then
    exec "$PYTHON" "$ROOT/train_pose.py" --help
elif brings_data "$@"; then
    launch "$@"
else
    check_flags "$@"
    make_demo_data
    launch "${DEMO_FLAGS[@]}" -COCO_ROOT "$DEMO_DATA/images" -TRAIN_ANN "$DEMO_DATA/train.json" \
        -VAL_ANN "$DEMO_DATA/val.json" "$@"
fi
