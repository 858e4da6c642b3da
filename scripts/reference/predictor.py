"""Makes test/golden/models/predictor.json: what toy predictors (MTP modules) guess, in float32 torch on the CPU.

    python scripts/reference/predictor.py          (needs torch and transformers; versions go into the file)

The published inference code of V3 leaves the MTP module out, and so does transformers. Here it is put together from
transformers' decoder layer, norm and embedding by what DeepSeek published of it: the paper (arXiv 2412.19437, equations
21 to 23) and README_WEIGHTS.md, the embedding's half of eh_proj first as the weights have it, on the hidden state after
the model's last norm. Toys and their numbers are those of models.py. For each shape: `first`, the logits of rows
0 .. tokens - 2 on the model's hidden states, and `second`, those of row tokens - 2 when its hidden state is the
module's own at the row before, after shared_head.norm.
"""

import base64
import datetime
import importlib
import json
import platform

import numpy as np
import torch
import transformers

from models import GOLDEN, build, config_of, numbers, token_ids, weight_for


@torch.no_grad()
def guesses_of(shape):
    model, config = build(shape).model, config_of(shape)
    head = (numbers("token_embd.weight" if shape["tied"] else "output.weight", shape["seed"], (shape["vocab"], shape["hidden"])))
    head = torch.from_numpy(head)
    modeling = importlib.import_module(type(model).__module__)
    kind = type(model).__name__.removesuffix("Model")
    number = shape["layers"]
    if hasattr(config, "mlp_layer_types") and config.mlp_layer_types:
        config.mlp_layer_types = [*config.mlp_layer_types, "sparse"]
    block = getattr(modeling, f"{kind}DecoderLayer")(config, number).float().eval()
    for name, tensor in [*block.named_parameters(), *block.named_buffers()]:
        tensor.data.copy_(torch.from_numpy(weight_for(f"layers.{number}.{name}", shape["seed"], tuple(tensor.shape)).copy()))

    def of_nextn(name, *size):
        return torch.from_numpy(numbers(f"blk.{number}.nextn.{name}.weight", shape["seed"], size))

    d = shape["hidden"]
    eh_proj, norms = of_nextn("eh_proj", d, 2 * d), {n: of_nextn(n, d) for n in ("enorm", "hnorm", "shared_head_norm")}

    def normed(x, name):
        return torch.nn.functional.rms_norm(x, (d,), norms[name], shape["normEps"])

    ids = torch.from_numpy(token_ids(shape))[None]
    hidden = model(ids, use_cache=False).last_hidden_state[:, :-1]  # after the last norm
    embedded = model.embed_tokens(ids[:, 1:])
    rows = hidden.shape[1]
    positions = torch.arange(rows)[None]
    mask = torch.full((rows, rows), torch.finfo(torch.float32).min).triu(1)[None, None]

    def own(h):
        x = torch.cat([normed(embedded, "enorm"), normed(h, "hnorm")], dim=-1) @ eh_proj.T
        rotation = model.rotary_emb(x, positions)
        x = block(x, attention_mask=mask, position_ids=positions, position_embeddings=rotation)
        x = x[0] if isinstance(x, tuple) else x
        return normed(x, "shared_head_norm")

    first = own(hidden)
    hidden[:, -1] = first[:, -2]
    second = own(hidden)[:, -1]
    return {"first": (first @ head.T)[0].numpy(), "second": (second @ head.T)[0].numpy()}


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    shapes = [s | {"draftLayers": 1} for s in json.loads((GOLDEN / "shapes.json").read_text()) if s["name"] in WANTED]
    cases = {}
    for shape in shapes:
        guesses = guesses_of(shape)
        for logits in guesses.values():
            assert np.isfinite(logits).all(), shape["name"]
        print(f"{shape['name']:24} {guesses['first'].shape} deviation {guesses['first'].std():.3f}", flush=True)
        cases[shape["name"]] = {k: base64.b64encode(v.astype("<f4").tobytes()).decode() for k, v in guesses.items()}
    birth = {
        "script": "scripts/reference/predictor.py",
        "inputs": "test/golden/models/shapes.json, each shape with one block more",
        "oracle": f"decoder layers of transformers {transformers.__version__} on torch {torch.__version__}, float32, CPU; "
        "their joining (norms, eh_proj, head) is written in the script after arXiv 2412.19437, section 2.2",
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
        "format": "base64 of little-endian float32 logits: first [tokens - 1, vocab], second [vocab]",
    }
    (GOLDEN / "predictor.json").write_text(json.dumps({"birth": birth, "logits": cases}, indent=2) + "\n")


WANTED = ("v3-like", "v3-not-normalised", "v3-no-q-lora", "v3-vl2-like", "v2-like", "v32-like")

main()
