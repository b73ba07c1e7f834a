"""Writes l_peft.safetensors, and the models l_llama and l_tied with adapters of them: what peft does with LoRA.

    pip install peft==0.21.2 transformers==5.23.0 bitsandbytes==0.50.2 torch==2.15.0 safetensors
    python peft_lora.py

l_llama has biases and a head, l_tied has the embedding table as its head.
"""

import inspect
import json
import shutil
import tempfile
import warnings
from pathlib import Path

import bitsandbytes
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import loftq_utils
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

FOLDER = Path(__file__).parent
TOKENS = torch.tensor([[5, 3, 17, 9, 0, 21], [2, 8, 11, 23, 4, 1]])
OUT = {"input_ids": TOKENS}

warnings.filterwarnings("ignore")
generator = torch.Generator().manual_seed(7)


def normal(shape, deviation):
    return torch.randn(shape, generator=generator) * deviation


def redraw(parameters, deviation):
    for parameter in parameters:
        parameter.data = normal(parameter.shape, deviation)


def save_models():
    for name, tied in [("l_llama", False), ("l_tied", True)]:
        config = LlamaConfig(
            vocab_size=24, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, attention_bias=not tied, tie_word_embeddings=tied, max_position_embeddings=32,
            bos_token_id=1, eos_token_id=2,
        )
        model = LlamaForCausalLM(config)
        redraw(model.parameters(), 0.2)
        for name_of, parameter in model.named_parameters():
            if "norm" in name_of:
                parameter.data += 1
        model.save_pretrained(FOLDER / name)


def model(name):
    return LlamaForCausalLM.from_pretrained(FOLDER / name)


def logits(lm):
    with torch.no_grad():
        return lm.eval()(TOKENS).logits.contiguous()


def copy_adapter(source, name):
    target = FOLDER / f"l_adapter_{name}"
    target.mkdir(exist_ok=True)
    shutil.copyfile(Path(source) / "adapter_model.safetensors", target / "adapter_model.safetensors")
    config = json.loads((Path(source) / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = Path(config["base_model_name_or_path"]).name
    (target / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def adapted(name, base, **config):
    """Saves an adapter of which each trained value is drawn anew, and its logits."""
    lm = get_peft_model(model(base), LoraConfig(task_type="CAUSAL_LM", lora_alpha=3, **config))
    redraw([p for p in lm.parameters() if p.requires_grad], 0.2)
    with tempfile.TemporaryDirectory() as folder:
        lm.save_pretrained(folder)
        copy_adapter(folder, name)
    again = PeftModel.from_pretrained(model(base), FOLDER / f"l_adapter_{name}")
    OUT[f"{name}.logits"] = logits(lm)
    assert torch.equal(logits(again), OUT[f"{name}.logits"])
    if base == "l_llama":
        OUT[f"{name}.merged"] = logits(again.merge_and_unload())


def beside():
    for base in ["l_llama", "l_tied"]:
        OUT[f"{base}.logits"] = logits(model(base))
    adapted("bias_all", "l_llama", r=2, bias="all", modules_to_save=["lm_head", "model.norm"])
    adapted("bias_lora_only", "l_llama", r=2, bias="lora_only", modules_to_save=["embed_tokens"], use_rslora=True)
    adapted("tied_head", "l_tied", r=2, modules_to_save=["lm_head"])
    adapted("tied_embedding", "l_tied", r=2, modules_to_save=["embed_tokens"])


def embeddings():
    adapted("ends", "l_llama", r=2, target_modules=["embed_tokens", "lm_head", "q_proj"])
    adapted("tied_ends", "l_tied", r=2, target_modules=["embed_tokens", "v_proj"])
    adapted("tied_adapted_head", "l_tied", r=2, target_modules=["lm_head", "v_proj"])


def weighted():
    base = model("l_llama")
    config = dict(task_type="CAUSAL_LM", r=2, lora_alpha=3)
    lm = get_peft_model(base, LoraConfig(**config, target_modules=["q_proj", "v_proj"]), "one")
    lm.add_adapter("two", LoraConfig(**config, target_modules=["q_proj", "up_proj"], use_rslora=True))
    redraw([p for n, p in lm.named_parameters() if "lora_" in n], 0.2)
    with tempfile.TemporaryDirectory() as folder:
        lm.save_pretrained(folder)
        for name in ["one", "two"]:
            copy_adapter(Path(folder) / name, name)
    for kind in ["cat", "linear"]:
        lm.add_weighted_adapter(["one", "two"], [0.7, -1.5], kind, combination_type=kind)
        lm.set_adapter(kind)
        OUT[f"weighted_{kind}.logits"] = logits(lm)


def converted():
    """PiSSA and OLoRA, trained, as plain LoRA of the original base."""
    for init in ["pissa", "pissa_niter_4", "olora"]:
        for rslora in [False, True]:
            config = LoraConfig(
                task_type="CAUSAL_LM", r=2, lora_alpha=3, init_lora_weights=init, use_rslora=rslora,
                target_modules=["q_proj", "down_proj"],
            )
            lm = get_peft_model(model("l_llama"), config)
            name = f"{init}_{'rs' if rslora else ''}lora"
            with tempfile.TemporaryDirectory() as folder:
                lm.peft_config["default"].init_lora_weights = True
                lm.save_pretrained(f"{folder}/initial")
                if init == "pissa" and not rslora:
                    tensors = {k: v for k, v in lm.state_dict().items() if "layers.0.self_attn.q_proj.lora" in k}
                    product = 1.5 * next(v for k, v in tensors.items() if "lora_B" in k) @ next(
                        v for k, v in tensors.items() if "lora_A" in k
                    )
                    OUT["pissa.product"] = product.contiguous()
                lm.peft_config["default"].init_lora_weights = init
                for parameter in lm.parameters():
                    if parameter.requires_grad:
                        parameter.data += normal(parameter.shape, 0.1)
                lm.save_pretrained(f"{folder}/new", path_initial_model_for_weight_conversion=f"{folder}/initial")
                if init == "pissa":
                    copy_adapter(f"{folder}/new", name)
                    OUT[f"{name}.logits"] = logits(lm)
                again = PeftModel.from_pretrained(model("l_llama"), f"{folder}/new")
                assert (logits(again) - logits(lm)).abs().max() < 1e-4


def loftq():
    """peft's loftq_init on the CPU."""
    source = inspect.getsource(loftq_utils.loftq_init).replace('"cuda"', '"cpu"')
    scope = dict(vars(loftq_utils), bnb=bitsandbytes)
    exec(source, scope)
    # Rows of a whole block: the kernel of bitsandbytes 0.50.2 for the CPU is wrong otherwise.
    weight = normal([48, 64], 0.1)
    OUT["loftq.weight"] = weight
    for iterations in [1, 2, 5]:
        base, a, b = scope["loftq_init"](weight, num_bits=4, reduced_rank=4, num_iter=iterations)
        OUT[f"loftq.{iterations}.base"] = base.contiguous()
        OUT[f"loftq.{iterations}.product"] = (b @ a).contiguous()


save_models()
beside()
embeddings()
weighted()
converted()
loftq()
save_file(OUT, FOLDER / "l_peft.safetensors")
