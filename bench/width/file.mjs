/**
 * Owns: model files of DeepSeek-V3's true width with few layers and random weights, as a folder in FP8 and as GGUF.
 * Refuses to know: how they are run or judged.
 *
 * Numbers come out of a pool of random blocks whose length is a prime number, so that every matrix begins elsewhere in
 * it and no two experts are alike.
 */
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { dtype } from '../../dist/dtypes/table.js';
import { layOutGguf, typed } from '../../dist/formats/gguf/write.js';
import { layOutSafetensors } from '../../dist/formats/safetensors/write.js';
import { configFromHf } from '../../dist/model/config-hf.js';
import { outlineModel } from '../../dist/model/load.js';
import { hfNames } from '../../dist/model/tensors-hf.js';
import { byteAlphabet } from '../../dist/tokenizer/byte-alphabet.js';

/** config.json of DeepSeek-V3 but for layers and vocabulary, which are asked for. */
const V3 = {
  architectures: ['DeepseekV3ForCausalLM'],
  model_type: 'deepseek_v3',
  hidden_size: 7168,
  intermediate_size: 18432,
  moe_intermediate_size: 2048,
  num_attention_heads: 128,
  num_key_value_heads: 128,
  q_lora_rank: 1536,
  kv_lora_rank: 512,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  v_head_dim: 128,
  n_routed_experts: 256,
  n_shared_experts: 1,
  num_experts_per_tok: 8,
  n_group: 8,
  topk_group: 4,
  norm_topk_prob: true,
  scoring_func: 'sigmoid',
  topk_method: 'noaux_tc',
  routed_scaling_factor: 2.5,
  moe_layer_freq: 1,
  max_position_embeddings: 163840,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  rope_scaling: {
    type: 'yarn',
    factor: 40,
    original_max_position_embeddings: 4096,
    beta_fast: 32,
    beta_slow: 1,
    mscale: 1,
    mscale_all_dim: 1,
  },
  tie_word_embeddings: false,
};

/** Rows of the vocabulary: width is what is tried here. */
const VOCAB = 8192;
/** Root mean square of a weight. */
const SIGMA = 0.02;
const SCALE_BLOCK = 128;

/**
 * Writes a model of `dense` layers and then `experts` layers with experts.
 *
 * @param {'fp8' | 'q4_k'} kind
 * @returns {string} what is to be opened: the folder, or the file
 * @example writeModel('fp8', { dense: 1, experts: 1, folder: '/tmp/width' });
 */
export function writeModel(kind, { dense, experts, folder }) {
  const layers = dense + experts;
  const json = { ...V3, num_hidden_layers: layers, first_k_dense_replace: dense, vocab_size: VOCAB };
  mkdirSync(folder, { recursive: true });
  return kind === 'fp8'
    ? writeFolder(json, folder)
    : writeGguf(json, join(folder, `v3-width-${layers}.gguf`));
}

function writeFolder(json, folder) {
  const published = {
    ...json,
    quantization_config: { quant_method: 'fp8', fmt: 'e4m3', weight_block_size: [SCALE_BLOCK, SCALE_BLOCK] },
  };
  const { specs } = outlineModel(configFromHf(published, 'config.json'), 'merged');
  const blocks = (n) => Math.ceil(n / SCALE_BLOCK);
  const tensors = specs.flatMap(({ name, shape, part }) => {
    const [cols, rows = 1, experts = 1] = shape;
    const plain = shape.length === 1 || part === 'embedding' || part === 'output' || part === 'router';
    const dtypeName = shape.length === 1 ? 'F32' : plain ? 'BF16' : 'F8_E4M3';
    return hfNames(name, experts).flatMap((own) => [
      { name: own, dtype: dtypeName, shape: shape.length === 1 ? shape : [cols, rows] },
      ...(plain ? [] : [{ name: `${own}_scale_inv`, dtype: 'F32', shape: [blocks(cols), blocks(rows)] }]),
    ]);
  });
  const file = join(folder, 'model.safetensors');
  writeFileSync(join(folder, 'config.json'), JSON.stringify(published, null, 2));
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(byteTokenizer()));
  fill(file, layOutSafetensors({ metadata: [['format', 'pt']], tensors }), tensors);
  return dirname(file);
}

/** A token for each byte, for the engine takes no folder without a vocabulary. */
function byteTokenizer() {
  const vocab = Object.fromEntries(byteAlphabet().charOfByte.map((text, id) => [text, id]));
  return {
    added_tokens: [],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false },
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab, merges: [] },
  };
}

