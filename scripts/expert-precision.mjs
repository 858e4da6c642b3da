/**
 * Owns: an experiment: does it pay to give experts bits by how often they are chosen?
 * Refuses to know: files of quantized types. A GGUF stack has one type for all its experts, so each expert's matrices are
 * rounded to a type and decoded again, and the model runs in F32: the same numbers, at no saving of memory.
 *
 *   node scripts/expert-precision.mjs     (after a build; some minutes)
 *
 * The model is a toy of the architecture deepseek2 with random weights, 16 experts of which two are chosen, and a router
 * bias that makes some much more frequent than others. Every plan spends the same: half of the experts in the
 * upper type, half in the lower, or all in one between.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chooseBackend } from '../dist/backend/choose.node.js';
import { dtype } from '../dist/dtypes/table.js';
import { divergence, logSoftmax } from '../dist/evaluate/distributions.js';
import { typed, writeGguf } from '../dist/formats/gguf/write.js';
import { closeModelFile, openModelFile } from '../dist/formats/open.node.js';
import { loadModel } from '../dist/model/load.js';

const [HIDDEN, INTER, EXPERTS, USED, VOCAB, LAYERS, TOKENS] = [256, 256, 16, 2, 256, 2, 96];
const TYPES = { upper: 'Q6_K', lower: 'Q2_K', between: 'Q4_K' };
const SEEDS = [1, 2, 3];
const SKEWS = [0, 0.3, 1];

const PLANS = ['uniform', 'frequent', 'rare', 'random'];
const found = new Map(SKEWS.map((skew) => [skew, { share: [], kl: PLANS.map(() => []) }]));
for (const seed of SEEDS) {
  const plain = toy(seed);
  const versions = Object.fromEntries(Object.values(TYPES).map((type) => [type, rounded(plain, type)]));
  const ids = Int32Array.from(
    { length: TOKENS },
    seeded(seed * 77, (u) => Math.floor(u * VOCAB)),
  );
  for (const skew of SKEWS) {
    const { logits: exact, counts } = await run(biased(plain, skew), ids);
    const order = counts.map((layer) => [...layer.keys()].sort((a, b) => layer[b] - layer[a]));
    const lot = counts.map((_, l) => [...order[l]].sort(seeded(seed * 13 + l, (u) => u - 0.5)));
    const among = (ranking, l, e) => ranking[l].indexOf(e) < EXPERTS / 2;
    const { share, kl } = found.get(skew);
    for (const [l, layer] of counts.entries()) {
      const top = order[l].slice(0, EXPERTS / 2).reduce((chosen, e) => chosen + layer[e], 0);
      share.push(top / layer.reduce((a, b) => a + b));
    }
    const plans = [
      () => TYPES.between,
      (l, e) => (among(order, l, e) ? TYPES.upper : TYPES.lower),
      (l, e) => (among(order, l, e) ? TYPES.lower : TYPES.upper),
      (l, e) => (among(lot, l, e) ? TYPES.upper : TYPES.lower),
    ];
    for (const [i, typeOf] of plans.entries()) {
      const { logits } = await run(biased(mixed(plain, versions, typeOf), skew), ids);
      kl[i].push(meanKl(exact, logits));
    }
  }
}
const mean = (list) => list.reduce((a, b) => a + b) / list.length;
for (const [skew, { share, kl }] of found) {
  const of = PLANS.map(
    (name, i) => `${name} ${mean(kl[i]).toFixed(4)} (${kl[i].map((x) => x.toFixed(4)).join(' ')})`,
  );
  console.log(
    `bias ${skew}: the frequent half has ${(100 * mean(share)).toFixed(0)} % of the choices; mean KL ${of.join(', ')}`,
  );
}

function toy(seed) {
  const tensors = [];
  const add = (name, shape, scale, offset = 0) => {
    const next = seeded(seed * 1000 + tensors.length, (u) => offset + scale * (2 * u - 1));
    const count = shape.reduce((a, b) => a * b, 1);
    tensors.push({ name, shape, values: Float32Array.from({ length: count }, next) });
  };
  const matrix = (name, cols, rows, more = []) =>
    add(`${name}.weight`, [cols, rows, ...more], Math.sqrt(3 / cols));
  const norm = (name, length) => add(`${name}.weight`, [length], 0.2, 1);
  add('token_embd.weight', [HIDDEN, VOCAB], 1.7);
  for (let l = 0; l < LAYERS; l++) {
    const block = `blk.${l}`;
    norm(`${block}.attn_norm`, HIDDEN);
    matrix(`${block}.attn_q`, HIDDEN, 4 * 96);
    matrix(`${block}.attn_kv_a_mqa`, HIDDEN, 128 + 32);
    norm(`${block}.attn_kv_a_norm`, 128);
    matrix(`${block}.attn_kv_b`, 128, 4 * (64 + 64));
    matrix(`${block}.attn_output`, 4 * 64, HIDDEN);
    norm(`${block}.ffn_norm`, HIDDEN);
    matrix(`${block}.ffn_gate_inp`, HIDDEN, EXPERTS);
    add(`${block}.exp_probs_b.bias`, [EXPERTS], 1);
    for (const part of ['gate', 'up', 'down']) matrix(`${block}.ffn_${part}_exps`, HIDDEN, INTER, [EXPERTS]);
    for (const part of ['gate', 'up', 'down']) matrix(`${block}.ffn_${part}_shexp`, HIDDEN, INTER);
  }
  norm('output_norm', HIDDEN);
  matrix('output', HIDDEN, VOCAB);
  return tensors;
}

function isStack({ name }) {
  return name.includes('_exps.');
}

/** The router's correction, more or less of it. */
function biased(tensors, skew) {
  return tensors.map((tensor) =>
    tensor.name.includes('exp_probs_b') ? { ...tensor, values: tensor.values.map((b) => skew * b) } : tensor,
  );
}

