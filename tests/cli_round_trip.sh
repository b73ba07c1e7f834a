#!/usr/bin/env bash
# Round trip with the program only: train, evaluate, convert, inspect, generate, and back.
# BITNET_BURN is the command of the program; it is built if unset.
set -euo pipefail

cd "$(dirname "$0")/.."
BITNET_BURN=${BITNET_BURN:-"cargo run --release --features cli --bin bitnet-burn --"}
STEPS=${STEPS:-300}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

program() {
    # More than one word, if cargo runs it.
    # shellcheck disable=SC2086
    $BITNET_BURN --quiet "$@"
}

# A value of a JSON document on stdin, by a Python expression of `d`.
value() {
    python3 -c 'import json, sys; d = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"
}

fail() {
    echo "cli_round_trip: $*" >&2
    exit 1
}

echo "train"
program train --out "$work/run" --steps "$STEPS" --json > "$work/events.jsonl"
tail -n 1 "$work/events.jsonl" | value '"{}: {:.3f}, {:.0f} tokens/s".format(d["kind"], d["validation_loss"], d["tokens_per_second"])'
grep -q '"kind":"validation"' "$work/events.jsonl" || fail "no validation"
trained=$(tail -n 1 "$work/events.jsonl" | value 'd["validation_loss"]')

model=$work/run/model
echo "convert"
program convert "$model" "$work/packed"
program convert "$model" "$work/divide" --scale divide
program convert "$model" "$work/half" --to float --dtype bf16
program convert "$model" "$work/f16.gguf"
program convert "$model" "$work/tq1.gguf" --type TQ1_0
program convert "$model" "$work/tq2.gguf" --type TQ2_0
program convert "$model" "$work/q8.gguf" --type Q8_0
program convert "$model" "$work/i2s.gguf" --type I2_S --allow-i2-s
if program convert "$model" "$work/i2s.gguf" --type I2_S 2> "$work/error"; then
    fail "I2_S was written without being allowed"
fi
grep -q -- '--allow-i2-s' "$work/error" || fail "the error does not name the flag"
program convert "$work/f16.gguf" "$work/back_f16"
program convert "$work/tq2.gguf" "$work/back_tq2"
program convert "$work/back_tq2" "$work/again.gguf" --type TQ2_0

echo "eval"
for form in run/model packed divide back_tq2 f16.gguf tq1.gguf tq2.gguf; do
    loss=$(program eval "$work/$form" --windows 256 --json | value 'd["loss"]')
    echo "  $form: $loss"
    python3 -c 'import sys; a, b = map(float, sys.argv[1:]); sys.exit(abs(a - b) > 0.15)' \
        "$trained" "$loss" || fail "the loss of $form is $loss, in training it was $trained"
done

echo "inspect"
codes() {
    program inspect "$work/$1" --json | value "next(t['codes'] for t in d['tensors'] if t['name'] == '$2')"
}
layer=model.layers.0.mlp.down_proj.weight
expected=$(codes packed $layer)
for form in divide back_f16 back_tq2; do
    [ "$(codes $form $layer)" = "$expected" ] || fail "$form has other codes than packed"
done
for form in f16.gguf tq1.gguf tq2.gguf again.gguf; do
    [ "$(codes $form blk.0.ffn_down.weight)" = "$expected" ] || fail "$form has other codes"
done
program inspect "$model" | grep -q absmean || fail "no absmean of latent weights"
program inspect "$work/run" | grep -q complete || fail "the run is not complete"
program inspect "$model/tokenizer.json" --json | value 'd["vocab_size"]' > /dev/null

echo "generate"
generate() {
    program generate "$work/$1" --prompt 'To be, or ' --max-new-tokens 40 --temperature 0
}
expected=$(generate run/model)
echo "  $expected" | head -n 1
for form in packed divide; do
    [ "$(generate $form)" = "$expected" ] || fail "$form generates another text than the master weights"
done
for form in f16.gguf tq2.gguf back_tq2; do
    [ -n "$(generate $form)" ] || fail "$form generates no text"
done

echo "sensitivity and report"
program sensitivity "$model" --windows 8 --html "$work/sensitivity.html" --json |
    value 'len(d["sensitivity"]["layers"])' | grep -qx 14 || fail "not every layer was measured"
program report "$work/run" --out "$work/report.html"
grep -q '<svg' "$work/report.html" || fail "the report has no chart"
echo "all is well"
