"""Writes the golden file of one tokenizer: ids by Hugging Face `tokenizers` for every golden string.

    python3 tokenizer-goldens.py FAMILY tokenizer.json strings.json.gz OUT.json.gz "where tokenizer.json is from"

`plain` has the ids with special tokens read as text, `special` those of the strings where recognising them makes a
difference, `decode` random ids with their text. Needs: pip install tokenizers.
"""
import gzip
import hashlib
import json
import random
import re
import sys

import tokenizers

family, spec_path, strings_path, out_path, origin = sys.argv[1:6]
strings_body = gzip.open(strings_path).read()
strings = json.loads(strings_body)["strings"]
spec = json.load(open(spec_path))
# llama.cpp and Hadal read added tokens that look special as control tokens, never in a user's text.
for added in spec["added_tokens"]:
    added["special"] = added["special"] or re.fullmatch(r"<[|｜].*[|｜]>", added["content"]) is not None
tokenizer = tokenizers.Tokenizer.from_str(json.dumps(spec))


def ids(text, special):
    tokenizer.encode_special_tokens = not special
    return tokenizer.encode(text, add_special_tokens=False).ids


plain = [ids(text, False) for text in strings]
special = {}
for at, text in enumerate(strings):
    found = ids(text, True)
    if found != plain[at]:
        special[str(at)] = found
rng = random.Random(7)
normal = sorted(spec["model"]["vocab"].values())
decode = []
for _ in range(300):
    sample = [rng.choice(normal) for _ in range(rng.randint(1, 12))]
    decode.append([sample, tokenizer.decode(sample, skip_special_tokens=False)])
single = [at for text, at in spec["model"]["vocab"].items() if len(text) == 1]
for _ in range(200):  # single bytes: mostly broken UTF-8
    sample = [rng.choice(single) for _ in range(rng.randint(1, 8))]
    decode.append([sample, tokenizer.decode(sample, skip_special_tokens=False)])
certificate = {
    "made-by": "scripts/reference/tokenizer-goldens.py",
    "family": family,
    "vocabulary": origin,
    "vocabulary-tokens": tokenizer.get_vocab_size(),
    "strings-sha256": hashlib.sha256(strings_body).hexdigest(),
    "versions": f"tokenizers {tokenizers.__version__}, Python {sys.version.split()[0]}",
    "date": "2026-11-24",
}
body = json.dumps({"certificate": certificate, "plain": plain, "special": special, "decode": decode}, ensure_ascii=False, separators=(",", ":"))
with gzip.GzipFile(out_path, "wb", compresslevel=9, mtime=0) as out:
    out.write(body.encode())
print(family, len(plain), "strings,", len(special), "with special tokens")
