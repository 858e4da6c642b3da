"""Makes test/golden/models/embeddings.json: texts as one vector, by transformers in float32 on the CPU.

    python scripts/reference/embeddings.py        (needs torch and transformers; versions go into the file)

The hidden states are transformers' `last_hidden_state`, which is after the last norm; `mean` is their mean over the
tokens, `last` that of the last token, both divided by their length. Toys and their ids are those of models.py; folders
are those of hf-folders.py, read by `AutoModel.from_pretrained`, with the ids that logits.json beside them has.
"""

import base64
import datetime
import json
import platform

import torch
import transformers

from models import GOLDEN, build, token_ids

HF = GOLDEN.parent / "hf"
FOLDERS = ("f32", "f16", "bf16")
SHAPES = ("llama-full-untied", "qwen2-one-key-head", "qwen3-yarn", "deepseek-wide", "v2-lite-like", "v3-like", "v32-like")


@torch.no_grad()
def pooled(model, ids):
    states = model(input_ids=torch.as_tensor(ids)[None], use_cache=False).last_hidden_state[0].double()
    return {name: vector / vector.norm() for name, vector in (("mean", states.mean(0)), ("last", states[-1]))}


def main():
    torch.set_num_threads(1)
    shapes = {s["name"]: s for s in json.loads((GOLDEN / "shapes.json").read_text())}
    ids = json.loads((HF / "logits.json").read_text())["ids"]
    cases = {f"toy {name}": pooled(build(shapes[name]).model, token_ids(shapes[name])) for name in SHAPES}
    for folder in FOLDERS:
        model = transformers.AutoModel.from_pretrained(HF / folder, dtype=torch.float32, attn_implementation="eager")
        cases[f"folder {folder}"] = pooled(model.eval(), ids)
    for name, vectors in cases.items():
        print(f"{name:24} mean . last {float(vectors['mean'] @ vectors['last']):.3f}")
    birth = {
        "script": "scripts/reference/embeddings.py",
        "inputs": "test/golden/models/shapes.json, test/golden/hf",
        "oracle": f"transformers {transformers.__version__} on torch {torch.__version__}, float32, CPU, eager attention",
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
        "format": "base64 of little-endian float32 vectors of length 1, [hidden]",
    }
    written = {
        name: {k: base64.b64encode(v.float().numpy().astype("<f4").tobytes()).decode() for k, v in vectors.items()}
        for name, vectors in cases.items()
    }
    (GOLDEN / "embeddings.json").write_text(json.dumps({"birth": birth, "vectors": written}, indent=2) + "\n")


main()
