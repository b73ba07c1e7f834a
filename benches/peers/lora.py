"""Training steps of PyTorch, in turn with those of `cargo bench --bench results -- adapters`.

usage: lora.py full|lora

Takes a step for each line of the input and prints its milliseconds; at the end of the input, the peak memory of the
process in MiB. Needs torch, transformers and peft.
"""

import os
import resource
import sys
import time

os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import LlamaConfig, LlamaForCausalLM

BATCH, POSITIONS, VOCABULARY = 4, 256, 49152


def model(variant: str) -> torch.nn.Module:
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        intermediate_size=1536, max_position_embeddings=POSITIONS, tie_word_embeddings=True,
    )
    lm = LlamaForCausalLM(config)
    if variant == "lora":
        from peft import LoraConfig, get_peft_model

        lm = get_peft_model(lm, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    return lm.train()


def main() -> None:
    torch.manual_seed(0)
    lm = model(sys.argv[1])
    trained = [p for p in lm.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    for _ in sys.stdin:
        ids = torch.randint(VOCABULARY, (BATCH, POSITIONS))
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
