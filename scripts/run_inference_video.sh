#!/usr/bin/env bash
# Finds people in a video. Makes the Python environment first if none is active. Flags go to inference_video_pose.py.
# Without --weight_path it takes the newest runs/*/weights/best.pt (of trainings, not of pipelines), or else the small model that is bundled.
#
#   bash scripts/run_inference_video.sh --video_path walk.mp4
#   bash scripts/run_inference_video.sh --video_path walk.mp4 --weight_path best.pt --device cuda
set -euo pipefail
ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# shellcheck source=scripts/environment.sh
source "$ROOT/scripts/environment.sh"
use_environment "$ROOT/extras/requirements.txt"
exec "$PYTHON" "$ROOT/scripts/launch_inference.py" "$ROOT/inference_video_pose.py" "$@"
