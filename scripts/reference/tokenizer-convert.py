"""Turns a vocabulary between the two forms that the oracles read, so that both can be asked about the same one.

    python3 tokenizer-convert.py to-json  FAMILY vocabulary.gguf  tokenizer.json
    python3 tokenizer-convert.py to-gguf  FAMILY tokenizer.json   vocabulary.gguf

`to-json` writes the family's published pre-tokenizer around the tokens and merges of a GGUF file. `to-gguf` writes what
llama.cpp's own converter writes: added tokens are control tokens when they are special or look it, else user-defined.
Needs: pip install gguf.
"""
import json
import re
import sys

import gguf

GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
DIGITS = {"type": "Digits", "individual_digits": True}
CASED = "41-5a 61-7a b5 c0-d6 d8-f6 f8-1ba 1bc-1bf 1c4-293 295-2af 370-373 376 377 37b-37d 37f 386 388-38a 38c 38e-3a1 3a3-3f5 3f7-481 48a-52f 531-556 10a0-10c5 13a0-13f5 13f8-13fd 1c90-1cba 1cbd-1cbf 1d00-1d2b 1d6b-1d77 1d79-1d9a 1e00-1f15 1f18-1f1d 1f20-1f45 1f48-1f4d 1f50-1f57 1f59 1f5b 1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fbc 1fbe 1fc2-1fc4 1fc6-1fcc 1fd0-1fd3 1fd6-1fdb 1fe0-1fec 1ff2-1ff4 1ff6-1ffc 2102 2107 210a-2113 2115 2119-211d 2124 2126 2128 212a-212d 212f-2134 2139 213c-213f 2145-2149 214e 2183 2184 2c00-2c7b 2c7e-2ce4 2ceb-2cee 2cf2 2cf3 a640-a66d a680-a69b a722-a76f a771-a787 a78b-a78e ab70-abbf fb00-fb06 fb13-fb17 ff21-ff3a ff41-ff5a 10400-1044f 104b0-104d3 104d8-104fb 10c80-10cb2 10cc0-10cf2 118a0-118df 1e900-1e943"


def split(regex):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def cased_class():
    return "".join("-".join(chr(int(end, 16)) for end in entry.split("-")) for entry in CASED.split())


# The published pre-tokenizers. Sources: the tokenizer.json of deepseek-llm-7b, deepseek-coder, gpt2 and SmolLM2.
PRE_TOKENIZERS = {
    "gpt-2": [GPT2],
    "smollm": [DIGITS, GPT2],
    "deepseek-llm": [
        split("[\r\n]"),
        split(r"\s?[" + cased_class() + "]+"),
        split("\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+"),
        split(r"\s+$"),
        split("[一-龥\u0800-一가-\ud7ff]+"),
        DIGITS,
        BYTES,
    ],
    "deepseek-coder": [
        split("[\r\n]"),
        split(r"\s?\p{L}+"),
        split(r"\s?\p{P}+"),
        split("[一-龥\u0800-一가-\ud7ff]+"),
        DIGITS,
        BYTES,
    ],
    "deepseek-v3": [
        split(r"\p{N}{1,3}"),
        split("[一-龥\u3040-ゟ゠-ヿ]+"),
        split("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"),
        BYTES,
    ],
    "llama-bpe": [
        split(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
        BYTES,
    ],
    "qwen2": [
        split(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
        BYTES,
    ],
}


def looks_special(text):
    return re.fullmatch(r"<[|｜].*[|｜]>", text) is not None


def skeleton(family):
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": PRE_TOKENIZERS[family]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": family == "llama-bpe", "vocab": {}, "merges": []},
    }


def to_json(family, source, target):
    fields = gguf.GGUFReader(source).fields
    strings = lambda key: [bytes(fields[key].parts[at]).decode() for at in fields[key].data]
    tokens, merges = strings("tokenizer.ggml.tokens"), strings("tokenizer.ggml.merges")
    types = [int(fields["tokenizer.ggml.token_type"].parts[at][0]) for at in fields["tokenizer.ggml.token_type"].data]
    out = skeleton(family)
    out["model"]["merges"] = merges
    for at, (text, kind) in enumerate(zip(tokens, types)):
        out["model"]["vocab"][text] = at
        if kind != 1:
            out["added_tokens"].append({"id": at, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                                        "normalized": False, "special": kind == 3 or looks_special(text)})
    json.dump(out, open(target, "w"), ensure_ascii=False)


def to_gguf(family, source, target):
    spec = json.load(open(source))
    texts = {at: (text, 1) for text, at in spec["model"]["vocab"].items()}
    for added in spec["added_tokens"]:
        control = added["special"] or looks_special(added["content"])
        texts[added["id"]] = (added["content"], 3 if control else 4)
    rows = [texts.get(at, (f"[PAD{at}]", 5)) for at in range(max(texts) + 1)]
    writer = gguf.GGUFWriter(target, "llama")
    for add in (writer.add_context_length, writer.add_embedding_length, writer.add_block_count, writer.add_feed_forward_length, writer.add_head_count):
        add(32)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(family)
    writer.add_token_list([text for text, _ in rows])
    writer.add_token_types([kind for _, kind in rows])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in spec["model"]["merges"]])
    ids = {text: at for at, (text, _) in texts.items()}
    for key, names in (("bos", ["<｜begin▁of▁sentence｜>", "<|begin_of_text|>"]), ("eos", ["<｜end▁of▁sentence｜>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>"])):
        found = next((ids[name] for name in names if name in ids), None)
        if found is not None:
            (writer.add_bos_token_id if key == "bos" else writer.add_eos_token_id)(found)
    writer.add_add_bos_token(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    {"to-json": to_json, "to-gguf": to_gguf}[sys.argv[1]](*sys.argv[2:5])
