"""Makes test/golden/dtypes/errors.json: how far llama.cpp's quantization lies from the numbers it was given.

  HADAL_TEST_PEER=<folder with node-llama-cpp> python scripts/reference/dtype-errors.py > test/golden/dtypes/errors.json

libggml of node-llama-cpp quantizes (`ggml_quantize_chunk`), gguf-py decodes. The numbers are made from a seed by
arithmetic that every language has alike, see `noise`; test/fixtures/noisy-rows.ts makes the same.
"""
import ctypes
import datetime
import importlib.metadata
import json
import os
import pathlib

import gguf
import numpy as np

TYPES = (
    "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4 TQ1_0 TQ2_0 "
    "IQ3_XXS IQ3_S IQ2_XXS IQ2_XS IQ2_S IQ1_S IQ1_M"
).split()
# What llama.cpp makes with an importance matrix alone.
NEEDY = {"IQ2_XXS", "IQ2_XS", "IQ1_S"}
ROWS, COLS = 24, 512
SEEDS = {"normal": 1, "outliers": 2, "shifted": 3}
PEER = pathlib.Path(os.environ["HADAL_TEST_PEER"])
BINS = PEER / "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64"


def noise(count, seed):
    """Numbers in [-1, 1): a hash of index and seed in 32-bit words."""
    words = np.arange(1, count + 1, dtype=np.uint32) * np.uint32(0x9E3779B1)
    words ^= np.uint32((seed + 1) * 0x85EBCA6B & 0xFFFFFFFF)
    words = (words ^ (words >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    words = (words ^ (words >> np.uint32(13))) * np.uint32(0x297A2D39)
    return (words ^ (words >> np.uint32(16))).astype(np.int32).astype(np.float64) / 0x80000000


def rows_of(kind):
    """[ROWS, COLS] f32: sums of four noises, of another magnitude in each row; some far out, or all moved."""
    four = noise(ROWS * COLS * 4, SEEDS[kind]).reshape(ROWS, COLS, 4)
    values = ((four[..., 0] + four[..., 1]) + four[..., 2]) + four[..., 3]
    if kind == "outliers":
        tail = noise(ROWS * COLS, SEEDS[kind] + 10).reshape(ROWS, COLS)
        values = values * (0.25 + (tail * tail) * (tail * tail) * (tail * tail) * 8)
    if kind == "shifted":
        values = values + noise(ROWS, SEEDS[kind] + 10).reshape(ROWS, 1) * 3
    return (values * (2.0 ** (np.arange(ROWS) % 8 - 8)).reshape(ROWS, 1)).astype(np.float32)


def importance_of(kind):
    """[COLS] f32 between 1e-3 and about 5, most of them small."""
    u = noise(COLS, SEEDS[kind] + 20)
    return (0.001 + (u * u) * (u * u) * 5).astype(np.float32)


def library():
    ctypes.CDLL(str(BINS / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
    lib = ctypes.CDLL(str(BINS / "libggml-base.so"))
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    return lib


def through(lib, name, rows, importance):
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros((ROWS, COLS // elements * size), dtype=np.uint8)
    pointer = importance.ctypes.data if importance is not None else None
    written = lib.ggml_quantize_chunk(int(kind), rows.ctypes.data, out.ctypes.data, 0, ROWS, COLS, pointer)
    assert written == out.nbytes, name
    return gguf.quants.dequantize(out, kind).reshape(ROWS, COLS).astype(np.float64)


def mean_squares(x, run):
    """Mean of the squares of the run of numbers that each number lies in."""
    return np.repeat((x * x).reshape(-1, run).mean(axis=1), run).reshape(x.shape)


def objective(name, x, importance):
    """What llama.cpp weighs the square of each error with when it looks for scales; 1 where it does not look."""
    run = {"Q4_0": COLS, "Q4_1": COLS, "Q5_0": COLS, "Q5_1": COLS, "IQ4_NL": 32}.get(name, 256)
    if name in ("Q8_0", "MXFP4", "TQ1_0", "TQ2_0"):
        return np.ones_like(x)
    if importance is not None:
        if name == "Q6_K":
            return np.broadcast_to(importance.astype(np.float64), x.shape)
        factor = 1 if run == COLS or name in ("Q2_K", "IQ2_XXS", "IQ2_XS") else 2
        return importance.astype(np.float64) * np.sqrt(factor * mean_squares(x, run) + x * x)
    if name in ("Q3_K", "Q6_K", "IQ4_NL", "IQ4_XS", "IQ3_XXS", "IQ3_S", "IQ1_M"):
        return x * x
    if name == "IQ2_S":
        return mean_squares(x, run) / 2 + x * x
    if name in ("Q4_K", "Q5_K"):
        return np.sqrt(mean_squares(x, 32)) + np.abs(x)
    if name == "Q2_K":
        return np.abs(x)
    return np.ones_like(x)


def root_mean(weights, values):
    return float(np.sqrt((weights * values * values).sum() / weights.sum()))


def errors(lib, name, kind):
    """Root mean squares of the error, as a part of that of the numbers under the same weights."""
    rows, importance = rows_of(kind), importance_of(kind)
    x = rows.astype(np.float64)
    found = {}
    for way, given, plain in (("plain", None, np.ones_like(x)), ("importance", importance, importance)):
        if given is None and name in NEEDY:
            continue
        error, weights = through(lib, name, rows, given) - x, objective(name, x, given)
        found[way] = {
            "rmse": root_mean(plain, error) / root_mean(plain, x),
            "objective": root_mean(weights, error) / root_mean(weights, x),
        }
    return found


lib = library()
package = json.loads((PEER / "node_modules/node-llama-cpp/package.json").read_text())
print(
    json.dumps(
        {
            "birth": {
                "script": "scripts/reference/dtype-errors.py",
                "versions": {
                    "node-llama-cpp": package["version"],
                    "gguf": importlib.metadata.version("gguf"),
                    "numpy": np.__version__,
                },
                "date": datetime.date.today().isoformat(),
            },
            "rows": ROWS,
            "cols": COLS,
            "seeds": SEEDS,
            "errors": {kind: {name: errors(lib, name, kind) for name in TYPES} for kind in SEEDS},
            "checks": {kind: [float(rows_of(kind)[5, 7]), float(importance_of(kind)[9])] for kind in SEEDS},
        },
        indent=1,
    )
)
