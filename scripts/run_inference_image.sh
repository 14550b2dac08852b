#!/usr/bin/env bash
# Finds people in images. Makes the Python environment first if none is active. Flags go to inference_image_pose.py.
# Without --weight_path it takes the newest runs/*/weights/best.pt (of trainings, not of pipelines), or else the small model that is bundled.
#
#   bash scripts/run_inference_image.sh --image_path photo.jpg
#   bash scripts/run_inference_image.sh --image_path 'shots/**/*.jpg' --weight_path best.pt --conf_thresh 0.3
set -euo pipefail
ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# shellcheck source=scripts/environment.sh
source "$ROOT/scripts/environment.sh"
use_environment "$ROOT/extras/requirements.txt"
exec "$PYTHON" "$ROOT/scripts/launch_inference.py" "$ROOT/inference_image_pose.py" "$@"