function writeGguf(json, file) {
  const { specs } = outlineModel(configFromHf(json, 'config.json'), 'split');
  const tensors = specs.map(({ name, shape, part }) => {
    const [cols] = shape;
    const plain = shape.length === 1 || part === 'router';
    return { name, shape, dtype: plain ? 'F32' : cols % 256 === 0 ? 'Q4_K' : 'Q8_0' };
  });
  const of = (key, value) => [`deepseek2.${key}`, value];
  const { factor, original_max_position_embeddings: original } = json.rope_scaling;
  const metadata = [
    ['general.architecture', 'deepseek2'],
    ['general.name', 'random weights in the width of DeepSeek-V3'],
    of('block_count', json.num_hidden_layers),
    of('leading_dense_block_count', json.first_k_dense_replace),
    of('context_length', json.max_position_embeddings),
    of('embedding_length', json.hidden_size),
    of('feed_forward_length', json.intermediate_size),
    of('expert_feed_forward_length', json.moe_intermediate_size),
    of('vocab_size', json.vocab_size),
    of('attention.head_count', json.num_attention_heads),
    of('attention.head_count_kv', 1),
    of('attention.q_lora_rank', json.q_lora_rank),
    of('attention.kv_lora_rank', json.kv_lora_rank),
    of('attention.key_length', json.kv_lora_rank + json.qk_rope_head_dim),
    of('attention.value_length', json.kv_lora_rank),
    of('attention.key_length_mla', json.qk_nope_head_dim + json.qk_rope_head_dim),
    of('attention.value_length_mla', json.v_head_dim),
    of('attention.layer_norm_rms_epsilon', typed('f32', json.rms_norm_eps)),
    of('expert_count', json.n_routed_experts),
    of('expert_used_count', json.num_experts_per_tok),
    of('expert_shared_count', json.n_shared_experts),
    of('expert_group_count', json.n_group),
    of('expert_group_used_count', json.topk_group),
    of('expert_weights_scale', typed('f32', json.routed_scaling_factor)),
    of('expert_weights_norm', true),
    of('expert_gating_func', 2),
    of('rope.dimension_count', json.qk_rope_head_dim),
    of('rope.freq_base', typed('f32', json.rope_theta)),
    of('rope.scaling.type', 'yarn'),
    of('rope.scaling.factor', typed('f32', factor)),
    of('rope.scaling.original_context_length', original),
    of('rope.scaling.yarn_log_multiplier', typed('f32', 0.1)),
  ];
  fill(file, layOutGguf({ metadata, tensors }), tensors);
  return file;
}

/** Blocks in a pool: prime numbers, 32 to 64 MB of each. */
const POOL_BLOCKS = { F8_E4M3: 33554393, Q4_K: 262139, Q8_0: 999983, F32: 8388593, BF16: 16777213 };

/** Writes the header and random numbers for every tensor. */
function fill(file, { header, places, totalBytes }, tensors) {
  const fd = openSync(file, 'w');
  try {
    ftruncateSync(fd, totalBytes);
    writeAll(fd, header, 0);
    const pools = new Map();
    const next = new Map();
    for (const [i, { name, dtype: format, shape }] of tensors.entries()) {
      const { offset, bytes } = places[i];
      if (shape.length === 1 || name.endsWith('_scale_inv')) {
        writeAll(
          fd,
          vector(
            name,
            shape.reduce((a, b) => a * b, 1),
          ),
          offset,
        );
        continue;
      }
      if (!pools.has(format)) pools.set(format, poolOf(format));
      const pool = pools.get(format);
      let from = next.get(format) ?? 0;
      for (let done = 0; done < bytes; ) {
        const size = Math.min(bytes - done, pool.length - from);
        writeAll(fd, pool.subarray(from, from + size), offset + done);
        done += size;
        from = (from + size) % pool.length;
      }
      next.set(format, from);
    }
  } finally {
    closeSync(fd);
  }
}

function writeAll(fd, bytes, at) {
  for (let done = 0; done < bytes.length; )
    done += writeSync(fd, bytes, done, bytes.length - done, at + done);
}

/** Norms about 1, biases about 0, scales that bring E4M3's numbers to SIGMA. */
function vector(name, length) {
  const codes = 130; // Root mean square of E4M3's numbers when every code is as likely.
  const [mean, spread] = name.endsWith('_scale_inv')
    ? [SIGMA / codes, SIGMA / codes / 4]
    : name.includes('bias')
      ? [0, 0.01]
      : [1, 0.1];
  const random = randomWords(length);
  const numbers = Float32Array.from(random, (word) => mean + spread * (word / 2 ** 31 - 1));
  return new Uint8Array(numbers.buffer);
}

function poolOf(name) {
  const { blockBytes } = dtype(name);
  const blocks = POOL_BLOCKS[name];
  const random = randomWords(Math.ceil((blocks * blockBytes) / 4));
  const bytes = new Uint8Array(random.buffer, 0, blocks * blockBytes);
  const view = new DataView(bytes.buffer);
  const half = new Uint8Array(2);
  const putHalf = (at, x) => {
    dtype('F16').encode(Float32Array.of(x), 0, half, 0, 1);
    bytes.set(half, at);
  };
  const uniform = (at) => SIGMA * Math.sqrt(3) * (view.getUint32(at, true) / 2 ** 31 - 1);
  for (let b = 0, at = 0; b < blocks; b++, at += blockBytes) {
    if (name === 'F8_E4M3') {
      // The two codes that are no numbers become the largest.
      if ((bytes[at] & 0x7f) === 0x7f) bytes[at]--;
    } else if (name === 'Q8_0') putHalf(at, SIGMA / 74);
    else if (name === 'Q4_K') {
      // Scales and mins are 31.5 on average, and so are nibbles 7.5: then the mean is zero.
      putHalf(at, SIGMA / 200);
      putHalf(at + 2, (7.5 * SIGMA) / 200);
    } else if (name === 'F32') view.setFloat32(at, uniform(at), true);
    else dtype('BF16').encode(Float32Array.of(uniform(Math.min(at, bytes.length - 4))), 0, bytes, at, 1);
  }
  return bytes;
}

let state = 0x9e3779b9;

/** Words of xorshift, another run of them each time. */
function randomWords(count) {
  const words = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state >>> 0;
  }
  return words;
}
