"""llama_model_quantize of libllama, which llama-quantize calls, through ctypes.

Made for llama.cpp v0.5.0 (node-llama-cpp 3.22.1): Params are the fields of its llama_model_quantize_params.
"""
import ctypes
import glob
import os
import struct


class Params(ctypes.Structure):
    _fields_ = [
        ("nthread", ctypes.c_int32), ("ftype", ctypes.c_int), ("output_tensor_type", ctypes.c_int),
        ("token_embedding_type", ctypes.c_int), ("allow_requantize", ctypes.c_bool),
        ("quantize_output_tensor", ctypes.c_bool), ("only_copy", ctypes.c_bool), ("pure", ctypes.c_bool),
        ("keep_split", ctypes.c_bool), ("dry_run", ctypes.c_bool), ("imatrix", ctypes.c_void_p),
        ("kv_overrides", ctypes.c_void_p), ("tt_overrides", ctypes.c_void_p), ("prune_layers", ctypes.c_void_p),
    ]


class Importance(ctypes.Structure):
    """One tensor of params.imatrix, which is an array that ends with one of no name."""

    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


def importances(path):
    """params.imatrix out of an importance matrix in the older layout; to be kept by the caller as long as it is used."""
    with open(path, "rb") as file:
        numbers = lambda kind, count=1: struct.unpack(f"<{count}{kind}", file.read(4 * count))
        (tensors,), entries = numbers("i"), []
        for _ in range(tensors):
            name = file.read(*numbers("i"))
            calls, size = numbers("i", 2)
            means = (ctypes.c_float * size)(*(number / calls for number in numbers("f", size)))
            entries.append(Importance(name, ctypes.cast(means, ctypes.POINTER(ctypes.c_float)), size))
    entries.append(Importance(None, None, 0))
    return (Importance * len(entries))(*entries)


def library(folder, hear=lambda text: None):
    """The library in a folder with libllama and libggml, which becomes the working folder; `hear` gets what it logs."""
    folder = os.path.abspath(folder)
    os.chdir(folder)
    for pattern in ("libggml-base*", "libggml.v*", "libllama.v*"):
        for path in glob.glob(os.path.join(folder, pattern)):
            lib = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    # Kept with the library: it is called as long as that lives.
    lib.hear = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
        lambda _level, text, _data: hear(text.decode())
    )
    lib.llama_log_set(lib.hear, None)
    lib.llama_model_quantize_default_params.restype = Params
    lib.llama_model_quantize.restype = ctypes.c_uint32
    lib.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Params)]
    return lib
