"""Writes the golden file of one tokenizer: ids by Hugging Face `tokenizers` for every golden string.

    python3 tokenizer-goldens.py FAMILY tokenizer.json strings.json.gz OUT.json.gz "where tokenizer.json is from"

`plain` has the ids with special tokens read as text, `special` those of the strings where recognising them makes a
difference, `decode` random ids with their text. All of them come from the whole vocabulary. `tokenizer` is that
tokenizer.json with the part of the vocabulary that these strings can touch: a token or a merge whose bytes occur in no
string can neither be made nor compete while one is encoded, so leaving it out changes no id.

Needs: pip install tokenizers.
"""
import gzip
import hashlib
import json
import random
import re
import sys
import unicodedata

import tokenizers

family, spec_path, strings_path, out_path, origin = sys.argv[1:6]
strings_body = gzip.open(strings_path).read()
strings = json.loads(strings_body)["strings"]
spec = json.load(open(spec_path))


def looks_special(text):
    """llama.cpp's converter and Hadal read such added tokens as control tokens, never in a user's text."""
    return re.fullmatch(r"<[|｜].*[|｜]>", text) is not None


def byte_alphabet():
    """GPT-2's printable character of every byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(0x100 + len(table) - len(printable))
    return table


oracle = json.loads(json.dumps(spec))
for added in oracle["added_tokens"]:
    added["special"] = added["special"] or looks_special(added["content"])
tokenizer = tokenizers.Tokenizer.from_str(json.dumps(oracle))


def ids(text, special):
    tokenizer.encode_special_tokens = not special
    return tokenizer.encode(text, add_special_tokens=False).ids


def part(spec):
    """The tokenizer.json with what the strings can touch."""
    alphabet = byte_alphabet()
    forms = {text for text in strings} | {unicodedata.normalize("NFC", text) for text in strings}
    touched = "\n".join("".join(alphabet[byte] for byte in text.encode()) for text in sorted(forms))
    added = {token["content"] for token in spec["added_tokens"]}
    model = spec["model"]
    vocab = {text: at for text, at in model["vocab"].items() if len(text) == 1 or text in added or text in touched}
    merges = [rule for rule in model["merges"] if (rule.replace(" ", "") if isinstance(rule, str) else "".join(rule)) in vocab]
    return {**spec, "model": {**model, "vocab": vocab, "merges": merges}}


plain = [ids(text, False) for text in strings]
special = {}
for at, text in enumerate(strings):
    found = ids(text, True)
    if found != plain[at]:
        special[str(at)] = found
small = part(spec)
rng = random.Random(7)
# Without added tokens: the oracle decodes them through the byte alphabet, so that DeepSeek LLM's token "ù" is lost.
added_texts = {added["content"] for added in spec["added_tokens"]}
normal = sorted(at for text, at in small["model"]["vocab"].items() if text not in added_texts)
single = [at for text, at in spec["model"]["vocab"].items() if len(text) == 1 and text not in added_texts]  # single bytes: mostly broken UTF-8
decode = []
for count, longest, pool in ((300, 12, normal), (200, 8, single)):
    for _ in range(count):
        sample = [rng.choice(pool) for _ in range(rng.randint(1, longest))]
        decode.append([sample, tokenizer.decode(sample, skip_special_tokens=False)])
certificate = {
    "made-by": "scripts/reference/tokenizer-goldens.py",
    "family": family,
    "vocabulary": origin,
    "vocabulary-tokens": tokenizer.get_vocab_size(),
    "strings-sha256": hashlib.sha256(strings_body).hexdigest(),
    "versions": f"tokenizers {tokenizers.__version__}, Python {sys.version.split()[0]}, Unicode {unicodedata.unidata_version}",
    "date": "2026-11-24",
}
golden = {"certificate": certificate, "tokenizer": small, "plain": plain, "special": special, "decode": decode}
body = json.dumps(golden, ensure_ascii=False, separators=(",", ":"))
with gzip.GzipFile(out_path, "wb", compresslevel=9, mtime=0) as out:
    out.write(body.encode())
print(family, len(plain), "strings,", len(special), "with special tokens,", len(small["model"]["vocab"]), "tokens,", len(small["model"]["merges"]), "merges")
