"""Makes test/golden/hf: Hugging Face folders of toy models as transformers writes them, and their logits.

    python scripts/reference/hf-folders.py        (needs torch and transformers; versions go into logits.json)

Weights are random (seeded). Every folder is written by save_pretrained; those of `fp8` are then quantized as DeepSeek-V3 was
published: every linear weight of the layers but the gate in E4M3, with one float32 scale (`weight_scale_inv`) for each
128 x 128 of it. The logits are of transformers in float32 on the CPU with the weights as the folder has them.
"""

import base64
import datetime
import json
import pathlib
import platform
import shutil

import numpy as np
import safetensors.torch
import tokenizers
import torch
import transformers

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "test" / "golden" / "hf"
TEXT = "def add(a, b):\n    return a + b  # 12 + 34 = 46, déjà vu, 深海\n"
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def tokenizer_of():
    """A byte-level vocabulary of 300 tokens with ChatML's control tokens."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=CONTROLS,
        show_progress=False,
    )
    made.train_from_iterator([TEXT] * 4, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML
    )


GROUPED = dict(
    vocab_size=300,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
    attn_implementation="eager",
)
LATENT = GROUPED | dict(
    hidden_size=160,
    intermediate_size=144,
    num_key_value_heads=4,
    q_lora_rank=40,
    kv_lora_rank=32,
    qk_nope_head_dim=24,
    qk_rope_head_dim=8,
    v_head_dim=24,
    n_routed_experts=8,
    num_experts_per_tok=3,
    n_shared_experts=1,
    moe_intermediate_size=40,
    routed_scaling_factor=2.5,
    norm_topk_prob=True,
    n_group=4,
    topk_group=2,
    first_k_dense_replace=1,
    num_hidden_layers=3,
    rope_parameters=dict(
        rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=128, beta_fast=32.0, beta_slow=1.0,
        mscale=1.0, mscale_all_dim=1.0,
    ),
)
FOLDERS = {
    "f32": (transformers.LlamaConfig(**GROUPED), transformers.LlamaForCausalLM, torch.float32, "50GB"),
    "f16": (transformers.Qwen3Config(**GROUPED, head_dim=16), transformers.Qwen3ForCausalLM, torch.float16, "50GB"),
    "bf16": (transformers.Qwen2Config(**GROUPED, tie_word_embeddings=True), transformers.Qwen2ForCausalLM, torch.bfloat16, "60KB"),
    "fp8": (transformers.DeepseekV3Config(**LATENT), transformers.DeepseekV3ForCausalLM, torch.bfloat16, "300KB"),
    "fp8-dense": (transformers.LlamaConfig(**GROUPED | dict(hidden_size=160, head_dim=40)), transformers.LlamaForCausalLM, torch.bfloat16, "200KB"),
}
GENERATION = {
    "f32": dict(do_sample=False),
    "f16": dict(do_sample=True, temperature=0.6, top_p=0.95, top_k=20),
    "bf16": dict(do_sample=True, temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.05),
    "fp8": dict(do_sample=True, temperature=0.6, top_p=0.95),
    "fp8-dense": dict(),
}


def randomize(model):
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if "inv_freq" in name:
            continue
        noise = torch.randn(tensor.shape)
        if "norm" in name:
            tensor.data.copy_(1 + noise / 8)
        elif tensor.dim() == 1:
            tensor.data.copy_(noise / 8)
        else:
            tensor.data.copy_(noise * 1.5 / tensor.shape[-1] ** 0.5)


def quantized(weight):
    """E4M3 and the scales of its blocks of 128 x 128, the last of a row or column being what is left."""
    weight = weight.float()
    scales = torch.empty([-(-length // 128) for length in weight.shape])
    out = torch.empty(weight.shape, dtype=torch.float8_e4m3fn)
    for r in range(scales.shape[0]):
        for c in range(scales.shape[1]):
            block = (slice(r * 128, r * 128 + 128), slice(c * 128, c * 128 + 128))
            scales[r, c] = weight[block].abs().max() / 448
            out[block] = (weight[block] / scales[r, c]).to(torch.float8_e4m3fn)
    return out, scales


def dequantized(weight, scales):
    spread = scales.repeat_interleave(128, 0).repeat_interleave(128, 1)
    return weight.float() * spread[: weight.shape[0], : weight.shape[1]]


def to_fp8(folder):
    """Quantizes a folder in place; its files and index keep their form."""
    index_path = folder / "model.safetensors.index.json"
    index = json.loads(index_path.read_text())
    for file in sorted(set(index["weight_map"].values())):
        tensors = {}
        for name, tensor in safetensors.torch.load_file(folder / file).items():
            inside = name.startswith("model.layers.") and tensor.dim() == 2 and not name.endswith("mlp.gate.weight")
            if not inside:
                # The bias of the gate is published in float32, whatever the rest is.
                tensors[name] = tensor.float() if name.endswith("e_score_correction_bias") else tensor
                continue
            tensors[name], tensors[name + "_scale_inv"] = quantized(tensor)
            index["weight_map"][name + "_scale_inv"] = file
        safetensors.torch.save_file(tensors, folder / file, metadata={"format": "pt"})
    index_path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    config_path = folder / "config.json"
    config = json.loads(config_path.read_text())
    config["quantization_config"] = dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", weight_block_size=[128, 128])
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


@torch.no_grad()
def logits_of(kind, folder, ids):
    """Of transformers in float32, with the folder's own numbers."""
    config, model_class, _, _ = FOLDERS[kind]
    source = folder
    if kind.startswith("fp8"):
        source = folder.with_name("plain")
        shutil.copytree(folder, source)
        for path in source.glob("*.safetensors"):
            tensors = safetensors.torch.load_file(path)
            scales = {name: tensors.pop(name) for name in list(tensors) if name.endswith("_scale_inv")}
            plain = {name: dequantized(t, scales[name + "_scale_inv"]) if t.dtype == torch.float8_e4m3fn else t.float() for name, t in tensors.items()}
            safetensors.torch.save_file(plain, path, metadata={"format": "pt"})
        config_json = json.loads((source / "config.json").read_text())
        del config_json["quantization_config"]
        (source / "config.json").write_text(json.dumps(config_json))
        index_path = source / "model.safetensors.index.json"
        index = json.loads(index_path.read_text())
        index["weight_map"] = {name: file for name, file in index["weight_map"].items() if not name.endswith("_scale_inv")}
        index_path.write_text(json.dumps(index))
    model, report = model_class.from_pretrained(source, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    if source != folder:
        shutil.rmtree(source)
    return model.eval()(ids, use_cache=False).logits[0].numpy()


def main():
    torch.manual_seed(20261125)
    torch.set_num_threads(1)
    tokenizer = tokenizer_of()
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    logits = {}
    for kind, (config, model_class, dtype, shard) in FOLDERS.items():
        folder = OUT / kind
        shutil.rmtree(folder, ignore_errors=True)
        config.eos_token_id = tokenizer.eos_token_id
        model = model_class(config).to(dtype)
        randomize(model)
        model.generation_config = transformers.GenerationConfig(
            **GENERATION[kind], eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id]
        )
        model.save_pretrained(folder, max_shard_size=shard)
        tokenizer.save_pretrained(folder)
        if kind.startswith("fp8"):
            to_fp8(folder)
        found = logits_of(kind, folder, ids).astype("<f4")
        assert np.isfinite(found).all()
        print(f"{kind:6} {found.shape} deviation {found.std():.3f}", sorted(path.name for path in folder.iterdir()), flush=True)
        logits[kind] = base64.b64encode(found.tobytes()).decode()
    birth = {
        "script": "scripts/reference/hf-folders.py",
        "inputs": "none; seed 20261125",
        "oracle": f"transformers {transformers.__version__} on torch {torch.__version__}, float32, CPU, eager attention",
        "writers": f"safetensors {safetensors.__version__}, tokenizers {tokenizers.__version__}, Python {platform.python_version()}",
        "date": datetime.date.today().isoformat(),
        "format": "logits: base64 of little-endian float32, [ids, vocab]; chat: ids of a user who says 'add'",
    }
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "add"}], add_generation_prompt=True, return_dict=False)
    golden = {"birth": birth, "text": TEXT, "ids": ids[0].tolist(), "chat": chat, "logits": logits}
    (OUT / "logits.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")


main()
