"""Compares llama.cpp's tokens with those of Hugging Face's library.

    python tests/interop/gguf_tokenize.py model.gguf tokenizer.json text.txt

llama.cpp (the package `xllamacpp`) loads the model and tokenizes pieces of the text, with and without
the tokens around it. Prints how many pieces there are and those that differ, as JSON; ends with 1 if
any does.
"""

import json
import os
import random
import sys
import urllib.request

import xllamacpp
from tokenizers import Tokenizer

PIECES = 300


def serve(path):
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = 64
    params.warmup = False
    params.port = 0
    return xllamacpp.Server(params)


def tokenize(server, text, add_special):
    body = {"content": text, "add_special": add_special, "parse_special": True}
    request = urllib.request.Request(
        server.listening_address + "/tokenize",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    return json.load(urllib.request.urlopen(request))["tokens"]


def pieces(text):
    draw = random.Random(0)
    for _ in range(PIECES):
        start = draw.randrange(len(text))
        yield text[start : start + draw.randint(1, 400)]
    yield from ["", " ", "  two  spaces \n\n", "I've DON'T", "1 12 123 1234", "Gebäck 🦙 日本語"]


def main():
    model, tokenizer, text = sys.argv[1:4]
    server = serve(model)
    tokenizer = Tokenizer.from_file(tokenizer)
    with open(text, encoding="utf-8") as file:
        text = file.read()
    compared, different = 0, []
    for piece in pieces(text):
        for add_special in (False, True):
            compared += 1
            found = tokenize(server, piece, add_special)
            expected = tokenizer.encode(piece, add_special_tokens=add_special).ids
            if found != expected:
                different.append({"text": piece, "llama.cpp": found, "tokenizers": expected})
    json.dump({"compared": compared, "different": different}, sys.stdout)
    sys.stdout.flush()
    # The server's threads do not end by themselves.
    os._exit(bool(different))


if __name__ == "__main__":
    main()
