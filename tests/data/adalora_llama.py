"""Writes adalora_llama/, an AdaLoRA adapter of g_tiny_llama that peft trained and pruned, and adalora_llama_io.safetensors
with the logits of the model with it.

    pip install peft==0.21.2 torch==2.15.0 transformers==5.23.0 safetensors
    python adalora_llama.py
"""

import os
from pathlib import Path

import torch
from peft import AdaLoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

os.chdir(Path(__file__).parent)
FOLDER = Path("adalora_llama")
STEPS = 12


def base():
    return AutoModelForCausalLM.from_pretrained("g_tiny_llama", dtype=torch.float32)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = AdaLoraConfig(
        task_type="CAUSAL_LM", init_r=4, target_r=2, tinit=2, tfinal=3, deltaT=2, total_step=STEPS, lora_alpha=16,
        target_modules=["q_proj", "v_proj", "down_proj"],
    )
    model = get_peft_model(base(), config)
    for name, parameter in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    tokens = torch.randint(0, model.config.vocab_size, (2, 10))
    for step in range(STEPS):
        loss = model(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.base_model.update_and_allocate(step)
    model.save_pretrained(FOLDER)
    (FOLDER / "README.md").unlink()

    model = PeftModel.from_pretrained(base(), FOLDER).eval()
    with torch.no_grad():
        out = {"input_ids": tokens, "logits_adalora": model(input_ids=tokens).logits.contiguous()}
        with model.disable_adapter():
            out["logits_base"] = model(input_ids=tokens).logits.contiguous()
        out["logits_adalora_merged"] = model.merge_and_unload()(input_ids=tokens).logits.contiguous()
    save_file(out, "adalora_llama_io.safetensors")


main()
