"""Prints the metadata and tensors of a GGUF file as JSON, as the Python package `gguf` reads them.

    python tests/interop/gguf_read.py model.gguf [--values]

`tensors` has name, type, shape (the length of a row last), number of bytes and offset in the file of
each tensor; with `--values` also its numbers, which `gguf.quants.dequantize` makes of the bytes.
"""

import json
import sys

from gguf import GGUFReader
from gguf.quants import dequantize


def tensor(info, values):
    described = {
        "name": info.name,
        "type": info.tensor_type.name,
        "shape": [int(size) for size in reversed(info.shape)],
        "num_bytes": int(info.n_bytes),
        "offset": int(info.data_offset),
    }
    if values:
        described["values"] = dequantize(info.data, info.tensor_type).ravel().tolist()
    return described


def main():
    reader = GGUFReader(sys.argv[1])
    values = "--values" in sys.argv[2:]
    fields = reader.fields.items()
    json.dump(
        {
            "metadata": {k: v.contents() for k, v in fields if not k.startswith("GGUF.")},
            "tensors": [tensor(info, values) for info in reader.tensors],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
