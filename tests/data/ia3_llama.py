"""Writes g_adapter_ia3/ and ia3_llama.safetensors: what peft does with (IA)3 on g_tiny_llama.

    pip install peft==0.21.2 transformers==5.23.0 torch==2.15.0 safetensors
    python ia3_llama.py

The factors are 1 plus normal numbers. `llama.logits` and `llama.logits_merged` are those of `llama.input_ids`, and
`llama.grad.MODULE` the gradients of the factors of the last layer for the sum of the logits times `llama.grad_output`.
`bias.*` are two layers with biases, of which the second is a feed-forward module.
"""

import importlib.metadata
import json
import shutil
import tempfile
from pathlib import Path

import torch
from peft import IA3Config, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

FOLDER = Path(__file__).parent
BASE = FOLDER / "g_tiny_llama"
TARGET = FOLDER / "g_adapter_ia3"
TOKENS = torch.tensor([[5, 3, 17, 9, 0, 21, 40, 63], [2, 8, 11, 23, 4, 1, 33, 12]])
OUT = {"llama.input_ids": TOKENS}

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(11)


def normal(shape):
    return torch.randn(shape, generator=generator)


def draw_factors(model):
    for name, parameter in model.named_parameters():
        if "ia3_l" in name:
            parameter.data = 1 + 0.3 * normal(parameter.shape)


def llama():
    return LlamaForCausalLM.from_pretrained(BASE, attn_implementation="eager").eval()


def save_adapter(model):
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        TARGET.mkdir(exist_ok=True)
        shutil.copyfile(Path(folder) / "adapter_model.safetensors", TARGET / "adapter_model.safetensors")
        config = json.loads((Path(folder) / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = BASE.name
    (TARGET / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def language_model():
    model = get_peft_model(llama(), IA3Config(task_type="CAUSAL_LM")).eval()
    draw_factors(model)
    save_adapter(model)
    model = PeftModel.from_pretrained(llama(), TARGET, is_trainable=True).eval()
    logits = model(TOKENS).logits
    OUT["llama.logits"] = logits.detach().contiguous()
    OUT["llama.grad_output"] = normal(logits.shape)
    (logits * OUT["llama.grad_output"]).sum().backward()
    for name, parameter in model.named_parameters():
        if "layers.1." in name and "ia3_l" in name:
            module = name.split(".ia3_l")[0].removeprefix("base_model.model.")
            OUT[f"llama.grad.{module}"] = parameter.grad.flatten().contiguous()
    with torch.no_grad():
        OUT["llama.logits_merged"] = model.merge_and_unload()(TOKENS).logits.contiguous()


def layer_with_bias():
    base = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Linear(4, 5))
    for parameter in base.parameters():
        parameter.data = 0.5 * normal(parameter.shape)
    for layer in [0, 1]:
        OUT[f"bias.{layer}.weight"] = base[layer].weight.data.clone()
        OUT[f"bias.{layer}.bias"] = base[layer].bias.data.clone()
    model = get_peft_model(base, IA3Config(target_modules=["0", "1"], feedforward_modules=["1"]))
    draw_factors(model)
    OUT["bias.x"] = normal([3, 6])
    OUT["bias.y"] = model(OUT["bias.x"]).detach()
    for name, parameter in model.named_parameters():
        if "ia3_l" in name:
            OUT[f"bias.{name.split('.')[2]}.l"] = parameter.data.flatten().clone()
    merged = model.merge_and_unload()
    for layer in [0, 1]:
        OUT[f"bias.{layer}.merged_weight"] = merged[layer].weight.data.clone()
        OUT[f"bias.{layer}.merged_bias"] = merged[layer].bias.data.clone()


def main():
    language_model()
    layer_with_bias()
    save_file(OUT, FOLDER / "ia3_llama.safetensors")
    path = FOLDER / "manifest.json"
    whole = json.loads(path.read_text())
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ["peft", "transformers", "torch"]]
    dtypes = {torch.float32: "float32", torch.int64: "int64"}
    cases = {"llama": {"tensors": {}}, "bias": {"tensors": {}}}
    for name, tensor in OUT.items():
        case, tensor_name = name.split(".", 1)
        cases[case]["tensors"][tensor_name] = [dtypes[tensor.dtype], list(tensor.shape)]
    whole["files"]["ia3_llama.safetensors"] = {"about": f"{', '.join(versions)}: ia3_llama.py", "cases": cases}
    path.write_text(json.dumps(whole, indent=1) + "\n")


main()
