#!/usr/bin/env bash
# Training steps beside PyTorch, into benches/RESULTS.md: bash benches/peers/run.sh [SECTION...]
# The sections are language_model and adapters. Installs torch, transformers and peft into a virtual environment, where
# that of scripts/setup-dev.sh does not have them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cache="${XDG_CACHE_HOME:-$HOME/.cache}/bitnet-burn"
python="$cache/interop/bin/python"

has_programs() { "$1" -c 'import torch, transformers, peft' 2>/dev/null; }

if ! has_programs "$python"; then
    python="$cache/peers/bin/python"
fi
if ! has_programs "$python"; then
    echo "installing torch, transformers and peft into $cache/peers (some gigabytes)"
    python3 -m venv --clear "$cache/peers"
    grep -E '^(torch|transformers|peft)==' tests/interop/requirements.txt |
        "$python" -m pip install --quiet --disable-pip-version-check -r /dev/stdin
fi

[ $# -gt 0 ] || set -- language_model adapters
BITNET_BURN_PYTHON="$python" cargo bench --features cli --bench results -- "$@"
