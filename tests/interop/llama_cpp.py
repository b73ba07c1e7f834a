"""Runs GGUF files with llama.cpp.

usage: llama_cpp.py INPUT FILE...

INPUT is JSON: `prompts`, lists of tokens to go on from; `new_tokens`, how many; `text`, tokens whose
log-probabilities are asked for. Prints JSON by the name of each file: `greedy`, the tokens after each
prompt, and `logprobs`, of each token of the text but the first, given those before. Where INPUT has
`adapters`, the file of a LoRA adapter by the name of a file, it is active.
"""

import json
import sys
from pathlib import Path

import xllamacpp as llama


def server(path: str, adapter: str | None) -> llama.Server:
    params = llama.CommonParams()
    params.model.path = path
    if adapter is not None:
        params.lora_adapters = [llama.CommonAdapterLoraInfo(adapter, 1.0)]
    params.n_ctx = 256
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.warmup = False
    # As in the model of this crate.
    params.cache_type_k = llama.ggml_type.GGML_TYPE_F32
    params.cache_type_v = llama.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return llama.Server(params)


def complete(model: llama.Server, prompt: list[int], new_tokens: int, alternatives: int) -> list[dict]:
    """Returns the new tokens, each with its likeliest alternatives and their log-probabilities."""
    result = model.handle_completions(
        {
            "prompt": prompt,
            "max_tokens": new_tokens,
            "temperature": 0.0,
            "logprobs": alternatives,
            "n_probs": alternatives,
            "cache_prompt": False,
            "ignore_eos": True,
        }
    )
    if "choices" not in result:
        sys.exit(f"llama.cpp: {result}")
    return result["choices"][0]["logprobs"]["content"]


def greedy(model: llama.Server, prompt: list[int], new_tokens: int) -> list[int]:
    return [token["id"] for token in complete(model, prompt, new_tokens, 1)]


def logprob(model: llama.Server, prefix: list[int], token: int, vocabulary: int) -> float:
    (new,) = complete(model, prefix, 1, vocabulary)
    return {entry["id"]: entry["logprob"] for entry in new["top_logprobs"]}[token]


given = json.loads(Path(sys.argv[1]).read_text())
results = {}
for path in sys.argv[2:]:
    model = server(path, given.get("adapters", {}).get(Path(path).name))
    text = given["text"]
    results[Path(path).name] = {
        "greedy": [greedy(model, prompt, given["new_tokens"]) for prompt in given["prompts"]],
        "logprobs": [
            logprob(model, text[:i], text[i], given["vocabulary"]) for i in range(1, len(text))
        ],
    }
json.dump(results, sys.stdout)
