"""Makes test/golden/quantize/types.json: the type that llama.cpp's quantizer gives every tensor of small models.

Run: python scripts/reference/quantize-types.py LIBRARIES OUT
  LIBRARIES  folder with libllama and libggml (node-llama-cpp's bins/linux-x64)
  OUT        test/golden/quantize/types.json
Needs: gguf, numpy.
"""

import ctypes
import datetime
import glob
import json
import os
import re
import sys
import tempfile

import gguf
import numpy as np

from llama_quantize import Importance, library

TYPES = {
    "Q8_0": 7, "Q6_K": 18, "Q5_K_M": 17, "Q5_K_S": 16, "Q5_1": 9, "Q5_0": 8, "Q4_K_M": 15, "Q4_K_S": 14,
    "IQ4_NL": 25, "IQ4_XS": 30, "Q4_1": 3, "Q4_0": 2, "MXFP4": 38, "Q3_K_L": 13, "Q3_K_M": 12, "Q3_K_S": 11,
    "Q2_K": 10, "IQ3_M": 27, "IQ3_S": 26, "IQ3_XXS": 23, "IQ2_M": 29, "IQ2_S": 28, "IQ2_XS": 20, "TQ2_0": 37,
    "IQ2_XXS": 19, "IQ1_M": 31, "TQ1_0": 36, "IQ1_S": 24,
}
# What llama.cpp makes with an importance matrix alone.
NEEDY = {"IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"}

# name: architecture, layers, hidden, heads, kv heads, inter, tied, kind
MODELS = {
    "llama, untied": dict(arch="llama", layers=17, hidden=256, heads=8, kv=8, inter=512, tied=False),
    "llama, tied, four query heads a key head": dict(arch="llama", layers=16, hidden=256, heads=8, kv=2, inter=512, tied=True),
    "llama, 80 layers, two query heads a key head": dict(
        arch="llama", layers=80, hidden=256, heads=4, kv=2, inter=256, tied=False,
        only={"Q4_K_M", "Q3_K_S", "Q3_K_M", "IQ4_XS", "IQ3_XXS", "IQ3_M", "Q2_K", "IQ2_M", "IQ1_S"},
    ),
    "llama, rows of 96": dict(arch="llama", layers=8, hidden=96, heads=4, kv=4, inter=288, tied=True),
    "deepseek2, split": dict(arch="deepseek2", layers=9, hidden=256, heads=4, kv=1, inter=512, tied=False, split=True),
    "deepseek2, merged": dict(arch="deepseek2", layers=9, hidden=256, heads=4, kv=4, inter=512, tied=False, split=False),
}


def ones(shapes):
    """An importance matrix of ones for every matrix; the arrays are kept by the caller."""
    entries, kept = [], []
    for name, shape in shapes.items():
        if len(shape) < 2:
            continue
        data = np.ones(shape[0] * (shape[2] if len(shape) > 2 else 1), dtype=np.float32)
        kept.append(data)
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entries.append(Importance(name.encode(), pointer, data.size))
    entries.append(Importance(None, None, 0))
    return (Importance * len(entries))(*entries), kept


