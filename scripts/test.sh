#!/usr/bin/env bash
# Runs all checks: lint, format, types, import rules, tests. Makes the Python environment first if none is active.
#   bash scripts/test.sh                     everything
#   bash scripts/test.sh tests/utils -x      the checks, then pytest with these arguments
set -euo pipefail
ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# shellcheck source=scripts/environment.sh
source "$ROOT/scripts/environment.sh"
use_environment "$ROOT/extras/requirements.txt" "$ROOT/extras/requirements-dev.txt"

cd -- "$ROOT"
# Many tests start processes of their own: without its bytecode, each would take seconds to compile torch's Python.
unset PYTHONDONTWRITEBYTECODE
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
"$PYTHON" -m mypy --num-workers auto
"${PYTHON%/*}/lint-imports" --no-logo
# Processes of one thread, as many as tests/conftest.py says: small models gain nothing from a second one.
export OMP_NUM_THREADS=1
exec "$PYTHON" -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder "$@"
