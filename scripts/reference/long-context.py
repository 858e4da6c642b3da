"""Makes test/golden/models/long-context.json: logits after 128K tokens by transformers in float32 on the CPU.

    python scripts/reference/long-context.py      (needs torch and transformers; versions go into the file; minutes)

The toys are those of `SHAPES`, with the weights of models.py. One layer each: its cached keys and values do not depend
on the attention before them, so transformers makes them in chunks that see only themselves, each at its own positions,
and reads the last tokens with all of them in one cache. V3's rotations are the published ones: base 10000, YaRN from
4096 tokens by 40. `check` compares that with one pass over a shorter text.
"""

import base64
import datetime
import json
import pathlib
import platform

import torch
import transformers

import models

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "test" / "golden" / "models" / "long-context.json"
TOKENS = 131072
CHUNK = 512
LAST = 8

COMMON = dict(
    layers=1, hidden=64, vocab=96, contextTokens=163840, normEps=1e-6, feedForward=96, ropeBase=10000, tied=False,
    tokens=TOKENS, scaling=dict(type="yarn", factor=40, originalTokens=4096, mscale=1.0),
    experts=dict(experts=16, used=4, shared=1, inter=32, leadingDense=1, scoring="sigmoid", groups=1, groupsUsed=1,
                 normalise=True, scale=2.5),
)
SHAPES = [
    dict(name="v3-long", architecture="deepseek2", seed=71, **COMMON,
         attention=dict(kind="latent", heads=2, kvLora=64, nopeDim=32, ropeDim=64, valueDim=32, qLora=64)),
    dict(name="v32-long", architecture="deepseek32", seed=72, **COMMON, indexer=dict(heads=4, dim=64, topK=2048),
         attention=dict(kind="latent", heads=2, kvLora=64, nopeDim=32, ropeDim=64, valueDim=32, qLora=64)),
]


@torch.no_grad()
def last_logits(shape):
    model = models.build(shape)
    ids = torch.from_numpy(models.token_ids(shape))[None]
    rest = shape["tokens"] - LAST
    chunks = []
    for at in range(0, rest, CHUNK):
        to = min(rest, at + CHUNK)
        chunks.append(transformers.DynamicCache(config=model.config))
        model.model(ids[:, at:to], position_ids=torch.arange(at, to)[None], past_key_values=chunks[-1], use_cache=True)
    layers = [chunk.layers[0] for chunk in chunks]
    cache = transformers.DynamicCache(config=model.config)
    cache.update(torch.cat([one.keys for one in layers], 2), torch.cat([one.values for one in layers], 2), 0)
    if "indexer" in shape:
        cache.update_indexer(torch.cat([one.indexer_keys for one in layers], 1), 0)
    positions = torch.arange(rest, rest + LAST)[None]
    return model(ids[:, rest:], position_ids=positions, past_key_values=cache, use_cache=True).logits[0].numpy()


def check():
    for shape in SHAPES:
        short = dict(shape, tokens=6 * CHUNK)
        difference = abs(last_logits(short) - models.logits_of(short)[-LAST:]).max()
        print(f"{shape['name']:10} differs by {difference:.2e} from one pass over {short['tokens']} tokens", flush=True)
        assert difference < 1e-4


def main():
    check()
    logits = {}
    for shape in SHAPES:
        found = last_logits(shape).astype("<f4")
        print(f"{shape['name']:10} logits {found.shape} deviation {found.std():.3f}", flush=True)
        logits[shape["name"]] = base64.b64encode(found.tobytes()).decode()
    birth = {
        "script": "scripts/reference/long-context.py",
        "inputs": "the shapes below",
        "oracle": f"transformers {transformers.__version__} on torch {torch.__version__}, float32, CPU, eager attention",
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
        "format": f"base64 of little-endian float32 logits of the last {LAST} tokens, [{LAST}, vocab] for each shape",
    }
    whole = {"birth": birth, "shapes": SHAPES, "logits": logits}
    OUT.write_text(json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    main()
