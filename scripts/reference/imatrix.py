"""Makes test/golden/quantize/imatrix.json: sums of squares of what toy models multiply with, by transformers' hooks;
and imatrix-files.json: one importance matrix in llama.cpp's two layouts, by gguf-py and by struct.

    python scripts/reference/imatrix.py            (needs torch and transformers; versions go into the file)

The toys are those of models.py. Inputs of linear layers are seen by hooks. Of a stack of experts the hook sees hidden
states and choices; what `down` is multiplied with is computed from them in numpy, silu(gate x) * up x. Of a split kv_b,
what k_b is multiplied with are the queries without rope before attention, and what v_b is multiplied with are the
attention's probabilities times the latents.
"""

import base64
import datetime
import importlib.metadata
import json
import pathlib
import platform
import struct
import tempfile

import gguf
import models
import numpy as np
import torch
import transformers

GGUF = importlib.metadata.version("gguf")
FILES = models.HERE.parent.parent / "test" / "golden" / "quantize" / "imatrix-files.json"
OUT = models.HERE.parent.parent / "test" / "golden" / "quantize" / "imatrix.json"
# By name, with what differs from shapes.json: experts wider than the model is one case.
TOYS = {
    "llama-grouped-tied": {},
    "deepseek-16b-like": {},
    "deepseek-no-dense": {"inter": 160},
    "v2-lite-like": {},
    "v3-like": {},
}


def squares(x):
    x = x.detach().double().reshape(-1, x.shape[-1]).numpy()
    return (x * x).sum(0), x.shape[0]


@torch.no_grad()
def sums_of(shape):
    model = models.build(shape)
    entries = {}

    def name_of(module):
        layer, suffix = module.removeprefix("model.").removeprefix("layers.").split(".", 1)
        known = models.LAYER_NAMES.get(suffix) or models.LAYER_NAMES.get(suffix + ".weight", "").removesuffix(".weight")
        return f"blk.{layer}.{known}.weight"

    def linear(name):
        def hook(_module, args):
            sums, rows = squares(args[0])
            entries[name] = (sums[None], np.array([rows]))

        return hook

    def experts(blk, count):
        def hook(module, args, kwargs):
            given = list(args) + list(kwargs.values())
            x, ids = given[0].reshape(-1, shape["hidden"]).double().numpy(), given[1].numpy()
            gate_up = module.gate_up_proj.double().numpy()
            inter = gate_up.shape[1] // 2
            h, d, n = np.zeros((count, x.shape[1])), np.zeros((count, inter)), np.zeros(count)
            for row, chosen in zip(x, ids):
                for e in chosen:
                    both = gate_up[e] @ row
                    hidden = both[:inter] / (1 + np.exp(-both[:inter])) * both[inter:]
                    h[e] += row * row
                    d[e] += hidden * hidden
                    n[e] += 1
            entries[blk + "ffn_gate_exps.weight"] = entries[blk + "ffn_up_exps.weight"] = (h, n)
            entries[blk + "ffn_down_exps.weight"] = (d, n)

        return hook

    def latent(blk):
        a, seen = shape["attention"], {}
        heads, nope = a["heads"], a["nopeDim"]

        def keep(key):
            def hook(_module, args, out):
                seen[key + " in"], seen[key] = args[0], out

            return hook

        def attention(_module, _args, out):
            q = seen["q"].reshape(-1, heads, nope + a["ropeDim"])[..., :nope]
            sums, rows = squares(q.reshape(rows_of(q), -1))
            entries[blk + "attn_k_b.weight"] = (sums[None], np.array([rows]))
            c = seen["kv_b in"].reshape(-1, a["kvLora"]).double()
            attended = torch.einsum("hqk,kc->qhc", out[1][0].double(), c)
            sums, rows = squares(attended.reshape(rows_of(q), -1))
            entries[blk + "attn_v_b.weight"] = (sums[None], np.array([rows]))

        return keep, attention

    rows_of = len
    for name, module in model.named_modules():
        leaf = name.rsplit(".", 1)[-1]
        if leaf == "experts":
            blk = f"blk.{name.split('layers.')[1].split('.')[0]}."
            module.register_forward_pre_hook(experts(blk, shape["experts"]["experts"]), with_kwargs=True)
        elif leaf == "self_attn" and shape["attention"]["kind"] == "latent":
            keep, attention = latent(f"blk.{name.split('layers.')[1].split('.')[0]}.")
            (module.q_b_proj if "qLora" in shape["attention"] else module.q_proj).register_forward_hook(keep("q"))
            module.kv_b_proj.register_forward_hook(keep("kv_b"))
            module.register_forward_hook(attention)
        elif "layers." in name and isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(linear(name_of(name)))
    ids = torch.from_numpy(models.token_ids(shape))[None]
    if shape["architecture"] == "deepseek":
        model.model(ids)
    else:
        model(ids, use_cache=False)
    # The router is no Linear of its own: it reads what the experts read, every row once.
    for name in [n for n in entries if n.endswith("ffn_gate_shexp.weight")]:
        entries[name.replace("ffn_gate_shexp", "ffn_gate_inp")] = entries[name]
    return entries