/** All experts to a type and back, by the stack's name. */
function rounded(tensors, type) {
  const { encode, decode, blockBytes, blockElements } = dtype(type);
  return new Map(
    tensors.filter(isStack).map(({ name, values }) => {
      const bytes = new Uint8Array((values.length / blockElements) * blockBytes);
      encode(values, 0, bytes, 0, values.length);
      const again = new Float32Array(values.length);
      decode(bytes, 0, again, 0, again.length);
      return [name, again];
    }),
  );
}

/** Every expert as it is in the type that a plan gives it. */
function mixed(tensors, versions, typeOf) {
  return tensors.map((tensor) => {
    if (!isStack(tensor)) return tensor;
    const layer = Number(tensor.name.split('.')[1]);
    const values = new Float32Array(tensor.values.length);
    const each = values.length / EXPERTS;
    for (let e = 0; e < EXPERTS; e++) {
      const from = versions[typeOf(layer, e)].get(tensor.name);
      values.set(from.subarray(e * each, (e + 1) * each), e * each);
    }
    return { ...tensor, values };
  });
}

/** Logits [tokens, vocab] and how often each expert of a layer was chosen, of one prompt. */
async function run(tensors, ids) {
  const metadata = [
    ['general.architecture', 'deepseek2'],
    ['deepseek2.block_count', LAYERS],
    ['deepseek2.context_length', 128],
    ['deepseek2.embedding_length', HIDDEN],
    ['deepseek2.feed_forward_length', INTER],
    ['deepseek2.vocab_size', VOCAB],
    ['deepseek2.attention.head_count', 4],
    ['deepseek2.attention.head_count_kv', 4],
    ['deepseek2.attention.key_length', 96],
    ['deepseek2.attention.value_length', 64],
    ['deepseek2.attention.kv_lora_rank', 128],
    ['deepseek2.attention.layer_norm_rms_epsilon', typed('f32', 1e-6)],
    ['deepseek2.rope.dimension_count', 32],
    ['deepseek2.rope.freq_base', typed('f32', 10_000)],
    ['deepseek2.leading_dense_block_count', 0],
    ['deepseek2.expert_count', EXPERTS],
    ['deepseek2.expert_used_count', USED],
    ['deepseek2.expert_shared_count', 1],
    ['deepseek2.expert_feed_forward_length', INTER],
    ['deepseek2.expert_weights_scale', typed('f32', 1)],
    ['deepseek2.expert_weights_norm', true],
    ['deepseek2.expert_gating_func', 2],
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.tokens', Array.from({ length: VOCAB }, (_, id) => `t${id}`)],
  ];
  const plans = tensors.map(({ name, shape, values }) => ({
    name,
    shape,
    dtype: 'F32',
    data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  }));
  const folder = mkdtempSync(join(tmpdir(), 'hadal-experts-'));
  const path = join(folder, 'toy.gguf');
  writeFileSync(path, writeGguf({ metadata, tensors: plans }));
  const file = await openModelFile(path);
  const backend = chooseBackend();
  const model = await loadModel(file, backend);
  const stores = model.streams.map((stream) => backend.cache('F32', 1, TOKENS, stream.cols));
  const forward = model.prepare(stores, TOKENS, TOKENS, { countExperts: true });
  const column = (data) => {
    const tensor = backend.tensor('I32', data.length, 1);
    backend.write(tensor, data);
    return tensor;
  };
  const positions = Int32Array.from(ids, (_, i) => i);
  const pages = backend.tensor('I32', 1, 1);
  backend.write(pages, Int32Array.of(0));
  const span = { rows: TOKENS, decodeRows: 0 };
  const out = forward(backend, {
    ...span,
    tokens: column(ids),
    positions: column(positions),
    sequences: column(new Int32Array(TOKENS)),
    slots: column(positions),
    pages,
    outputs: column(positions),
    outputSpan: span,
  });
  const logits = (await backend.read(out, TOKENS)).slice();
  const all = Array.from(await backend.read(forward.expertCounts.counts, 1));
  const counts = Array.from({ length: LAYERS }, (_, l) => all.slice(l * EXPERTS, (l + 1) * EXPERTS));
  await backend[Symbol.asyncDispose]();
  await closeModelFile(file);
  rmSync(folder, { recursive: true });
  return { logits, counts };
}

function meanKl(exact, logits) {
  let sum = 0;
  for (let row = 0; row < TOKENS; row++) {
    const of = (all) => logSoftmax(all.subarray(row * VOCAB, (row + 1) * VOCAB));
    sum += divergence(of(exact), of(logits));
  }
  return sum / TOKENS;
}

/** A function that draws numbers, the same every time (mulberry32). */
function seeded(seed, shape) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return shape(((t ^ (t >>> 14)) >>> 0) / 2 ** 32);
  };
}
