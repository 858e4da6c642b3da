"""Logits of llama.cpp's library for given tokens, through ctypes; no package is needed.

  python llama_logits.py LIBRARIES MODEL WINDOW THREADS
    LIBRARIES  folder with libllama and libggml (node-llama-cpp's bins/linux-x64)
    WINDOW     the most tokens of a request
  Standard input: a request a line, JSON { "ids": [...], "first": N, "out": PATH }.
  Standard output: a line of JSON for each, { "vocab": N }, when f32 [ids - first, vocab] is in OUT: the logits of the
  positions from `first` on, computed in one batch.

Made for llama.cpp v0.5.0 (node-llama-cpp 3.22.1): CONTEXT are places of 32 bits in its llama_context_params.
"""
import ctypes
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from llama_quantize import library


class Params(ctypes.Structure):
    """Parameters by value, with room for all that a release may have; the callee takes as much as it knows."""

    _fields_ = [("words", ctypes.c_int32 * 64)]


CONTEXT = {"n_ctx": 0, "n_batch": 1, "n_ubatch": 2, "n_threads": 7, "n_threads_batch": 8}
# What these are when nothing is set, so that another layout is noticed.
DEFAULTS = {"n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_threads": 4, "n_threads_batch": 4}


class Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)), ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)), ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))), ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


def opened(folder, model_path, window, threads):
    said = []
    lib = library(folder, said.append)
    for name in ("model_default_params", "context_default_params"):
        getattr(lib, "llama_" + name).restype = Params
    for name in ("model_load_from_file", "init_from_model", "model_get_vocab", "get_memory"):
        getattr(lib, "llama_" + name).restype = ctypes.c_void_p
    lib.llama_get_logits_ith.restype = ctypes.c_void_p
    lib.llama_batch_init.restype = Batch
    ctypes.CDLL(os.path.join(os.getcwd(), "libggml.v0.5.0.so")).ggml_backend_load_all_from_path(os.getcwd().encode())
    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(model_path.encode(), lib.llama_model_default_params())
    if not model:
        raise SystemExit("llama.cpp does not load " + model_path + "\n" + "".join(said[-10:]))
    params = lib.llama_context_default_params()
    for name, default in DEFAULTS.items():
        if params.words[CONTEXT[name]] != default:
            raise SystemExit(f"another llama.cpp: {name} is not where it was")
    for name in ("n_ctx", "n_batch", "n_ubatch"):
        params.words[CONTEXT[name]] = window
    for name in ("n_threads", "n_threads_batch"):
        params.words[CONTEXT[name]] = threads
    context = lib.llama_init_from_model(ctypes.c_void_p(model), params)
    if not context:
        raise SystemExit("llama.cpp makes no context\n" + "".join(said[-10:]))
    vocab = lib.llama_vocab_n_tokens(ctypes.c_void_p(lib.llama_model_get_vocab(ctypes.c_void_p(model))))
    return lib, ctypes.c_void_p(context), vocab


def main(folder, model_path, window, threads):
    model_path = os.path.abspath(model_path)
    lib, context, vocab = opened(folder, model_path, int(window), int(threads))
    batch = lib.llama_batch_init(int(window), 0, 1)
    for line in sys.stdin:
        request = json.loads(line)
        ids, first = request["ids"], request["first"]
        lib.llama_memory_clear(ctypes.c_void_p(lib.llama_get_memory(context)), ctypes.c_bool(True))
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, i, 1
            batch.seq_id[i][0], batch.logits[i] = 0, int(i >= first)
        if lib.llama_decode(context, batch) != 0:
            raise SystemExit("llama_decode failed")
        with open(request["out"], "wb") as f:
            for i in range(first, len(ids)):
                f.write(ctypes.string_at(lib.llama_get_logits_ith(context, i), 4 * vocab))
        print(json.dumps({"vocab": vocab}), flush=True)


main(*sys.argv[1:])
