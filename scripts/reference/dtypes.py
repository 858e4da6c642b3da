"""Makes test/golden/dtypes/blocks.json: random blocks decoded, and rows encoded, by gguf-py.

  python scripts/reference/dtypes.py > test/golden/dtypes/blocks.json
"""
import base64
import datetime
import importlib.metadata
import json

import gguf
import numpy as np

TYPES = "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q6_K TQ1_0 TQ2_0".split()
ENCODED = "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0".split()
random = np.random.default_rng(7)


def text(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def decoded(name):
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (8 if elements > 1 else 256, size), dtype=np.uint8)
    if elements > 1:
        # A scale that is a plain number: the exponent of every half stays below 31.
        halves = {"Q4_1": [0, 2], "Q5_1": [0, 2], "Q6_K": [208], "TQ1_0": [52], "TQ2_0": [64]}.get(name, [0])
        for at in halves:
            blocks[:, at + 1] &= 0xBF
    values = gguf.quants.dequantize(blocks.reshape(1, -1), kind).astype(np.float32)
    return {"bytes": text(blocks), "values": text(values)}


def encoded(name):
    kind = gguf.GGMLQuantizationType[name]
    rows = (random.standard_normal((4, 256)) * np.array([[1e-3], [1], [30], [0]])).astype(np.float32) + np.float32(0)
    return {"values": text(rows), "bytes": text(gguf.quants.quantize(rows, kind))}


print(
    json.dumps(
        {
            "birth": {
                "script": "scripts/reference/dtypes.py",
                "versions": {"gguf": importlib.metadata.version("gguf"), "numpy": np.__version__},
                "date": datetime.date.today().isoformat(),
            },
            "decoded": {name: decoded(name) for name in TYPES},
            "encoded": {name: encoded(name) for name in ENCODED},
        },
        indent=1,
    )
)
