"""Tensors of safetensors files, as the Python package `safetensors` reads them.

usage: safetensors_read.py FILE...

Prints JSON: by the name of each file, type, shape and sum of each tensor by its name.
"""

import json
import sys
from pathlib import Path

from safetensors import safe_open


def tensors(path: str) -> dict:
    with safe_open(path, "pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}
    return {
        name: {"dtype": str(t.dtype), "shape": list(t.shape), "sum": t.double().sum().item()}
        for name, t in found.items()
    }


json.dump({Path(path).name: tensors(path) for path in sys.argv[1:]}, sys.stdout)
