#!/usr/bin/env bash
# Programs of a user, in a crate of their own that sees nothing but the packaged one: they train, are killed, go on,
# pack, and run from packed weights in another process with the same bits; mistakes give the messages that the
# documentation promises.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
target="$CARGO_TARGET_DIR"

cargo package --workspace --no-verify --allow-dirty --quiet
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

# killed NAME FOLDER FILE: trains until a file is there, and kills the program.
killed() {
    "$bin/$1" train "$2" >"$work/out" 2>&1 &
    local program=$!
    while kill -0 "$program" 2>/dev/null && [ ! -e "$3" ]; do
        sleep 0.01
    done
    if ! kill -9 "$program"; then
        echo "$1 ended before it could be killed:" >&2
        cat "$work/out" >&2
        return 1
    fi
    wait "$program" 2>/dev/null || true
}

# trained NAME FILE: killed and resumed, it is what it would be uninterrupted, and so is its packed form.
trained() {
    mkdir "$work/$1" "$work/$1-straight"
    killed "$1" "$work/$1" "$work/$1/$2"
    local resumed straight used
    resumed="$("$bin/$1" train "$work/$1" | tail -n 1)"
    straight="$("$bin/$1" train "$work/$1-straight" | tail -n 1)"
    used="$("$bin/$1" use "$work/$1" | tail -n 1)"
    echo "$1: $used"
    [ -n "$used" ] && [ "$resumed" = "$straight" ] && [ "$used" = "$resumed" ]
}

trained cnn checkpoints/step-00000040
trained own_module latest
"$bin/hf" tests/data/i_tiny_bitnet "$work/packed" | tee "$work/out" | tail -n 2
grep -q 'computes the same' "$work/out"
FIRST_DAY="$PWD/docs/first_day.md" cargo test "${manifest[@]}"
