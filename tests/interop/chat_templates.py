"""Renders chat templates as transformers does, for `chat_templates.rs`.

    python tests/interop/chat_templates.py cases.json

The file is a list of cases with `templates`, `conversation` (a text of JSON with `messages` and as far as
they are needed `tools`, `documents`, `chat_template_kwargs`), `special_tokens` and `add_generation_prompt`.
Prints a list of objects with `text`, and with `spans` of what generation blocks write if there are any; or
with the `error`. The clock stands at 2024-02-29 09:05:07.
"""

import datetime
import json
import sys

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 2, 29, 9, 5, 7)


chat_template_utils.datetime = Clock


def tokenizer(case):
    templates = case["templates"]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")),
        chat_template=templates[0]["template"] if len(templates) == 1 else templates,
        **dict(case["special_tokens"]),
    )


def spans(loaded, messages, arguments):
    """Returns the character ranges of generation blocks, as `return_assistant_tokens_mask` finds them."""
    template = loaded.get_chat_template(None, arguments["tools"])
    if "endgeneration" not in template:
        return None
    messages = [{k: v for k, v in message.items() if v is not None} for message in messages]
    _, indices = chat_template_utils.render_jinja_template(
        conversations=[messages],
        chat_template=template,
        return_assistant_tokens_mask=True,
        **{**loaded.special_tokens_map, **arguments},
    )
    return indices[0]


def render(case):
    conversation = json.loads(case["conversation"])
    arguments = {
        "tools": conversation.get("tools"),
        "documents": conversation.get("documents"),
        **conversation.get("chat_template_kwargs", {}),
    }
    messages, prompt = conversation["messages"], case["add_generation_prompt"]
    try:
        loaded = tokenizer(case)
        text = loaded.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=prompt, **arguments
        )
        return {"text": text, "spans": spans(loaded, messages, arguments)}
    except Exception as error:  # A template may raise anything.
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    json.dump([render(case) for case in cases], sys.stdout)


if __name__ == "__main__":
    main()
