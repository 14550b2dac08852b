#!/usr/bin/env bash
# Runs all five stages of the pipeline and writes a report. Makes the Python environment first if none is active. Flags go
# to train_pose.py (bash scripts/run_pipeline.sh --help lists them); docs/pipeline.md explains it all.
#
#   bash scripts/run_pipeline.sh                                           the demo: people drawn here, no download
#   bash scripts/run_pipeline.sh -EPOCH 2                                  the demo, changed
#   bash scripts/run_pipeline.sh -MODEL sia_pose -COCO_ROOT D -TRAIN_ANN A.json                your own pictures
#   bash scripts/run_pipeline.sh -PIPELINE runs/pipeline-1                 goes on where a pipeline stopped
set -euo pipefail
ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# ---- The demo's settings: they fit 15 minutes on a CPU with 2 threads ----
DEMO_TRAIN=1500 # pictures to learn from and to calibrate with
DEMO_TEST=200   # pictures to prove on
DEMO_SIDE=128   # their side, and the model's input, in pixels
DEMO_FLAGS=(
    -MODEL sia_pose_simple -SIZE n16 -IMGSZ "$DEMO_SIDE" -EPOCH 8 -EVAL_EVERY 4 -BS 8 -LR 0.002
    # The pictures vary enough, and these passes are too few to learn any by heart.
    -MOSAIC 0 -ROTATE 0 -SHIFT 0 -COLOUR 0 -SCALE_MIN 1 -SCALE_MAX 1
)
# ---------------------------------------------------------------------------

# shellcheck source=scripts/environment.sh
source "$ROOT/scripts/environment.sh"

# Whether one of the flags is among the words: has_flag "-A -B" words...
has_flag() {
    local wanted=" $1 " word
    for word in "${@:2}"; do
        if [[ $wanted == *" ${word%%=*} "* ]]; then return 0; fi
    done
    return 1
}

make_demo_data() {
    DEMO_DATA=$ROOT/data/synthetic-close-$DEMO_SIDE-$DEMO_TRAIN-$DEMO_TEST
    "$PYTHON" "$ROOT/scripts/make_synthetic.py" --output "$DEMO_DATA" --train "$DEMO_TRAIN" --val "$DEMO_TEST" \
        --size "$DEMO_SIDE" --seed 0 --close --workers "$(getconf _NPROCESSORS_ONLN)"
}

launch() {
    local stage=()
    has_flag "-STAGE -CONFIG" "$@" || stage=(-STAGE all)
    exec "$PYTHON" "$ROOT/scripts/launch.py" "$ROOT/train_pose.py" "${stage[@]+"${stage[@]}"}" "$@"
}

use_environment "$ROOT/extras/requirements.txt"
if has_flag "-h --help" "$@"; then
    exec "$PYTHON" "$ROOT/train_pose.py" --help
elif has_flag "-COCO_ROOT -TRAIN_ANN -VAL_ANN -PIPELINE -CONFIG" "$@"; then
    launch "$@"
else
    make_demo_data
    launch "${DEMO_FLAGS[@]}" -COCO_ROOT "$DEMO_DATA/images" -TRAIN_ANN "$DEMO_DATA/train.json" \
        -VAL_ANN "$DEMO_DATA/val.json" "$@"
fi
