#!/usr/bin/env bash
# User programs in a separate crate that depends only on the packaged one: they train, are killed, resume, pack, and
# run from packed weights in another process with identical bits. Mistakes give the messages in the documentation.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
target="$CARGO_TARGET_DIR"

cargo package -p bitnet-burn-kernels -p bitnet-burn --no-verify --allow-dirty --quiet
for name in bitnet-burn-kernels bitnet-burn; do
    tar -xzf "$target/package/$name-0.1.0.crate" -C "$work"
done
cp -r tests/outside "$work/outside"
# The versions that were tested.
cp Cargo.lock "$work/outside/"
cat >>"$work/outside/Cargo.toml" <<'PATCH'

[patch.crates-io]
bitnet-burn = { path = "../bitnet-burn-0.1.0" }
bitnet-burn-kernels = { path = "../bitnet-burn-kernels-0.1.0" }
PATCH

# Lines of code of a program.
lines() {
    grep -Evc '^[[:space:]]*(//.*)?$' "tests/outside/src/bin/$1.rs"
}
for limit in cnn:80 own_module:60 hf:40; do
    count="$(lines "${limit%:*}")"
    echo "${limit%:*}: $count lines of code"
    [ "$count" -le "${limit#*:}" ]
done

manifest=(--manifest-path "$work/outside/Cargo.toml")
cargo build "${manifest[@]}" --bins
bin="$target/debug"

# killed FILE PROGRAM ARGUMENT...: lets a program train until a file is there, and kills it.
killed() {
    local file="$1" program
    shift
    "$@" >"$work/out" 2>&1 &
    program=$!
    while kill -0 "$program" 2>/dev/null && [ ! -e "$file" ]; do
        sleep 0.01
    done
    if ! kill -9 "$program"; then
        echo "$* ended before it could be killed:" >&2
        cat "$work/out" >&2
        return 1
    fi
    wait "$program" 2>/dev/null || true
}

# equal NAME RESUMED STRAIGHT USED: a killed and resumed training equals the uninterrupted one, and so does its packed
# form in another process.
equal() {
    echo "$1: $2" | cut -c1-100
    [ -n "$2" ] && [ "$2" = "$3" ] && [ "$2" = "$4" ] && return
    printf '%s differs:\n%s\n%s\n%s\n' "$@" >&2
    return 1
}

for program in cnn:checkpoints/step-00000040 own_module:latest; do
    name="${program%%:*}" folder="$work/${program%%:*}"
    mkdir "$folder" "$folder-straight"
    killed "$folder/${program#*:}" "$bin/$name" train "$folder"
    resumed="$("$bin/$name" train "$folder")"
    equal "$name" "$resumed" "$("$bin/$name" train "$folder-straight")" "$("$bin/$name" use "$folder")"
done

folder="$work/hf" model=tests/data/i_tiny_bitnet
mkdir "$folder" "$folder-straight"
killed "$folder/latest" "$bin/hf" train "$model" "$folder"
resumed="$("$bin/hf" train "$model" "$folder")"
straight="$("$bin/hf" train "$model" "$folder-straight")"
equal hf "$resumed" "$straight" "$("$bin/hf" use "$folder/packed" "$folder")"

TROUBLESHOOTING="$PWD/docs/troubleshooting.md" cargo test "${manifest[@]}"
