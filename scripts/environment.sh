# Sourced by the other scripts. `use_environment FILE...` finds or makes a Python environment, installs what the
# requirement files name, and sets PYTHON to its interpreter. An environment that is active is used as it is.
# shellcheck shell=bash

# pyproject.toml says the same (requires-python).
OLDEST_PYTHON="3, 10"
NEWEST_PYTHON="3, 13"

say() { printf '%s\n' "$*" >&2; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Whether one of the flags is among the words: has_flag "-A -B" words...
has_flag() {
    local wanted=" $1 " word
    for word in "${@:2}"; do
        if [[ $wanted == *" ${word%%=*} "* ]]; then return 0; fi
    done
    return 1
}

python_fits() {
    "$1" -c "import sys; sys.exit(not ($OLDEST_PYTHON) <= sys.version_info[:2] <= ($NEWEST_PYTHON))" >/dev/null 2>&1
}

# Conda's base is left alone: it is active in every shell, and mending it after a mistake is hard.
active_environment() {
    if [[ -n ${VIRTUAL_ENV:-} ]]; then
        printf '%s' "$VIRTUAL_ENV"
    elif [[ -n ${CONDA_PREFIX:-} && ${CONDA_DEFAULT_ENV:-} != base ]]; then
        printf '%s' "$CONDA_PREFIX"
    fi
}

find_python() {
    local name
    for name in python3 python python3.13 python3.12 python3.11 python3.10; do
        if python_fits "$name"; then
            command -v "$name"
            return
        fi
    done
}

find_uv() {
    local candidate
    for candidate in uv "${1:-}/bin/uv"; do
        if "$candidate" --version >/dev/null 2>&1; then
            printf '%s' "$candidate"
            return
        fi
    done
}

make_environment() {
    local folder=$1 python uv
    python=$(find_python)
    uv=$(find_uv)
    say "Making a Python environment in $folder"
    if [[ -n $uv ]]; then
        # uv fetches a Python itself where the machine has none that fits.
        "$uv" venv --quiet --seed --python "${python:->=3.10,<3.14}" "$folder" ||
            fail "uv could not make $folder. SIA Pose needs Python 3.10 to 3.13."
        return
    fi
    [[ -n $python ]] ||
        fail "found no Python 3.10 to 3.13. Install one, or install uv, which brings its own: https://docs.astral.sh/uv"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python can't make virtual environments. Install its venv package (Debian and Ubuntu: apt-get install" \
            "python3-venv), or uv: https://docs.astral.sh/uv"
    "$python" -m venv "$folder" || fail "$python -m venv $folder failed."
    # uv installs several times faster than pip; pip does the same work where uv can't be had.
    "$folder/bin/python" -m pip install --quiet uv || say "uv can't be installed; going on with pip."
}

check_environment() {
    local folder=$1
    PYTHON=$folder/bin/python
    "$PYTHON" -c '' 2>/dev/null ||
        fail "$folder has no Python that works. Delete that folder, or deactivate it, and run this again."
    python_fits "$PYTHON" ||
        fail "$folder has $("$PYTHON" --version 2>&1); SIA Pose needs 3.10 to 3.13. Deactivate it, and run this again."
}

# A hash of the requirements, the interpreter and the names and versions of all installed packages: it changes whenever
# there may be something to install.
fingerprint() {
    "$PYTHON" - "$@" <<'EOF'
import hashlib, pathlib, sys, sysconfig
folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
packages = sorted(path.name for folder in folders for path in pathlib.Path(folder).glob("*.dist-info"))
requirements = [pathlib.Path(name).read_text() for name in sys.argv[1:]]
print(hashlib.sha256(repr((requirements, sys.version, packages)).encode()).hexdigest())
EOF
}

has_package() {
    "$PYTHON" -c 'import sys, importlib.metadata as m; m.distribution(sys.argv[1])' "$1" 2>/dev/null
}

# install FILE: uv where there is one, else pip. pip follows too where uv fails, as only pip reads pip's own settings
# (a company's mirror, certificates).
install() {
    local uv
    uv=$(find_uv "${PYTHON%/bin/python}")
    if [[ -n $uv ]]; then
        UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-300} "$uv" pip install --python "$PYTHON" -r "$1" && return
        say "uv could not install the packages; trying pip."
    fi
    "$PYTHON" -m pip install -r "$1" ||
        fail "the packages could not be installed in ${PYTHON%/bin/python}. The lines above say why."
}

# The two builds of OpenCV share one folder, so where the headless one is installed it stays.
requirements() {
    if has_package opencv-contrib-python-headless; then
        cat -- "$@" | sed 's/^opencv-contrib-python\([^-]\)/opencv-contrib-python-headless\1/'
    else
        cat -- "$@"
    fi
}

# OpenCV's usual build needs libGL and GLib, which bare containers lack; its headless build, without windows, does not.
mend_opencv() {
    local problem list=$1
    problem=$("$PYTHON" -c 'import cv2' 2>&1) && return
    problem=${problem##*$'\n'}
    if [[ $problem != *"cannot open shared object file"* ]] || has_package opencv-contrib-python-headless; then
        fail "OpenCV can't be imported: $problem"
    fi
    say "opencv-contrib-python can't be imported here: $problem"
    say "Taking opencv-contrib-python-headless instead, which needs no graphics libraries. To have the other one:" \
        "apt-get install libgl1 libglib2.0-0, uninstall opencv-contrib-python-headless, and run this again."
    remove opencv-contrib-python
    sed -n 's/^opencv-contrib-python\([^-]\)/opencv-contrib-python-headless\1/p' "$list" >"$list.opencv"
    install "$list.opencv"
    problem=$("$PYTHON" -c 'import cv2' 2>&1) || fail "OpenCV's headless build can't be imported: ${problem##*$'\n'}"
}

remove() {
    local uv
    uv=$(find_uv "${PYTHON%/bin/python}")
    if [[ -n $uv ]]; then
        "$uv" pip uninstall --quiet --python "$PYTHON" "$1"
    else
        "$PYTHON" -m pip uninstall --quiet --yes "$1"
    fi
}

use_environment() {
    local folder stamp
    folder=$(active_environment)
    if [[ -z $folder ]]; then
        folder=$ROOT/.venv
        if [[ ! -e $folder ]]; then make_environment "$folder"; fi
    fi
    check_environment "$folder"
    stamp=$folder/.sia_pose_$(basename -- "${!#}" .txt)
    if [[ $(cat "$stamp" 2>/dev/null) == "$(fingerprint "$@")" ]]; then return; fi
    say "Checking the packages in $folder; what is missing or too old is installed there (all of them take 7 GB)"
    SCRATCH=$(mktemp -d)
    trap 'rm -rf -- "$SCRATCH"' EXIT
    requirements "$@" >"$SCRATCH/requirements.txt"
    install "$SCRATCH/requirements.txt"
    mend_opencv "$SCRATCH/requirements.txt"
    rm -rf -- "$SCRATCH" # here too: exec never comes to the trap
    # A shared environment may be read-only; then the check is made again next time.
    fingerprint "$@" 2>/dev/null >"$stamp" || true
}
