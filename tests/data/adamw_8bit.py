"""Writes adamw_8bit.safetensors: steps of bitsandbytes' AdamW8bit on the CPU.

    pip install bitsandbytes==0.50.2 torch==2.15.0 safetensors numpy
    python adamw_8bit.py

The states are quantized by the reference path of bitsandbytes, to the nearest value of the map, as
its CUDA kernel does. Its CPU kernel rounds to 16 bits first; `kernel.*` are its results.
"""

import json
from pathlib import Path

import bitsandbytes as bnb
import torch
from bitsandbytes.backends.cpu import ops
from safetensors.torch import save_file

FOLDER = Path(__file__).parent
STEPS = 4
CONFIG = {"lr": 1e-2, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1}


kernel = ops._quant_blockwise_fp32_direct


def nearest(x, code, absmax_out, codes_out, blocksize):
    """The loop of the CPU backend for types without a kernel."""
    flat = x.reshape(-1)
    for block, start in enumerate(range(0, flat.numel(), blocksize)):
        values = flat[start : start + blocksize]
        absmax = values.abs().max()
        scaled = torch.clamp(values * (1 / absmax), -1, 1)
        codes = torch.argmin((scaled.unsqueeze(-1) - code).abs(), dim=-1)
        codes_out.reshape(-1)[start : start + blocksize] = codes.to(torch.uint8)
        absmax_out[block] = absmax


def run(shape, quantize, seed):
    ops._quant_blockwise_fp32_direct = quantize
    generator = torch.Generator().manual_seed(seed)
    param = torch.nn.Parameter(0.1 * torch.randn(shape, generator=generator))
    optimizer = bnb.optim.AdamW8bit(
        [param], lr=CONFIG["lr"], betas=CONFIG["betas"], eps=CONFIG["eps"],
        weight_decay=CONFIG["weight_decay"],
    )
    tensors = {"param.0": param.detach().clone()}
    for step in range(1, STEPS + 1):
        # Rows of very different size, and a block without gradients.
        scale = torch.logspace(-4, 1, shape[0]).unsqueeze(1)
        grad = scale * torch.randn(shape, generator=generator)
        grad.view(-1)[512:768] = 0.0
        param.grad = grad
        optimizer.step()
        tensors[f"grad.{step}"] = grad.clone()
        tensors[f"param.{step}"] = param.detach().clone()
        state = optimizer.state[param]
        for name in ["state1", "state2", "absmax1", "absmax2"]:
            if name in state:
                tensors[f"{name}.{step}"] = state[name].clone()
    for name in ["qmap1", "qmap2"]:
        if name in state:
            tensors[name] = state[name].clone()
    return tensors


def main():
    cases = {"blocks_17x250": (17, 250), "small_5x12": (5, 12)}
    manifest, file = {}, {}
    for seed, (name, shape) in enumerate(cases.items()):
        tensors = run(shape, nearest, seed)
        last = run(shape, kernel, seed)[f"param.{STEPS}"]
        tensors["kernel.param"] = last
        file |= {f"{name}.{key}": value.contiguous() for key, value in tensors.items()}
        about = {key: [str(t.dtype)[6:], list(t.shape)] for key, t in tensors.items()}
        manifest[name] = CONFIG | {"steps": STEPS, "tensors": about}
    save_file(file, FOLDER / "adamw_8bit.safetensors")
    path = FOLDER / "manifest.json"
    whole = json.loads(path.read_text())
    about = f"bitsandbytes {bnb.__version__}, torch {torch.__version__}: adamw_8bit.py"
    whole["files"]["adamw_8bit.safetensors"] = {"about": about, "cases": manifest}
    path.write_text(json.dumps(whole, indent=1) + "\n")


main()
