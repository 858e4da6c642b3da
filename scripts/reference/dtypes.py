"""Makes test/golden/dtypes/blocks.json: random blocks decoded, and rows encoded, by gguf-py; FP8 bytes by torch.

  python scripts/reference/dtypes.py > test/golden/dtypes/blocks.json
"""
import base64
import datetime
import importlib.metadata
import json

import gguf
import numpy as np
import torch

ENCODED = "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 TQ1_0 TQ2_0".split()
# Where a block has f16 scales. IQ1_M has the nibbles of one in the last bytes of its words, see `decoded`.
HALVES = {
    "F16": [],
    "BF16": [],
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "IQ2_XXS": [0],
    "IQ2_XS": [0],
    "IQ2_S": [0],
    "IQ3_XXS": [0],
    "IQ3_S": [0],
    "IQ1_S": [0],
    "IQ1_M": [54],
    "IQ4_NL": [0],
    "IQ4_XS": [0],
    "TQ1_0": [52],
    "TQ2_0": [64],
    "MXFP4": [],
}
random = np.random.default_rng(7)


def text(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def decoded(name):
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (max(8, 256 // elements), size), dtype=np.uint8)
    for at in HALVES[name]:
        # A scale that is a plain number: the exponent of every half stays below 31.
        blocks[:, at + 1] &= 0xBF
    values = gguf.quants.dequantize(blocks.reshape(1, -1), kind).astype(np.float32)
    return {"bytes": text(blocks), "values": text(values)}


def encoded(name):
    kind = gguf.GGMLQuantizationType[name]
    rows = (random.standard_normal((4, 256)) * np.array([[1e-3], [1], [30], [0]])).astype(np.float32) + np.float32(0)
    return {"values": text(rows), "bytes": text(gguf.quants.quantize(rows, kind))}


def fp8(kind):
    return {"bytes": text(np.arange(256, dtype=np.uint8)), "values": text(every_byte(kind))}


def every_byte(kind):
    return torch.arange(256, dtype=torch.uint8).view(kind).float().numpy()


def encoded_fp8(kind):
    # Every value, and halves between neighbours and their sides: where rounding is decided. torch makes NaN of what is
    # too large and Hadal the largest value, so nothing here is.
    values = np.unique(every_byte(kind)[np.isfinite(every_byte(kind))])
    middles = (values[1:] + values[:-1]) / np.float32(2)
    near = [np.nextafter(middles, np.float32(side), dtype=np.float32) for side in (-np.inf, np.inf)]
    rows = np.concatenate([values, middles, *near, random.standard_normal(256).astype(np.float32)])
    return {"values": text(rows), "bytes": text(torch.tensor(rows).to(kind).view(torch.uint8).numpy())}


print(
    json.dumps(
        {
            "birth": {
                "script": "scripts/reference/dtypes.py",
                "versions": {
                    "gguf": importlib.metadata.version("gguf"),
                    "numpy": np.__version__,
                    "torch": torch.__version__,
                },
                "date": datetime.date.today().isoformat(),
            },
            "decoded": {
                **{name: decoded(name) for name in HALVES},
                "F8_E4M3": fp8(torch.float8_e4m3fn),
                "F8_E8M0": fp8(torch.float8_e8m0fnu),
            },
            "encoded": {
                **{name: encoded(name) for name in ENCODED},
                "F8_E4M3": encoded_fp8(torch.float8_e4m3fn),
            },
        },
        indent=1,
    )
)
