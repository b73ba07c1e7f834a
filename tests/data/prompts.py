"""Writes prompts.safetensors with its part of the manifest, and the folders prompt_*: prompts of peft on g_tiny_llama.

    pip install peft==0.21.2 transformers==5.23.0 torch==2.15.0 safetensors
    python prompts.py

Every parameter of a prompt is randn of generator 1, in the order of `named_parameters`. For each method
`<method>.logits` are those of the tokens, `<method>.grad` is the gradient of `sum(logits * probe)` with respect to
the embedding, and `<method>.parameter.<name>` are the parameters before the prompt is computed and saved. `with_head`
trains the head, too, which is 0.1 * randn.
"""

import json
import os
from pathlib import Path

import peft
import torch
import transformers
from peft import PeftModel, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

# Folders name the model by its path.
os.chdir(Path(__file__).parent)
TASK = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 3}
METHODS = {
    "prefix": PrefixTuningConfig(**TASK),
    "prefix_projected": PrefixTuningConfig(**TASK, prefix_projection=True, encoder_hidden_size=6),
    "p_tuning": PromptEncoderConfig(**TASK, encoder_hidden_size=6),
    "prompt_tuning": PromptTuningConfig(**TASK),
    "with_head": PromptTuningConfig(**TASK, modules_to_save=["lm_head"]),
}


def base():
    return AutoModelForCausalLM.from_pretrained("g_tiny_llama", attn_implementation="eager")


def of_tokens(model, tokens):
    """Logits of the tokens, without those of virtual tokens before them."""
    return model(input_ids=tokens).logits[:, -tokens.shape[1] :]


torch.set_num_threads(1)
tokens = torch.randint(0, base().config.vocab_size, (2, 7), generator=torch.Generator().manual_seed(2))
probe = torch.randn(2, 7, base().config.vocab_size, generator=torch.Generator().manual_seed(3))
cases = {"base": {"input_ids": tokens, "probe": probe, "logits": of_tokens(base(), tokens)}}
for name, config in METHODS.items():
    model = get_peft_model(base(), config)
    generator = torch.Generator().manual_seed(1)
    encoder = model.prompt_encoder["default"]
    case = cases.setdefault(name, {})
    for path, parameter in encoder.named_parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
        case[f"parameter.{path}"] = parameter.data.clone()
    if config.modules_to_save:
        head = model.base_model.lm_head.modules_to_save["default"].weight
        head.data = 0.1 * torch.randn(head.shape, generator=generator)
    case["logits"] = of_tokens(model, tokens)
    (case["logits"] * probe).sum().backward()
    case["grad"] = encoder.embedding.weight.grad
    folder = Path(f"prompt_{name}")
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    loaded = of_tokens(PeftModel.from_pretrained(base(), folder), tokens)
    assert torch.allclose(loaded, case["logits"], atol=1e-6, rtol=0)

tensors = {f"{case}.{name}": t.detach().contiguous() for case, ts in cases.items() for name, t in ts.items()}
save_file(tensors, "prompts.safetensors")
manifest = json.loads(Path("manifest.json").read_text())
manifest["files"]["prompts.safetensors"] = {
    "about": f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}: prompts.py",
    "cases": {
        case: {"tensors": {name: [str(t.dtype).removeprefix("torch."), list(t.shape)] for name, t in ts.items()}}
        for case, ts in cases.items()
    },
}
Path("manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
