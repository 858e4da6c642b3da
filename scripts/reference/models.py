"""Makes test/golden/models/logits.json: logits of toy models by transformers in float32 on the CPU.

    python scripts/reference/models.py            (needs torch and transformers; versions go into the file)

The toy models are described in test/golden/models/shapes.json. Every number of theirs comes from a counter-based hash
of the tensor's GGUF name (`numbers` below; its twin is in test/fixtures/toy-model.ts), so the golden file holds logits
only. Architectures map to these classes of transformers: llama, qwen2, qwen3: their own; deepseek (MoE-16B): the text
model of DeepSeek-OCR-2, which is that architecture; deepseek2: DeepseekV2 for softmax gates, DeepseekV3 for sigmoid
ones; deepseek32: DeepseekV32. Attention is transformers' "eager" form. Shapes with an indexer have 16 index heads or
more: with few of them many scores are exactly 0, and which of equal ones torch's topk takes is no promise of anybody.
"""

import base64
import datetime
import json
import math
import pathlib
import platform
import sys

import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent.parent / "test" / "golden" / "models"


def hash32(x):
    """MurmurHash3's finaliser on uint32 arrays."""
    x = x.astype(np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x


def seed_of(name, seed):
    """FNV-1a of "<seed>:<name>"."""
    h = 0x811C9DC5
    for byte in f"{seed}:{name}".encode():
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    return h


def uniform(name, seed, count):
    """count multiples of 2^-23 in [-1, 1), exact in float32."""
    with np.errstate(over="ignore"):
        counter = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(seed_of(name, seed))
        return (hash32(counter) >> np.uint32(8)).astype(np.float32) / np.float32(2**23) - np.float32(1)


def numbers(name, seed, shape):
    """The numbers of a tensor by its GGUF name, in the published order of rows (shape is PyTorch's)."""
    u = uniform(name, seed, math.prod(shape)).reshape(shape)
    if "norm" in name and name.endswith(".weight"):
        return np.float32(1) + u / np.float32(4)
    if len(shape) == 1:
        return u / np.float32(8)
    return u * np.float32(2.0 ** (1 - math.floor(math.log2(shape[-1]) / 2)))


def token_ids(shape):
    ids = hash32(np.arange(shape["tokens"], dtype=np.uint32) + np.uint32(shape["seed"] * 1000))
    return (ids % np.uint32(shape["vocab"])).astype(np.int64)


def rope_parameters(shape):
    scaling = shape.get("scaling")
    out = {"rope_theta": float(shape["ropeBase"]), "rope_type": "default"}
    if scaling:
        out |= {"rope_type": scaling["type"], "factor": float(scaling["factor"])}
    if scaling and scaling["type"] == "llama3":
        out |= {
            "low_freq_factor": float(scaling["lowFreqFactor"]),
            "high_freq_factor": float(scaling["highFreqFactor"]),
            "original_max_position_embeddings": scaling["originalTokens"],
        }
    if scaling and scaling["type"] == "yarn":
        out |= {
            "original_max_position_embeddings": scaling["originalTokens"],
            "beta_fast": 32.0,
            "beta_slow": 1.0,
        }
        if "mscale" in scaling:
            out |= {"mscale": scaling["mscale"], "mscale_all_dim": scaling["mscale"]}
    return out


def config_of(shape):
    a, e = shape["attention"], shape.get("experts")
    fields = dict(
        vocab_size=shape["vocab"],
        hidden_size=shape["hidden"],
        intermediate_size=shape["feedForward"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=a["heads"],
        num_key_value_heads=a.get("kvHeads", a["heads"]),
        max_position_embeddings=shape["contextTokens"],
        rms_norm_eps=shape["normEps"],
        rope_parameters=rope_parameters(shape),
        tie_word_embeddings=shape["tied"],
        attn_implementation="eager",
    )
    if a["kind"] == "grouped":
        fields["head_dim"] = a["headDim"]
    else:
        fields |= dict(
            q_lora_rank=a.get("qLora"),
            kv_lora_rank=a["kvLora"],
            qk_nope_head_dim=a["nopeDim"],
            qk_rope_head_dim=a["ropeDim"],
            v_head_dim=a["valueDim"],
        )
    if e:
        fields |= dict(
            n_routed_experts=e["experts"],
            num_experts_per_tok=e["used"],
            n_shared_experts=e["shared"],
            moe_intermediate_size=e["inter"],
            routed_scaling_factor=e["scale"],
            norm_topk_prob=e["normalise"],
            n_group=e["groups"],
            topk_group=e["groupsUsed"],
        )
    architecture = shape["architecture"]
    if e and e["scoring"] == "softmax":
        fields["topk_method"] = "greedy" if e["groups"] == 1 else "group_limited_greedy"
    if architecture == "deepseek":
        from transformers.models.deepseek_ocr2.configuration_deepseek_ocr2 import DeepseekOcr2TextConfig

        dense = e["leadingDense"]
        layer_types = ["dense"] * dense + ["sparse"] * (shape["layers"] - dense)
        return DeepseekOcr2TextConfig(**fields, mlp_layer_types=layer_types)
    if e:
        fields["first_k_dense_replace"] = e["leadingDense"]
    if "indexer" in shape:
        i = shape["indexer"]
        fields |= dict(index_n_heads=i["heads"], index_head_dim=i["dim"], index_topk=i["topK"])
    return CLASSES[kind_of(shape)][0](**fields)


def kind_of(shape):
    if shape["architecture"] != "deepseek2":
        return shape["architecture"]
    return "deepseek2 " + shape["experts"]["scoring"]


CLASSES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    "deepseek2 softmax": (transformers.DeepseekV2Config, transformers.DeepseekV2ForCausalLM),
    "deepseek2 sigmoid": (transformers.DeepseekV3Config, transformers.DeepseekV3ForCausalLM),
    "deepseek32": (transformers.DeepseekV32Config, transformers.DeepseekV32ForCausalLM),
}

# Suffixes inside a layer: transformers' name -> GGUF's.
LAYER_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b",
    "self_attn.indexer.wq_b": "indexer.attn_q_b",
    "self_attn.indexer.wk": "indexer.attn_k",
    "self_attn.indexer.k_norm": "indexer.k_norm",
    "self_attn.indexer.weights_proj": "indexer.proj",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate.weight": "ffn_gate_inp.weight",
    "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
    "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp",
    "mlp.shared_experts.down_proj": "ffn_down_shexp",
}


