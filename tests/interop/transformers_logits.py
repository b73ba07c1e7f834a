"""Logits of folders, as transformers computes them.

usage: transformers_logits.py OUT FOLDER...

Each folder has a `tokens.json`, a list of prompts of equal length. Writes `OUT`, a safetensors file with
the logits `[prompts, positions, vocabulary]` of each folder by its name.
"""

import json
import os
import sys
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compiling the quantizers takes a minute and changes nothing

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)


def logits(folder: Path) -> torch.Tensor:
    tokens = torch.tensor(json.loads((folder / "tokens.json").read_text()))
    # Eager attention, as the model here computes it.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    with torch.no_grad():
        # One at a time: prompts are independent of each other.
        rows = [model(input_ids=row[None]).logits[0] for row in tokens]
    return torch.stack(rows).contiguous()


out, *folders = sys.argv[1:]
save_file({Path(f).name: logits(Path(f)) for f in folders}, out)
