"""Quantizes a file with llama.cpp's library: llama_model_quantize of libllama, what llama-quantize calls.

  python llama.py LIBRARIES IN OUT FILE_TYPE THREADS [IMATRIX]
    LIBRARIES  folder with libllama and libggml (node-llama-cpp's bins/linux-x64)
    FILE_TYPE  its number (general.file_type)
    IMATRIX    an importance matrix in the older layout, .dat
"""
import ctypes
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/reference"))
from llama_quantize import importances, library


def main(folder, source, target, file_type, threads, importance=None):
    matrix = importances(importance) if importance else None
    source, target = os.path.abspath(source), os.path.abspath(target)
    lib = library(folder)
    params = lib.llama_model_quantize_default_params()
    params.nthread, params.ftype = int(threads), int(file_type)
    params.imatrix = ctypes.cast(matrix, ctypes.c_void_p)
    started = time.monotonic()
    if lib.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) != 0:
        raise SystemExit("llama_model_quantize failed")
    print(time.monotonic() - started)


main(*sys.argv[1:])
