"""Makes test/golden/sampling/processors.json: probabilities after transformers' logits processors.

Run with transformers and torch installed: python scripts/reference/sampling.py > test/golden/sampling/processors.json
The logits are a hash of the index, the same as in sampler.test.ts.
"""
import datetime
import json

import torch
import transformers
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

VOCAB = 200
SEEN = [3, 5, 5, 7, 11, 199]


def logits(seed):
    return torch.tensor(
        [[((((i + 1) * 2654435761 + seed * 40503) % 4294967296) / 4294967296) * 16 - 8 for i in range(VOCAB)]],
        dtype=torch.float32,
    )


CASES = [
    {"temperature": 1.0},
    {"temperature": 0.7},
    {"temperature": 1.0, "topK": 10},
    {"temperature": 1.0, "topP": 0.9},
    {"temperature": 1.5, "topP": 0.5},
    {"temperature": 1.0, "minP": 0.1},
    {"temperature": 0.6, "topK": 40, "topP": 0.95},
    {"temperature": 0.8, "topK": 20, "topP": 0.8, "minP": 0.05},
    {"temperature": 1.0, "repetitionPenalty": 1.3},
    {"temperature": 0.9, "repetitionPenalty": 1.1, "topP": 0.92, "minP": 0.02},
    {"temperature": 3.0, "topK": 150, "topP": 0.99},
]


def probabilities(case, seed):
    scores = logits(seed)
    ids = torch.tensor([SEEN])
    if "repetitionPenalty" in case:
        scores = RepetitionPenaltyLogitsProcessor(case["repetitionPenalty"])(ids, scores)
    scores = TemperatureLogitsWarper(case["temperature"])(ids, scores) if case["temperature"] != 1.0 else scores
    if "topK" in case:
        scores = TopKLogitsWarper(case["topK"])(ids, scores)
    if "topP" in case:
        scores = TopPLogitsWarper(case["topP"])(ids, scores)
    if "minP" in case:
        scores = MinPLogitsWarper(case["minP"])(ids, scores)
    chosen = torch.softmax(scores.double(), -1)[0]
    return {str(i): float(f"{p:.9g}") for i, p in enumerate(chosen.tolist()) if p > 0}


print(
    json.dumps(
        {
            "birth": {
                "script": "scripts/reference/sampling.py",
                "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
                "date": datetime.date.today().isoformat(),
            },
            "vocab": VOCAB,
            "seen": SEEN,
            "cases": [
                {"sampling": case, "seed": seed, "probabilities": probabilities(case, seed)}
                for seed, case in enumerate(CASES)
            ],
        }
    )
)
