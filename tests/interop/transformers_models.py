"""Tiny models with fixed seeds as transformers writes them, and their logits.

usage: transformers_models.py OUT

Makes a folder in `OUT` for each model, with `tokens.json` and `logits.safetensors`.
"""

import json
import os
import sys
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BitNetConfig,
    BitNetForCausalLM,
    BitNetQuantConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.integrations.bitnet import pack_weights

torch.set_num_threads(1)

SIZES = dict(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=32,
    bos_token_id=1,
    eos_token_id=2,
    initializer_range=0.1,
)
PROMPTS, POSITIONS = 12, 6
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def write(model, folder: Path, **options):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, SIZES["vocab_size"], (PROMPTS, POSITIONS), generator=generator)
    model.save_pretrained(folder, **options)
    (folder / "tokens.json").write_text(json.dumps(tokens.tolist()))
    return tokens


def compute(folder: Path, tokens, cls):
    """Logits of the folder as written: quantized layers are inserted when it is loaded."""
    model = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        rows = [model(input_ids=row[None]).logits[0] for row in tokens]
    save_file({"logits": torch.stack(rows).contiguous()}, folder / "logits.safetensors")


def pack(folder: Path, linear_class: str):
    """Packs the projections of a folder, as the conversion scripts of transformers' users do."""
    tensors = load_file(folder / "model.safetensors")
    for name in list(tensors):
        if not name.endswith(tuple(f"{p}.weight" for p in PROJECTIONS)):
            continue
        weight = tensors[name].float()
        gamma = weight.abs().mean().clamp(min=1e-5)
        codes = (weight / gamma).round().clamp(-1, 1)
        tensors[name] = pack_weights(codes)
        scale = gamma if linear_class == "autobitlinear" else 1 / gamma
        tensors[f"{name}_scale"] = scale.reshape(1)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "bitnet",
        "linear_class": linear_class,
        "quantization_mode": "offline",
        "modules_to_not_convert": ["lm_head"],
    }
    (folder / "config.json").write_text(json.dumps(config))


def online(folder: Path, kept=()):
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = BitNetQuantConfig(
        linear_class="autobitlinear", quantization_mode="online", modules_to_not_convert=["lm_head", *kept]
    ).to_dict()
    (folder / "config.json").write_text(json.dumps(config))


def another_head(folder: Path):
    """Declares the head as tied to the embedding table, which it is not."""
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))


def older_rope(folder: Path, **rope):
    """Writes positions in the format of older files."""
    config = json.loads((folder / "config.json").read_text())
    del config["rope_parameters"]
    config.update(rope_theta=5000.0, rope_scaling=rope)
    (folder / "config.json").write_text(json.dumps(config))


def with_biases(model):
    """Sets random biases and norms, which transformers initializes with zeros and ones."""
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            parameter.data.normal_(0.0, 0.5, generator=generator)
        elif name.endswith("norm.weight"):
            parameter.data.normal_(1.0, 0.2, generator=generator)
    return model


out = Path(sys.argv[1])
rope_llama3 = dict(
    rope_type="llama3",
    rope_theta=10000.0,
    factor=4.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=8,
)

yarn = dict(
    rope_type="yarn",
    rope_theta=10000.0,
    factor=4.0,
    original_max_position_embeddings=8,
    beta_fast=4,
    beta_slow=1,
)
longrope = dict(
    rope_type="longrope",
    rope_theta=10000.0,
    short_factor=[1.0, 1.2, 1.5, 2.5],
    long_factor=[2.0, 3.0, 4.0, 5.0],
    original_max_position_embeddings=32,
    factor=4.0,
)

for name, cls, config, after in [
    ("qwen2", Qwen2ForCausalLM, Qwen2Config(**SIZES), None),
    ("qwen2_online", Qwen2ForCausalLM, Qwen2Config(**SIZES), online),
    ("qwen2_divide", Qwen2ForCausalLM, Qwen2Config(**SIZES), lambda f: pack(f, "bitlinear")),
    ("qwen2_multiply", Qwen2ForCausalLM, Qwen2Config(**SIZES), lambda f: pack(f, "autobitlinear")),
    ("qwen3", Qwen3ForCausalLM, Qwen3Config(**SIZES, head_dim=12, attention_bias=True), None),
    ("qwen3_tied", Qwen3ForCausalLM, Qwen3Config(**SIZES, tie_word_embeddings=True), None),
    ("mistral", MistralForCausalLM, MistralConfig(**SIZES, head_dim=16, sliding_window=32), None),
    (
        "llama_biases",
        LlamaForCausalLM,
        LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True, head_dim=12),
        None,
    ),
    ("bitnet_biases", BitNetForCausalLM, BitNetConfig(**SIZES, attention_bias=True), online),
    ("llama_yarn", LlamaForCausalLM, LlamaConfig(**SIZES, rope_parameters=yarn), None),
    (
        "qwen3_yarn",
        Qwen3ForCausalLM,
        Qwen3Config(
            **SIZES,
            head_dim=8,
            rope_parameters=dict(yarn, truncate=False, mscale=0.7, mscale_all_dim=0.3),
        ),
        None,
    ),
    ("llama_longrope", LlamaForCausalLM, LlamaConfig(**SIZES, rope_parameters=longrope), None),
    (
        "llama_older_rope",
        LlamaForCausalLM,
        LlamaConfig(**SIZES),
        lambda f: older_rope(f, type="linear", rope_type="yarn", factor=2.0),
    ),
    ("llama_another_head", LlamaForCausalLM, LlamaConfig(**SIZES), another_head),
    (
        "bitnet_kept",
        BitNetForCausalLM,
        BitNetConfig(**SIZES),
        lambda f: online(f, ["down_proj", r"model.layers.0.self_attn.[qk]_proj"]),
    ),
    ("llama_full", LlamaForCausalLM, LlamaConfig(**SIZES, tie_word_embeddings=False), None),
    ("llama_rope", LlamaForCausalLM, LlamaConfig(**SIZES, rope_parameters=rope_llama3), None),
    ("bitnet_full", BitNetForCausalLM, BitNetConfig(**SIZES), None),
    ("bitnet_online", BitNetForCausalLM, BitNetConfig(**SIZES, tie_word_embeddings=True), online),
    ("bitnet_multiply", BitNetForCausalLM, BitNetConfig(**SIZES), lambda f: pack(f, "autobitlinear")),
    ("llama_divide", LlamaForCausalLM, LlamaConfig(**SIZES), lambda f: pack(f, "bitlinear")),
    ("llama_sharded", LlamaForCausalLM, LlamaConfig(**SIZES), None),
]:
    torch.manual_seed(0)
    options = {"max_shard_size": "30KB"} if name == "llama_sharded" else {}
    tokens = write(with_biases(cls(config)), out / name, **options)
    if after:
        after(out / name)
    compute(out / name, tokens, cls)
