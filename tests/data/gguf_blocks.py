"""Writes gguf_blocks.safetensors: blocks of GGUF's quantized types, and their dequantized numbers.

    pip install gguf==0.19.0 safetensors numpy
    python gguf_blocks.py [FILE [SEED]]

For each type, `TYPE.bytes` are blocks of random bytes, whose scales of half precision are random in
the first half and the odd values of the format in the second; `TYPE.values` is what
`gguf.quants.dequantize` makes of them.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from safetensors.numpy import save_file

FOLDER = Path(__file__).parent
# Positions of the half-precision numbers in a block.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "IQ4_XS": [0],
}
# Zeros, the smallest, the largest that is subnormal, the largest, infinity, NaN.
ODD = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00]


def blocks(rng, name):
    _, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    count = 2 * len(ODD)
    data = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for offset, place in enumerate(SCALES[name]):
        scales = (0.05 * rng.standard_normal(count)).astype(np.float16).view(np.uint16)
        scales[len(ODD):] = np.roll(ODD, 3 * offset)
        data[:, place:place + 2] = scales.astype("<u2").view(np.uint8).reshape(count, 2)
    return data.reshape(1, -1)


def main():
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "gguf_blocks.safetensors"
    rng = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    tensors = {}
    with np.errstate(all="ignore"):
        for name in SCALES:
            data = blocks(rng, name)
            values = dequantize(data, GGMLQuantizationType[name]).astype(np.float32)
            tensors[f"{name}.bytes"] = data.reshape(-1)
            tensors[f"{name}.values"] = np.ascontiguousarray(values.reshape(-1))
    save_file(tensors, target)
    if target.parent == FOLDER:
        path = FOLDER / "manifest.json"
        whole = json.loads(path.read_text())
        version = importlib.metadata.version("gguf")
        about = {"about": f"gguf {version}: gguf_blocks.py", "cases": list(SCALES)}
        whole["files"]["gguf_blocks.safetensors"] = about
        path.write_text(json.dumps(whole, indent=1) + "\n")


main()
