#!/usr/bin/env bash
# Trains what lies in weights/pose_coco/ again, from synthetic people on, in the steps of weights/README.md: about 27
# hours on one CPU core. Stopped, the same command goes on.
#
#   bash scripts/train_bundled_weights.sh DATA OUTPUT
#   EPOCHS=1 bash scripts/train_bundled_weights.sh DATA OUTPUT        a trial: no training is longer than that
#
# DATA holds coco_person/ (images/, train.json, val.json), and coco_extra/, coco_train_true/, coco_train_restored416/,
# coco_train_no_person/ and lspet_crops/ (images/, annotations.json each): COCO keypoints, photographs of up to 512 px.
set -euo pipefail
ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
if (($# != 2)); then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
mkdir -p "$2"
DATA=$(cd "$1" && pwd) OUTPUT=$(cd "$2" && pwd)
# shellcheck source=scripts/environment.sh
source "$ROOT/scripts/environment.sh"
use_environment "$ROOT/extras/requirements.txt"
cd "$OUTPUT"

at_most() { # EPOCHS that are asked for, or fewer in a trial
    echo $((${EPOCHS:-$1} < $1 ? EPOCHS : $1))
}

# NAME EPOCHS FLAGS...: a training in runs/NAME with the flags of COMMON and, where they differ, its own
train() {
    local last=runs/$1/weights/last.pt name=$1 epochs
    epochs=$(at_most "$2")
    shift 2
    if [[ -e $last ]]; then
        set -- --RESUME "$last"
    else
        rm -rf "runs/$name"
        set -- "${COMMON[@]}" -EPOCH "$epochs" -EXP "$name" "$@"
    fi
    "$PYTHON" "$ROOT/scripts/launch.py" "$ROOT/train_pose.py" "$@"
}

# FILE SCRIPT FLAGS...: a file that a script writes, unless it is there
make() {
    local file=$1 script=$2
    shift 2
    if [[ ! -e $file ]]; then "$PYTHON" "$ROOT/scripts/$script" --output "$file" "$@"; fi
}

pack() { # FILE WEIGHTS... FLAGS
    local file=$1
    shift
    make "$file" pack_weights.py --weight_path "$@"
}

best() { echo "runs/$1/weights/best.pt"; }

# ---- 1: synthetic people ----
make synthetic make_synthetic.py --train 5000 --val 500 --size 192 --seed 0
COMMON=(-SIZE n16 -ROI_SIZE 64 -IMGSZ 192 -COCO_ROOT synthetic/images -TRAIN_ANN synthetic/train.json
    -VAL_ANN synthetic/val.json -BS 8 -MOSAIC 0 -ROTATE 0 -SHIFT 0 -COLOUR 0 -SCALE_MIN 1 -SCALE_MAX 1)
train synthetic 5 -MODEL sia_pose_simple -LR 2e-3 -INIT scratch

# ---- 2 to 6: photographs, at half the resolution ----
PEOPLE=("$DATA/coco_person/train.json" "$DATA/coco_extra/annotations.json")
FOLDERS=("$DATA/coco_person/images" "$DATA/coco_extra/images")
make complete.json merge_annotations.py --img_root "$DATA" --ann_file "${PEOPLE[@]}" --img_dir "${FOLDERS[@]}" --complete_only
make all.json merge_annotations.py --img_root "$DATA" --ann_file "${PEOPLE[@]}" --img_dir "${FOLDERS[@]}"
make val.json merge_annotations.py --img_root "$DATA" --ann_file "$DATA/coco_person/val.json" --img_dir "${FOLDERS[0]}"
PHOTOGRAPHS=(-COCO_ROOT "$DATA" -VAL_ANN val.json -BS 8 -LLRD 1 -OPTIMIZER muon -EVAL_EVERY 6)
COMMON=("${PHOTOGRAPHS[@]}" -SIZE n32 -IMGSZ 384 -TRAIN_ANN complete.json -MOSAIC 0)
train n32 14 -MODEL sia_pose_simple -LR 1.4e-3 -ROTATE 10 -SCALE_MIN 0.8 -SCALE_MAX 1.6 --RESUME "$(best synthetic)"
COMMON+=(-MODEL sia_pose_simple -LR 1.2e-3 -ROTATE 15 -SCALE_MIN 0.7 -SCALE_MAX 1.7)
train n32-pose-1 18 --RESUME "$(best n32)"
train n32-pose-2 18 --RESUME "$(best n32-pose-1)"
train n32-pose-3 20 --RESUME "$(best n32-pose-2)"
train n32-pose-4 18 --RESUME "$(best n32-pose-3)"

# ---- 7 to 11: n16, then crops of 96 px, larger inputs, crowds ----
COMMON=("${PHOTOGRAPHS[@]}" -SIZE n16 -TRAIN_ANN complete.json -ROTATE 25 -SCALE_MIN 0.6 -SCALE_MAX 1.7)
train n16 18 -MODEL sia_pose_simple -ROI_SIZE 64 -IMGSZ 320 -LR 1.4e-3 -MOSAIC 0.25 --RESUME "$(best n32-pose-4)"
COMMON+=(-MODEL sia_pose_simple -ROI_SIZE 96 -PLAIN_EPOCHS 1)
train pose-1 8 -IMGSZ 384 -LR 1.2e-3 -MOSAIC 0.2 --RESUME "$(best n16)"
train pose-2 6 -IMGSZ 448 -LR 1e-3 -MOSAIC 0.2 --RESUME "$(best pose-1)"
pack mean.pt "$(best pose-2)" "$(best pose-1)"
COMMON=("${PHOTOGRAPHS[@]}" -SIZE n16 -TRAIN_ANN all.json -SCALE_MIN 0.5 -SCALE_MAX 1.7 -PLAIN_EPOCHS 1)
train pose-3 6 -MODEL sia_pose_simple -IMGSZ 448 -LR 1e-3 -MOSAIC 0.25 -ROTATE 25 --RESUME mean.pt
train pose-4 4 -MODEL sia_pose_simple -IMGSZ 448 -LR 9e-4 -MOSAIC 0.25 -ROTATE 30 --RESUME "$(best pose-3)"
pack pose.pt "$(best pose-4)" --imgsz 512

# ---- 12: sia_pose_decoder_led ----
COMMON+=(-MODEL sia_pose_decoder_led -MOSAIC 0.2 -ROTATE 20)
train led-1 4 -TRAIN_ANN complete.json -IMGSZ 320 -LR 1.4e-3 --RESUME "$(best pose-1)"
train led-2 2 -IMGSZ 384 -LR 1.2e-3 --RESUME "$(best led-1)"
train led-3 1 -IMGSZ 384 -LR 1e-3 --RESUME "$(best led-2)"
pack led.pt "$(best led-3)" --imgsz 448

# ---- 13 to 19: the RoI keypoint head alone, on larger and larger crops ----
crops() { # FOLDER FILE PIXELS, as --data takes it
    echo "$DATA/$1/images:$DATA/$1/$2.json:$3"
}
SHARP=("$(crops coco_person train 512)" "$(crops coco_train_true annotations 512)"
    "$(crops coco_train_restored416 annotations 512)")
EVERYONE=("${SHARP[@]}" "$(crops coco_extra annotations 384)" "$(crops coco_train_no_person annotations 384)")
head_of() { # WEIGHTS FILE EPOCHS FLAGS...
    local weights=$1 file=$2 epochs
    epochs=$(at_most "$3")
    shift 3
    make "$file" train_roi_head.py --weight_path "$weights" --crops crops --epochs "$epochs" --lr 6e-4 --compile \
        --data "${EVERYONE[@]}" --val "$(crops coco_person val 512)" "$@"
}
pose_head() { head_of pose.pt "$@"; } # FILE EPOCHS FLAGS...
pose_head pose-96.pt 5
pose_head pose-128.pt 12 --head pose-96.pt --roi_size 128
pose_head pose-192.pt 12 --head pose-128.pt --roi_size 192x128
pose_head pose-again.pt 9 --head pose-192.pt --roi_size 192x128 --lr 5e-4 --seed 1
EVERYONE+=("$(crops lspet_crops annotations 384)")
pose_head pose-sports.pt 7 --head pose-again.pt --roi_size 192x128 --lr 5e-4 --seed 2
pack pose-two.pt pose-sports.pt pose-again.pt
pose_head pose-wide.pt 7 --head pose-two.pt --roi_size 192x128 --lr 5e-4 --seed 3
pack pose-mean.pt pose-wide.pt pose-sports.pt pose-again.pt
led_head() { # WEIGHTS FILE FLAGS...
    local data=("${SHARP[@]/%512/448}") # its input
    head_of "$1" "$2" 4 --roi_size 192x128 --data "${data[@]}" --val "$(crops coco_person val 448)" "${@:3}"
}
led_head led.pt led-192.pt --head pose-again.pt
led_head led.pt led-wide.pt --head pose-mean.pt
pack led-mean.pt led-wide.pt led-192.pt

# ---- 20, 21: what finds people, with the head as it is ----
NEW=(coco_train_true coco_train_restored416 coco_train_no_person)
NEW=("${NEW[@]/#/$DATA/}")
make everyone.json merge_annotations.py --img_root "$DATA" --ann_file "${PEOPLE[@]}" "${NEW[@]/%//annotations.json}" \
    --img_dir "${FOLDERS[@]}" "${NEW[@]/%//images}"
COMMON=("${PHOTOGRAPHS[@]}" -SIZE n16 -TRAIN_ANN everyone.json -MOSAIC 0.25 -ROTATE 20 -SCALE_MIN 0.5 -SCALE_MAX 1.7
    -PLAIN_EPOCHS 1 -LR 4e-4 --FREEZE_ROI)
train finder 4 -MODEL sia_pose_simple -IMGSZ 448 --RESUME pose-mean.pt
train led-finder 2 -MODEL sia_pose_decoder_led -IMGSZ 384 --RESUME led-mean.pt
# Their last weights: the best AP of a training is at its input size, not at that of inference.
pack simple-found.pt runs/finder/weights/last.pt --imgsz 512
pack led-found.pt runs/led-finder/weights/last.pt --imgsz 448

# ---- 22 to 26: the head for the new tokens, and the refiner of sia_pose ----
again() { head_of simple-found.pt "$@" --roi_size 192x128; } # FILE EPOCHS FLAGS...
again simple-near.pt 5 --data "${SHARP[@]}" --lr 2e-4 --seed 5
pack simple-two.pt simple-near.pt simple-found.pt
again pose-refiner.pt 4 --data "${SHARP[@]}" --lr 1e-3 --seed 6 --head simple-two.pt --model sia_pose --refiner_only
again simple-all.pt 5 --lr 4e-4 --seed 7 --head simple-two.pt
again pose-all.pt 5 --lr 4e-4 --seed 7 --head pose-refiner.pt --model sia_pose
pack simple-last.pt simple-all.pt simple-two.pt
pack pose-last.pt pose-all.pt pose-refiner.pt
led_head led-found.pt led-near.pt --lr 2e-4 --seed 8
pack led-two.pt led-near.pt led-found.pt
train led-again 1 -MODEL sia_pose_decoder_led -IMGSZ 448 --RESUME led-two.pt
pack led-mean-2.pt runs/led-again/weights/last.pt led-two.pt
led_head led-mean-2.pt led-all.pt --lr 4e-4 --seed 11 --head simple-last.pt --data "${EVERYONE[@]/%512/448}"
pack led-last.pt led-all.pt led-mean-2.pt

# ---- Visibility and sigma, and the six files ----
mkdir -p pose_coco
COMMON=("${PHOTOGRAPHS[@]}" -SIZE n16 -TRAIN_ANN all.json -PLAIN_EPOCHS "$(at_most 3)" -LR 2e-3 --CERTAINTY_ONLY)
while read -r model start imgsz; do
    train "$model" 3 -MODEL "$model" -IMGSZ "$imgsz" --RESUME "$start"
    pack "pose_coco/$model-n16.safetensors" "$(best "$model")"
    pack "pose_coco/$model-n32.safetensors" "pose_coco/$model-n16.safetensors" --size n32 --imgsz 640
done <<END
sia_pose_simple simple-last.pt 512
sia_pose pose-last.pt 512
sia_pose_decoder_led led-last.pt 448
END
echo "Done: $OUTPUT/pose_coco"
