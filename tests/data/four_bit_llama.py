"""Writes four_bit_llama: folders of 4-bit weights that transformers saved, and their logits.

    pip install bitsandbytes==0.50.2 transformers==5.23.0 accelerate==1.15.0 torch==2.15.0
    python four_bit_llama.py

`nf4` is g_tiny_llama in NF4, double quantized; `fp4` is it in bfloat16 and FP4, with the feed-forward block
of a layer in full precision. The logits of `logits.safetensors` are those of `code * absmax` in float32, which
PyTorch computes: the kernels of bitsandbytes 0.50.2 for CPUs with AVX-512 are wrong where blocks cross rows.
"""

from pathlib import Path

import torch
from bitsandbytes.functional import dequantize_blockwise
from bitsandbytes.nn import Linear4bit
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaForCausalLM

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "g_tiny_llama"
TARGET = FOLDER / "four_bit_llama"
FORMS = {
    "nf4": (torch.float32, {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}),
    "fp4": (
        torch.bfloat16,
        {
            "bnb_4bit_quant_type": "fp4",
            "bnb_4bit_compute_dtype": torch.bfloat16,
            "llm_int8_skip_modules": ["lm_head", "model.layers.1.mlp"],
        },
    ),
}


def dequantized(layer: Linear4bit) -> torch.Tensor:
    state = layer.weight.quant_state
    absmax = state.absmax
    if state.nested:
        absmax = dequantize_blockwise(absmax, state.state2) + state.offset
    data = layer.weight.data.flatten()
    codes = torch.stack([data >> 4, data & 15], dim=1).flatten().long()
    maxima = absmax.repeat_interleave(state.blocksize)[: codes.numel()]
    return (state.code[codes] * maxima).view(state.shape)


def main():
    torch.set_num_threads(1)
    tokens = torch.tensor([[5, 3, 17, 9, 0, 31, 2, 8, 63, 40], [1, 1, 2, 30, 50, 7, 62, 11, 12, 33]])
    tensors = {"input_ids": tokens}
    for name, (dtype, options) in FORMS.items():
        config = BitsAndBytesConfig(load_in_4bit=True, **options)
        model = AutoModelForCausalLM.from_pretrained(SOURCE, dtype=dtype, quantization_config=config)
        model.save_pretrained(TARGET / name)
        plain = LlamaForCausalLM.from_pretrained(SOURCE, dtype=torch.float32).eval()
        state = {}
        modules = dict(model.named_modules())
        for key in plain.state_dict():
            module = modules[key.rpartition(".")[0]]
            if isinstance(module, Linear4bit):
                state[key] = dequantized(module)
            else:
                state[key] = module.weight.data.float()
        plain.load_state_dict(state)
        with torch.no_grad():
            tensors[name] = plain(tokens).logits
    save_file(tensors, TARGET / "logits.safetensors")


if __name__ == "__main__":
    main()
