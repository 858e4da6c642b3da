"""Writes test/golden/formats/read-by-python.json: what Python's gguf and safetensors find in files of our writers.

    node scripts/reference/our-files.mjs FOLDER && python scripts/reference/our-files.py FOLDER     (needs gguf, safetensors)

The files are made anew by the test, byte for byte: their SHA-256 is in the golden file.
"""
import datetime
import hashlib
import importlib.metadata
import json
import pathlib
import sys

import gguf
import safetensors
import torch

FOLDER = pathlib.Path(sys.argv[1])
OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "test" / "golden" / "formats" / "read-by-python.json"


def read_gguf(path):
    reader = gguf.GGUFReader(path)
    fields = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    tensors = {
        tensor.name: {
            "dtype": tensor.tensor_type.name,
            "shape": [int(length) for length in tensor.shape],
            "values": [float(x) for x in gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(-1)],
        }
        for tensor in reader.tensors
    }
    return {"metadata": fields, "tensors": tensors}


def read_safetensors(path):
    with safetensors.safe_open(path, framework="pt") as file:
        tensors = {
            name: {
                "dtype": str(file.get_tensor(name).dtype),
                "shape": list(reversed(file.get_tensor(name).shape)),
                "values": [float(x) for x in file.get_tensor(name).to(torch.float64).reshape(-1)],
            }
            for name in file.keys()
        }
        return {"metadata": file.metadata(), "tensors": tensors}


def main():
    found = {}
    for path in sorted(FOLDER.iterdir()):
        read = read_gguf if path.suffix == ".gguf" else read_safetensors
        found[path.name] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), **read(path)}
    birth = {
        "script": "scripts/reference/our-files.mjs, then scripts/reference/our-files.py",
        "versions": {name: importlib.metadata.version(name) for name in ("gguf", "safetensors", "torch")},
        "date": datetime.date.today().isoformat(),
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"birth": birth, "files": found}, indent=1, ensure_ascii=False) + "\n")


main()
