"""Adapters of this crate as peft loads them, and adapters that peft makes, with their logits.

usage: peft_adapters.py FOLDER

Reads from `FOLDER`: `tokens.json`, a list of prompts of equal length; `bases/`, models; `ours/`, adapters, and
`bases.json`, the base of each. Writes `theirs/`, adapters with random values, and `logits.safetensors` with the logits
`[prompts, positions, vocabulary]` of each base, adapter of ours (`ours.NAME`) and adapter of peft (`theirs.NAME.BASE`).
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LoraConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

# That a base is tied, and that a head is saved with an embedding.
warnings.filterwarnings("ignore")
torch.set_num_threads(1)

FOLDER = Path(sys.argv[1])
TOKENS = torch.tensor(json.loads((FOLDER / "tokens.json").read_text()))
GENERATOR = torch.Generator().manual_seed(5)
TASK = dict(task_type="CAUSAL_LM")
LORA = dict(TASK, r=4, lora_alpha=6)
PROMPT = dict(TASK, num_virtual_tokens=3)
IA3 = dict(TASK, target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])


def base(name):
    # Eager attention, as the model here computes it.
    return AutoModelForCausalLM.from_pretrained(
        FOLDER / "bases" / name, dtype=torch.float32, attn_implementation="eager"
    )


def logits(model):
    model.eval()
    with torch.no_grad():
        # Without those of virtual tokens, which stand before the others.
        rows = [model(input_ids=row[None]).logits[0, -len(row) :] for row in TOKENS]
    return torch.stack(rows).contiguous()


def made(name, of, config, deviation=0.1):
    """Saves an adapter whose trained values are random; returns the logits of what is loaded from there."""
    model = get_peft_model(base(of), config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = deviation * torch.randn(parameter.shape, generator=GENERATOR)
    folder = FOLDER / "theirs" / name
    model.save_pretrained(folder)
    return logits(PeftModel.from_pretrained(base(of), folder))


out = {name: logits(base(name)) for name in ("plain", "biased", "tied")}
for name, of in json.loads((FOLDER / "bases.json").read_text()).items():
    out[f"ours.{name}"] = logits(PeftModel.from_pretrained(base(of), FOLDER / "ours" / name))

for name, of, *method in [
    (
        "lora",
        "plain",
        LoraConfig(
            **LORA, target_modules="all-linear", rank_pattern={"q_proj": 2, "layers.1.mlp.down_proj": 3},
            alpha_pattern={"k_proj": 3},
        ),
    ),
    ("lora_of_layers", "plain", LoraConfig(**LORA, target_modules=["q_proj", "up_proj"], layers_to_transform=[1])),
    ("lora_orthogonal", "plain", LoraConfig(**LORA, init_lora_weights="orthogonal")),
    ("rslora", "plain", LoraConfig(**LORA, use_rslora=True, target_modules=r".*\.(v|down)_proj")),
    ("dora", "biased", LoraConfig(**LORA, use_dora=True, target_modules="all-linear")),
    ("bias_all", "biased", LoraConfig(**LORA, bias="all")),
    ("bias_lora_only", "biased", LoraConfig(**LORA, bias="lora_only", target_modules=["o_proj", "gate_proj"])),
    ("saved", "plain", LoraConfig(**LORA, modules_to_save=["lm_head", "model.norm"])),
    ("saved_embedding", "tied", LoraConfig(**LORA, modules_to_save=["embed_tokens"])),
    ("ends", "plain", LoraConfig(**LORA, target_modules=["embed_tokens", "lm_head", "q_proj"])),
    ("tied_end", "tied", LoraConfig(**LORA, target_modules=["embed_tokens", "v_proj"])),
    ("adalora", "biased", AdaLoraConfig(**TASK, init_r=4, target_r=2, total_step=9, target_modules="all-linear"), 0.3),
    ("ia3", "biased", IA3Config(**IA3), 0.8),
    ("ia3_saved", "plain", IA3Config(**IA3, modules_to_save=["lm_head"]), 0.2),
    ("prefix", "plain", PrefixTuningConfig(**PROMPT), 0.5),
    ("prefix_projected", "plain", PrefixTuningConfig(**PROMPT, prefix_projection=True, encoder_hidden_size=6), 0.5),
    ("p_tuning", "plain", PromptEncoderConfig(**PROMPT, encoder_hidden_size=6), 0.5),
    ("prompt", "plain", PromptTuningConfig(**PROMPT), 0.5),
    ("prompt_with_head", "tied", PromptTuningConfig(**PROMPT, modules_to_save=["lm_head"]), 0.2),
]:
    out[f"theirs.{name}.{of}"] = made(name, of, *method)
save_file(out, FOLDER / "logits.safetensors")