def files():
    """Chunks of 16 tokens; an expert that nobody chose, and a stack of which nothing is known."""
    chunk, chunks, text = 16, 3, "calibration.txt"
    entries = {
        "blk.0.attn_q.weight": ([[3.0, 0.5, 12.25, 0.0]], [48]),
        "blk.1.ffn_up_exps.weight": ([[5.0, 6.0, 7.0, 8.0], [0.0] * 4, [1.5, 2.5, 0.25, 4.0]], [40, 0, 8]),
        "blk.2.ffn_up_exps.weight": ([[0.0] * 4, [0.0] * 4], [0, 0]),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "imatrix.gguf"
        w = gguf.GGUFWriter(path, "none")
        del w.kv_data[0]["general.architecture"]
        w.add_type("imatrix")
        w.add_array("imatrix.datasets", [text])
        w.add_uint32("imatrix.chunk_count", chunks)
        w.add_uint32("imatrix.chunk_size", chunk)
        for name, (sums, counts) in entries.items():
            w.add_tensor(name + ".in_sum2", np.array(sums, dtype=np.float32))
            w.add_tensor(name + ".counts", np.array(counts, dtype=np.float32)[:, None])
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
        whole = path.read_bytes()
    known = {name: entry for name, entry in entries.items() if any(entry[1])}
    dat = struct.pack("<i", len(known))
    for name, (sums, counts) in known.items():
        calls = -(-max(counts) // chunk)
        means = [x / n if n else 1.0 for row, n in zip(sums, counts) for x in row]
        dat += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, len(means))
        dat += struct.pack(f"<{len(means)}f", *(np.float32(np.float32(m) * calls) for m in means))
    dat += struct.pack("<ii", chunks, len(text)) + text.encode()
    return {
        "gguf": base64.b64encode(whole).decode(),
        "dat": base64.b64encode(dat).decode(),
        "entries": {n: {"sums": [x for row in s for x in row], "counts": c} for n, (s, c) in entries.items()},
    }


def main():
    shapes = {s["name"]: s for s in json.loads((models.GOLDEN / "shapes.json").read_text())}
    torch.set_num_threads(1)
    cases = {}
    for toy, differing in TOYS.items():
        shape = shapes[toy]
        if differing:
            shape = shape | {"experts": shape["experts"] | differing}
        entries = sums_of(shape)
        print(toy, len(entries), sorted(entries)[:3], flush=True)
        tensors = {
            name: {
                "sums": base64.b64encode(sums.astype("<f4").tobytes()).decode(),
                "counts": [int(n) for n in counts],
            }
            for name, (sums, counts) in sorted(entries.items())
        }
        cases[toy] = {"experts": differing, "tensors": tensors}
    birth = {
        "script": "scripts/reference/imatrix.py",
        "inputs": "test/golden/models/shapes.json",
        "oracle": f"transformers {transformers.__version__} on torch {torch.__version__}, float32, CPU, eager attention, forward hooks",
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
        "format": "sums: base64 of little-endian float32 [matrices, cols]; counts: rows of each matrix, or of all",
    }
    FILES.write_text(json.dumps(files() | {"birth": birth | {"oracle": "gguf-py " + GGUF}}, indent=1) + "\n")
    OUT.write_text(json.dumps({"birth": birth, "toys": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
