"""Quantizes a file with llama.cpp's library: llama_model_quantize of libllama, what llama-quantize calls.

  python llama.py LIBRARIES IN OUT FILE_TYPE THREADS
    LIBRARIES  folder with libllama and libggml (node-llama-cpp's bins/linux-x64)
    FILE_TYPE  its number (general.file_type)
"""
import ctypes
import glob
import os
import sys
import time


class Params(ctypes.Structure):
    _fields_ = [
        ("nthread", ctypes.c_int32), ("ftype", ctypes.c_int), ("output_tensor_type", ctypes.c_int),
        ("token_embedding_type", ctypes.c_int), ("allow_requantize", ctypes.c_bool),
        ("quantize_output_tensor", ctypes.c_bool), ("only_copy", ctypes.c_bool), ("pure", ctypes.c_bool),
        ("keep_split", ctypes.c_bool), ("dry_run", ctypes.c_bool), ("imatrix", ctypes.c_void_p),
        ("kv_overrides", ctypes.c_void_p), ("tt_overrides", ctypes.c_void_p), ("prune_layers", ctypes.c_void_p),
    ]


def main(folder, source, target, file_type, threads):
    source, target = os.path.abspath(source), os.path.abspath(target)
    os.chdir(folder)
    for pattern in ("libggml-base*", "libggml.v*", "libllama.v*"):
        for path in glob.glob(os.path.join(os.getcwd(), pattern)):
            lib = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    lib.llama_log_set(quiet, None)
    lib.llama_model_quantize_default_params.restype = Params
    lib.llama_model_quantize.restype = ctypes.c_uint32
    lib.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Params)]
    params = lib.llama_model_quantize_default_params()
    params.nthread, params.ftype = int(threads), int(file_type)
    started = time.monotonic()
    if lib.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) != 0:
        raise SystemExit("llama_model_quantize failed")
    print(time.monotonic() - started)


main(*sys.argv[1:])
