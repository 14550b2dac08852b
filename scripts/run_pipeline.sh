#!/usr/bin/env bash
# Runs all five stages of the pipeline and writes a report. Makes the Python environment first if none is active. Flags go
# to train_pose.py (bash scripts/run_pipeline.sh --help lists them); docs/pipeline.md explains it all.
#
#   bash scripts/run_pipeline.sh                                           the demo: people drawn here, no download
#   bash scripts/run_pipeline.sh -INIT scratch                             the same from random weights
#   bash scripts/run_pipeline.sh -EPOCH 2                                  the demo, changed
#   bash scripts/run_pipeline.sh -MODEL sia_pose -COCO_ROOT D -TRAIN_ANN A.json                your own images
#   bash scripts/run_pipeline.sh -PIPELINE runs/pipeline-1                 goes on where a pipeline stopped
set -euo pipefail
ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# ---- The demo's settings: they fit half an hour on a CPU with 2 threads ----
DEMO_TRAIN=900  # images to learn from and to calibrate with
DEMO_TEST=200   # images to prove on
DEMO_MORE=800   # others, whose labels nobody reads
DEMO_SIDE=128   # their side, and the model's input, in pixels
DEMO_FLAGS=(
    -MODEL sia_pose_simple -SIZE n16 -IMGSZ "$DEMO_SIDE" -EPOCH 4 -EVAL_EVERY 2 -BS 8 -SSL_EPOCH 2
    -REFINEMENT_STEPS 250 -PRIOR_STEPS 600
    # The images vary enough, and these passes are too few to learn any by heart.
    -MOSAIC 0 -ROTATE 0 -SHIFT 0 -COLOUR 0 -SCALE_MIN 1 -SCALE_MAX 1
)
# ---------------------------------------------------------------------------

# shellcheck source=scripts/environment.sh
source "$ROOT/scripts/environment.sh"

# Images of synthetic people: draw FOLDER TRAIN VAL SEED
draw() {
    "$PYTHON" "$ROOT/scripts/make_synthetic.py" --output "$1" --train "$2" --val "$3" --size "$DEMO_SIDE" --seed "$4" \
        --close --workers "$(getconf _NPROCESSORS_ONLN)"
}

make_demo_data() {
    DEMO_DATA=$ROOT/data/synthetic-close-$DEMO_SIDE-$DEMO_TRAIN-$DEMO_TEST
    DEMO_OTHERS=$ROOT/data/synthetic-close-$DEMO_SIDE-$DEMO_MORE-1-seed1
    draw "$DEMO_DATA" "$DEMO_TRAIN" "$DEMO_TEST" 0
    draw "$DEMO_OTHERS" "$DEMO_MORE" 1 1
}

launch() {
    local stage=(-STAGE all) word before=
    for word in "$@"; do
        if [[ $before == -CONFIG ]]; then word=-CONFIG=$word; fi
        if [[ ${word%%=*} == -STAGE ]] || { [[ $word == -CONFIG=* ]] && grep -q '^STAGE *:' "${word#*=}" 2>/dev/null; }; then
            stage=()
        fi
        before=$word
    done
    exec "$PYTHON" "$ROOT/scripts/launch.py" "$ROOT/train_pose.py" "${stage[@]+"${stage[@]}"}" "$@"
}

# Says what is wrong with the user's flags before anything is drawn; the data named here are in the place of the demo's.
check_flags() {
    "$PYTHON" "$ROOT/scripts/launch.py" --check "$ROOT/train_pose.py" -MODEL sia_pose_simple -COCO_ROOT "$ROOT" \
        -TRAIN_ANN "$ROOT/README.md" -VAL_ANN "$ROOT/README.md" "$@"
}

use_environment "$ROOT/extras/requirements.txt"
if has_flag "-h --help" "$@"; then
    exec "$PYTHON" "$ROOT/train_pose.py" --help
elif has_flag "-COCO_ROOT -TRAIN_ANN -VAL_ANN -PIPELINE -CONFIG" "$@"; then
    launch "$@"
else
    check_flags "$@"
    make_demo_data
    launch "${DEMO_FLAGS[@]}" -COCO_ROOT "$DEMO_DATA/images" -TRAIN_ANN "$DEMO_DATA/train.json" \
        -VAL_ANN "$DEMO_DATA/val.json" -UNLABELLED "$DEMO_OTHERS/images/train" "$@"
fi