def write(path, m):
    w = gguf.GGUFWriter(path, m["arch"])
    w.add_block_count(m["layers"])
    w.add_context_length(128)
    w.add_embedding_length(m["hidden"])
    w.add_feed_forward_length(m["inter"])
    w.add_head_count(m["heads"])
    w.add_head_count_kv(m["kv"])
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(32)
    tensors = {}

    def add(name, *shape):
        tensors[name] = list(reversed(shape))
        w.add_tensor(name, np.zeros(shape, dtype=np.float32))

    d, inter, heads = m["hidden"], m["inter"], m["heads"]
    add("token_embd.weight", 32, d)
    add("output_norm.weight", d)
    if not m["tied"]:
        add("output.weight", 32, d)
    if m["arch"] == "deepseek2":
        w.add_rope_dimension_count(32)
        w.add_q_lora_rank(256)
        w.add_kv_lora_rank(256)
        w.add_key_length(288 if m["split"] else 160)
        w.add_value_length(256 if m["split"] else 128)
        w.add_key_length_mla(160)
        w.add_value_length_mla(128)
        w.add_leading_dense_block_count(1)
        w.add_expert_count(4)
        w.add_expert_used_count(2)
        w.add_expert_shared_count(1)
        w.add_expert_feed_forward_length(256)
        w.add_expert_weights_scale(1.0)
        w.add_expert_gating_func(gguf.ExpertGatingFuncType.SOFTMAX)
    for i in range(m["layers"]):
        b = f"blk.{i}."
        add(b + "attn_norm.weight", d)
        add(b + "ffn_norm.weight", d)
        if m["arch"] == "llama":
            hd = d // heads
            add(b + "attn_q.weight", d, d)
            add(b + "attn_k.weight", m["kv"] * hd, d)
            add(b + "attn_v.weight", m["kv"] * hd, d)
            add(b + "attn_output.weight", d, d)
        else:
            add(b + "attn_q_a.weight", 256, d)
            add(b + "attn_q_a_norm.weight", 256)
            add(b + "attn_q_b.weight", heads * 160, 256)
            add(b + "attn_kv_a_mqa.weight", 288, d)
            add(b + "attn_kv_a_norm.weight", 256)
            if m["split"]:
                add(b + "attn_k_b.weight", heads, 256, 128)
                add(b + "attn_v_b.weight", heads, 128, 256)
            else:
                add(b + "attn_kv_b.weight", heads * 256, 256)
            add(b + "attn_output.weight", d, heads * 128)
        if m["arch"] == "deepseek2" and i >= 1:
            add(b + "ffn_gate_inp.weight", 4, d)
            for part in ("gate", "up"):
                add(b + f"ffn_{part}_exps.weight", 4, 256, d)
                add(b + f"ffn_{part}_shexp.weight", 256, d)
            add(b + "ffn_down_exps.weight", 4, d, 256)
            add(b + "ffn_down_shexp.weight", d, 256)
        else:
            add(b + "ffn_gate.weight", inter, d)
            add(b + "ffn_up.weight", inter, d)
            add(b + "ffn_down.weight", d, inter)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return tensors


def main(folder, out):
    out = os.path.abspath(out)
    said = []
    lib = library(folder, said.append)
    result = {
        "certificate": {
            "script": "scripts/reference/quantize-types.py",
            "oracle": "llama_model_quantize of llama.cpp " + os.path.basename(glob.glob("libllama.v*")[0]),
            "gguf": getattr(gguf, "__version__", "0.19.0"),
            "date": datetime.date.today().isoformat(),
        },
        "models": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, model in MODELS.items():
            source = os.path.join(folder, "a.gguf")
            shapes = write(source, model)
            matrix, kept = ones(shapes)

            def quantized(label, importance):
                params = lib.llama_model_quantize_default_params()
                params.nthread, params.ftype, params.dry_run = 2, TYPES[label], True
                if importance:
                    params.imatrix = ctypes.cast(matrix, ctypes.c_void_p)
                said.clear()
                if lib.llama_model_quantize(source.encode(), b"unused", ctypes.byref(params)) != 0:
                    raise SystemExit(f"{name} to {label} failed")
                return packed(told("".join(said)))

            types = {}
            for label in (t for t in TYPES if t in model.get("only", TYPES)):
                entry = types[label] = {}
                if label not in NEEDY:
                    entry["plain"] = quantized(label, False)
                weighed = quantized(label, True)
                if weighed != entry.get("plain"):
                    entry["importance"] = weighed
            result["models"].append({
                "name": name, "layers": model["layers"], "groupSize": model["heads"] // model["kv"],
                "experts": 4 if model["arch"] == "deepseek2" else 0, "shapes": shapes, "types": types,
            })
    with open(out, "w") as f:
        json.dump(result, f, separators=(",", ":"))
        f.write("\n")


def told(text):
    """What a dry run says of every tensor: `[ 1/ 9] name - [shape], type = f32, size = 1 MiB -> 1 MiB (q4_K)`."""
    types = {}
    for name, rest in re.findall(r"^\[ *\d+/ *\d+\] (\S+) +- (.*)$", text, re.MULTILINE):
        kind = re.search(r"\((\w+)\)$", rest)
        types[name] = kind[1].upper() if kind else "F32"
    return types


def packed(types):
    """Type -> tensors that have it, F32 left out: names with * for the number of the block, and those numbers."""
    groups = {}
    for tensor, kind in types.items():
        if kind == "F32":
            continue
        block = re.match(r"blk\.(\d+)\.", tensor)
        name = f"blk.*.{tensor[block.end():]}" if block else tensor
        layers = groups.setdefault(kind, {}).setdefault(name, [])
        if block:
            layers.append(int(block[1]))
    return groups


main(*sys.argv[1:])
