"""Writes the golden file of the manners of small tokenizers: added tokens, normalisers, byte fallback.

    python3 tokenizer-manners.py OUT.json.gz

Each case is a whole tokenizer.json of a few hundred tokens, made here, with ids by Hugging Face `tokenizers` for
seeded random texts: `plain` with special tokens read as text, `special` with them recognised, `framed` with the
tokens of the template added, `text` the decoded ids of `special`.

Needs: pip install tokenizers.
"""
import gzip
import json
import random
import sys

import tokenizers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

RNG = random.Random(20261125)
CORPUS = ["the cat sat on the mat and the dog sat on the log", "naïve café übermäßig", "let x = fn(a, b) + 10;", "低い月 月が出た"] * 20
NAMES = ["<a>", "<ab>", "word", "<中>", "\u00e9中", "x y", "<|c|>", "tail>"]
PIECES = NAMES + [" ", "  ", "\t", "\n", "\u00a0", "\u3000", "a", "word", "wor", "_", "é", "e\u0301", "\u0301", "1", "中", "the", " cat", ".", "<", ">", "🦙", "\ufeff", "\x85"]


def added():
    """Added tokens with manners by the bits of a seeded number."""
    tokens = []
    for name in NAMES:
        bits = RNG.randrange(32)
        tokens.append({"content": name, "lstrip": bool(bits & 1), "rstrip": bool(bits & 2), "single_word": bool(bits & 4),
                       "normalized": bool(bits & 8), "special": bool(bits & 16) or name == "<|c|>"})
    return tokens


def with_added(spec, tokens):
    """The specification with added tokens behind its vocabulary, which is where the oracle numbers them."""
    size = len(spec["model"]["vocab"])
    kept = [token for token in spec["added_tokens"] if token["content"] in spec["model"]["vocab"]]
    return {**spec, "added_tokens": kept + [{"id": size + at, **token} for at, token in enumerate(tokens)]}


def byte_level(normalizer=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=340, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return json.loads(tokenizer.to_str())


def characters(normalizer, pre_tokenizer, decoder):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = [token for token in spec["added_tokens"] if token["content"] not in bytes_]
    return spec


def build():
    fused = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    prepend = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    cases = []
    for at in range(6):
        cases.append((f"byte-level {at}", with_added(byte_level([None, normalizers.NFC(), normalizers.NFKC()][at % 3]), added())))
    cases.append(("prepend", characters(prepend, None, fused)))
    plain = [{**token, "normalized": False} for token in added()]  # the oracle decodes others with the prefix
    cases.append(("prepend, added", with_added(cases[-1][1], plain)))
    for scheme in ("always", "first", "never"):
        space = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
        decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="never", split=False)])
        cases.append((f"metaspace {scheme}", characters(None, space, decoder if scheme == "never" else fused)))
    return cases


def main():
    out = []
    for name, spec in build():
        tokenizer = Tokenizer.from_str(json.dumps(spec))
        for token in spec["added_tokens"]:
            assert tokenizer.token_to_id(token["content"]) == token["id"], token

        def ids(text, special, framed=False):
            tokenizer.encode_special_tokens = not special
            return tokenizer.encode(text, add_special_tokens=framed).ids

        texts = ["", " ", "word", " word ", "<a>", "the cat"]
        texts += ["".join(RNG.choice(PIECES) for _ in range(RNG.randint(1, 9))) for _ in range(250)]
        special = [ids(text, True) for text in texts]
        out.append({
            "name": name,
            "tokenizer": spec,
            "texts": texts,
            "plain": [ids(text, False) for text in texts],
            "special": special,
            "framed": ids("the cat", True, True),
            "text": [tokenizer.decode(found, skip_special_tokens=False) for found in special],
        })
    certificate = {
        "made-by": "scripts/reference/tokenizer-manners.py",
        "inputs": "none; seed 20261125",
        "versions": f"tokenizers {tokenizers.__version__}, Python {sys.version.split()[0]}",
        "date": "2026-11-24",
    }
    body = json.dumps({"certificate": certificate, "cases": out}, ensure_ascii=False, separators=(",", ":"))
    with gzip.GzipFile(sys.argv[1], "wb", compresslevel=9, mtime=0) as file:
        file.write(body.encode())
    print(len(out), "cases,", len(body), "bytes")


main()