def weight_for(name, seed, shape):
    """The tensor for a parameter or buffer of transformers."""
    top = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    name = name.removeprefix("model.")
    if name in top:
        return numbers(top[name], seed, shape)
    _, layer, suffix = name.split(".", 2)
    blk = f"blk.{layer}."
    if suffix == "mlp.experts.gate_up_proj":
        half = (shape[0], shape[1] // 2, shape[2])
        halves = [numbers(f"{blk}ffn_{which}_exps.weight", seed, half) for which in ("gate", "up")]
        return np.concatenate(halves, axis=1)
    if suffix == "mlp.experts.down_proj":
        return numbers(f"{blk}ffn_down_exps.weight", seed, shape)
    stem, _, kind = suffix.rpartition(".")
    gguf = LAYER_NAMES.get(suffix) or f"{LAYER_NAMES[stem]}.{kind}"
    return numbers(blk + gguf, seed, shape)


def build(shape):
    config = config_of(shape)
    if shape["architecture"] == "deepseek":
        from transformers.models.deepseek_ocr2.modeling_deepseek_ocr2 import DeepseekOcr2TextModel

        model = torch.nn.Module()
        model.model = DeepseekOcr2TextModel(config)
        model.lm_head = torch.nn.Linear(shape["hidden"], shape["vocab"], bias=False)
    else:
        model = CLASSES[kind_of(shape)][1](config)
    model = model.float().eval()
    state = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if "inv_freq" in name or name in state:
            continue
        state[name] = True
        tensor.data.copy_(torch.from_numpy(weight_for(name, shape["seed"], tuple(tensor.shape)).copy()))
    return model


@torch.no_grad()
def logits_of(shape):
    model = build(shape)
    ids = torch.from_numpy(token_ids(shape))[None]
    if shape["architecture"] == "deepseek":
        return model.lm_head(model.model(ids).last_hidden_state)[0].numpy()
    return model(ids, use_cache=False).logits[0].numpy()


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    wanted = sys.argv[1:]
    shapes = json.loads((GOLDEN / "shapes.json").read_text())
    cases = {}
    for shape in shapes:
        if wanted and shape["name"] not in wanted:
            continue
        logits = logits_of(shape).astype("<f4")
        assert np.isfinite(logits).all(), shape["name"]
        print(f"{shape['name']:24} logits {logits.shape} deviation {logits.std():.3f}", flush=True)
        cases[shape["name"]] = base64.b64encode(logits.tobytes()).decode()
    if wanted:
        return
    birth = {
        "script": "scripts/reference/models.py",
        "inputs": "test/golden/models/shapes.json",
        "oracle": f"transformers {transformers.__version__} on torch {torch.__version__}, float32, CPU, eager attention",
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
        "format": "base64 of little-endian float32 logits, [tokens, vocab] for each shape",
    }
    lines = [f'    "{name}": "{data}"' for name, data in cases.items()]
    text = '{\n  "birth": ' + json.dumps(birth, indent=4).replace("\n", "\n  ") + ',\n  "logits": {\n' + ",\n".join(lines) + "\n  }\n}\n"
    (GOLDEN / "logits.json").write_text(text)


if __name__ == "__main__":
    main()
