"""Training steps of PyTorch, in turn with those of `cargo bench --bench results -- language_model adapters`.

usage: training.py small|smollm2 full|qat|lora

Takes a step for each line of the input and prints its milliseconds; at the end of the input, the peak memory of the
process in MiB. Needs torch and transformers, and peft for `lora`. `qat` trains all projections as transformers'
`AutoBitLinear` with online quantization.
"""

import os
import resource
import sys
import time

# Eager, as a program starts: compilation takes minutes, and a compiler that is not always there.
os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import BitNetConfig, BitNetForCausalLM, LlamaConfig, LlamaForCausalLM

# Sequences, tokens of each, vocabulary.
SHAPES = {"small": (8, 256, 96), "smollm2": (4, 256, 49152)}


def float_model(shape: str) -> torch.nn.Module:
    _, positions, vocabulary = SHAPES[shape]
    if shape == "small":
        return BitNetForCausalLM(BitNetConfig(
            vocab_size=vocabulary, hidden_size=384, num_hidden_layers=6, num_attention_heads=6, num_key_value_heads=6,
            intermediate_size=1536, max_position_embeddings=positions, bos_token_id=0, eos_token_id=1,
            tie_word_embeddings=True,
        ))
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=vocabulary, hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        intermediate_size=1536, max_position_embeddings=positions, tie_word_embeddings=True,
    ))


def model(shape: str, variant: str) -> torch.nn.Module:
    lm = float_model(shape)
    if variant == "lora":
        from peft import LoraConfig, get_peft_model

        lm = get_peft_model(lm, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    if variant == "qat":
        quantize(lm)
    return lm.train()


def quantize(lm: torch.nn.Module) -> None:
    """Replaces the projections by layers with fake quantization."""
    from transformers.integrations.bitnet import AutoBitLinear

    for name, linear in list(lm.named_modules()):
        if isinstance(linear, torch.nn.Linear) and name != "lm_head":
            layer = AutoBitLinear(linear.in_features, linear.out_features, bias=False, online_quant=True)
            layer.weight = linear.weight
            lm.set_submodule(name, layer)


def main() -> None:
    shape, variant = sys.argv[1:]
    sequences, positions, vocabulary = SHAPES[shape]
    torch.manual_seed(0)
    lm = model(shape, variant)
    trained = [p for p in lm.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    for _ in sys.stdin:
        ids = torch.randint(vocabulary, (sequences, positions))
        start = time.perf_counter()
        loss = lm(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        print(1e3 * (time.perf_counter() - start), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(peak, peak, 0)


main()
