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
import sys
import tempfile

import gguf
import numpy as np

TYPES = {
    "Q8_0": 7, "Q6_K": 18, "Q5_K_M": 17, "Q5_K_S": 16, "Q5_1": 9, "Q5_0": 8, "Q4_K_M": 15, "Q4_K_S": 14,
    "IQ4_NL": 25, "IQ4_XS": 30, "Q4_1": 3, "Q4_0": 2, "MXFP4": 38, "Q3_K_L": 13, "Q3_K_M": 12, "Q3_K_S": 11,
    "Q2_K": 10,
}

# name: architecture, layers, hidden, heads, kv heads, inter, tied, kind
MODELS = {
    "llama, untied": dict(arch="llama", layers=17, hidden=256, heads=8, kv=8, inter=512, tied=False),
    "llama, tied, four query heads a key head": dict(arch="llama", layers=16, hidden=256, heads=8, kv=2, inter=512, tied=True),
    "llama, rows of 96": dict(arch="llama", layers=8, hidden=96, heads=4, kv=4, inter=288, tied=True),
    "deepseek2, split": dict(arch="deepseek2", layers=9, hidden=256, heads=4, kv=1, inter=512, tied=False, split=True),
    "deepseek2, merged": dict(arch="deepseek2", layers=9, hidden=256, heads=4, kv=4, inter=512, tied=False, split=False),
}


class Params(ctypes.Structure):
    _fields_ = [
        ("nthread", ctypes.c_int32), ("ftype", ctypes.c_int), ("output_tensor_type", ctypes.c_int),
        ("token_embedding_type", ctypes.c_int), ("allow_requantize", ctypes.c_bool),
        ("quantize_output_tensor", ctypes.c_bool), ("only_copy", ctypes.c_bool), ("pure", ctypes.c_bool),
        ("keep_split", ctypes.c_bool), ("dry_run", ctypes.c_bool), ("imatrix", ctypes.c_void_p),
        ("kv_overrides", ctypes.c_void_p), ("tt_overrides", ctypes.c_void_p), ("prune_layers", ctypes.c_void_p),
    ]


def library(folder):
    os.chdir(folder)
    for pattern in ("libggml-base*", "libggml.v*", "libllama.v*"):
        for path in glob.glob(os.path.join(folder, pattern)):
            lib = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    lib.llama_log_set(quiet, None)
    lib.quiet = quiet
    lib.llama_model_quantize_default_params.restype = Params
    lib.llama_model_quantize.restype = ctypes.c_uint32
    lib.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Params)]
    return lib


def write(path, m):
    w = gguf.GGUFWriter(path, m["arch"])
    rng = np.random.default_rng(1)
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
        w.add_tensor(name, rng.standard_normal(shape, dtype=np.float32) * 0.02)

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
    lib = library(os.path.abspath(folder))
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
            source, target = os.path.join(folder, "a.gguf"), os.path.join(folder, "b.gguf")
            shapes = write(source, model)
            types = {}
            for label, number in TYPES.items():
                params = lib.llama_model_quantize_default_params()
                params.nthread, params.ftype = 2, number
                if lib.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) != 0:
                    raise SystemExit(f"{name} to {label} failed")
                reader = gguf.GGUFReader(target)
                types[label] = {t.name: t.tensor_type.name for t in reader.tensors}
            result["models"].append({
                "name": name, "layers": model["layers"], "groupSize": model["heads"] // model["kv"],
                "shapes": shapes, "types": packed(types),
            })
    with open(out, "w") as f:
        json.dump(result, f, separators=(",", ":"))
        f.write("\n")


def packed(types):
    """By file type: type -> names of the tensors that have it, F32 left out."""
    by = {}
    for label, tensors in types.items():
        groups = by.setdefault(label, {})
        for tensor, kind in tensors.items():
            if kind != "F32":
                groups.setdefault(kind, []).append(tensor)
    return by


main(*sys.argv[1:])
