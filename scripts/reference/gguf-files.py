"""Makes test/golden/gguf/python.gguf with gguf-py, and reads a file of our writer back with it.

  python scripts/reference/gguf-files.py write test/golden/gguf   writes python.gguf and python.json
  python scripts/reference/gguf-files.py read FILE                prints what gguf-py finds in a file, as JSON
"""
import datetime
import importlib.metadata
import json
import sys

import gguf
import numpy as np


def write(folder):
    writer = gguf.GGUFWriter(f"{folder}/python.gguf", "llama")
    writer.add_string("text", "ä 深 \U0001f30a")
    writer.add_uint8("u8", 255)
    writer.add_int8("i8", -128)
    writer.add_uint16("u16", 65535)
    writer.add_int16("i16", -32768)
    writer.add_uint32("u32", 4294967295)
    writer.add_int32("i32", -2147483648)
    writer.add_float32("f32", 0.1)
    writer.add_uint64("u64", 2**64 - 1)
    writer.add_int64("i64", -(2**40))
    writer.add_float64("f64", 0.1)
    writer.add_bool("yes", True)
    writer.add_array("texts", ["a", "", "long " * 40])
    writer.add_array("numbers", [1, -2, 3])
    writer.add_array("floats", [0.5, 1.5])
    numbers = (np.arange(96, dtype=np.float32) - 48) / 7
    writer.add_tensor("f32", numbers.reshape(3, 32))
    writer.add_tensor("f16", numbers.astype(np.float16).reshape(2, 1, 48))
    q8 = gguf.quants.quantize(numbers.reshape(3, 32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("q8_0", q8, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("one", np.array([42], dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read(f"{folder}/python.gguf")
    found["birth"] = {
        "script": "scripts/reference/gguf-files.py write",
        "versions": {"gguf": importlib.metadata.version("gguf"), "numpy": np.__version__},
        "date": datetime.date.today().isoformat(),
    }
    with open(f"{folder}/python.json", "w") as out:
        json.dump(found, out, indent=1, ensure_ascii=False)


def read(path):
    reader = gguf.GGUFReader(path)
    return {
        "metadata": {
            # Whole numbers as text: JSON readers round those of 64 bits.
            key: str(field.contents()) if type(field.contents()) is int else field.contents()
            for key, field in reader.fields.items()
            if not key.startswith("GGUF.")
        },
        "tensors": [
            {
                "name": tensor.name,
                "dtype": tensor.tensor_type.name,
                "shape": [int(n) for n in tensor.shape],
                "offset": int(tensor.data_offset),
                "bytes": int(tensor.n_bytes),
                "values": [float(x) for x in gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(-1)],
            }
            for tensor in reader.tensors
        ],
    }


if sys.argv[1] == "write":
    write(sys.argv[2])
else:
    print(json.dumps(read(sys.argv[2])))
