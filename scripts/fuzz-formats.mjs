/**
 * Owns: mutating valid GGUF and safetensors files and holding the readers to their word: they read or refuse with a
 * HadalError, at once, and keep nothing.
 * Refuses to know: how files are read.
 *
 *   node scripts/fuzz-formats.mjs [--runs 1000000] [--from 0] [--seed 1] [--json]
 *   node scripts/fuzz-formats.mjs --only RUN [--seed 1] [--save FILE]     one run again, and its file
 *
 * Needs `npm run build`. Run N of a seed is the same on every machine, so runs can be cut in slices with --from.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { HadalError } from '../dist/error.js';
import { bytesSource } from '../dist/formats/byte-source.js';
import { readGguf } from '../dist/formats/gguf/read.js';
import { typed, writeGguf } from '../dist/formats/gguf/write.js';
import { readSafetensors } from '../dist/formats/safetensors/read.js';
import { readIndex } from '../dist/formats/safetensors/shards.js';
import { writeSafetensors } from '../dist/formats/safetensors/write.js';
import { describeModel } from '../dist/model/load.js';
import { byteAlphabet } from '../dist/tokenizer/byte-alphabet.js';
import { tokenizerFromGguf } from '../dist/tokenizer/from-gguf.js';
import { tokenizerFromJson } from '../dist/tokenizer/from-json.js';
import { randomOf } from './fuzz-random.mjs';

/** A run beyond this hangs: ten times the slowest seen on a machine that others kept busy. */
const HANG_MS = 20_000;
/** What may be left after a collection, over what was left after warming up. */
const GROWTH_BYTES = 16 << 20;
const WARM_UP_RUNS = 500;

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '1000000' },
    from: { type: 'string', default: '0' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    save: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');
const golden = (name) => new Uint8Array(readFileSync(new URL(`../test/golden/${name}`, import.meta.url)));

/** Valid files: bytes, how many of them are header, what reads them. */
const SEEDS = [...ggufSeeds(), ...safetensorsSeeds(), ...textSeeds()];

const seed = Number(values.seed);

async function fuzz(from, runs) {
  const startedMs = performance.now();
  const outcomes = new Map();
  let slowestMs = 0;
  let baseBytes = 0;
  for (let run = from; run < from + runs; run++) {
    if (run === from + Math.min(WARM_UP_RUNS, runs - 1)) baseBytes = await keptBytes();
    const runMs = performance.now();
    const outcome = await judged(mutant(run));
    if (outcome.fault) fail(run, outcome.fault);
    const tookMs = performance.now() - runMs;
    if (tookMs > slowestMs) slowestMs = tookMs;
    if (tookMs > HANG_MS) fail(run, `took ${Math.round(tookMs)} ms`);
    outcomes.set(outcome.code, (outcomes.get(outcome.code) ?? 0) + 1);
    if (run % 20_000 === 0 && !values.json) process.stderr.write(`\r${run - from} of ${runs}`);
  }
  const grownBytes = (await keptBytes()) - baseBytes;
  if (grownBytes > GROWTH_BYTES) fail(from + runs, `kept ${grownBytes} bytes more than after warming up`);
  const seconds = (performance.now() - startedMs) / 1000;
  const report = {
    runs,
    from,
    seed,
    seconds,
    slowestMs,
    grownBytes,
    outcomes: Object.fromEntries([...outcomes].sort()),
  };
  if (values.json) console.log(JSON.stringify(report));
  else console.log(`\r${runs} runs, no fault\n`, report);
}

async function again(run) {
  const { bytes, kind } = mutant(run);
  if (values.save !== undefined) writeFileSync(values.save, bytes);
  console.log({ run, seed, kind, bytes: bytes.length, ...(await judged({ bytes, kind })) });
}

function fail(run, why) {
  console.error(
    `run ${run} of seed ${seed}: ${why}; again: node scripts/fuzz-formats.mjs --seed ${seed} --only ${run}`,
  );
  process.exit(1);
}

/** Buffers are let go of in a second collection, after the tasks of the first. */
async function keptBytes() {
  for (let times = 0; times < 3; times++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** What a reader makes of bytes: `read`, the code of its refusal, or a fault. */
async function judged({ bytes, kind }) {
  try {
    await READERS[kind](bytes);
    return { code: 'read' };
  } catch (error) {
    if (!(error instanceof HadalError)) return { fault: error.stack ?? String(error) };
    // One sentence of a length that can be read, whatever the file says.
    if (error.message.length > 1_500) return { fault: `a sentence of ${error.message.length} characters` };
    return { code: error.code, message: error.message };
  }
}

const READERS = {
  async gguf(bytes) {
    const file = await readGguf(bytesSource(bytes, 'fuzzed.gguf'));
    inside(file, bytes);
    refusedOrDone(() => describeModel(file));
    tried(tokenizerFromGguf(file.metadata));
  },
  async safetensors(bytes) {
    inside(await readSafetensors(bytesSource(bytes, 'fuzzed.safetensors')), bytes);
  },
  async index(bytes) {
    const { files, fileOf } = readIndex(textOf(bytes), 'the index');
    if (files.some((name) => /[/\\]/.test(name)) || fileOf.size < files.length)
      throw new Error('a path out of the folder');
  },
  async config(bytes) {
    const metadata = new Map([['config.json', textOf(bytes)]]);
    describeModel({ format: 'safetensors', sources: [], metadata, tensors: new Map() });
  },
  async tokenizer(bytes) {
    let json;
    try {
      json = JSON.parse(textOf(bytes));
    } catch {
      return;
    }
    tried(tokenizerFromJson(json));
  },
};

function textOf(bytes) {
  return new TextDecoder().decode(bytes);
}

function inside({ tensors }, bytes) {
  for (const { name, offset, bytes: length } of tensors.values()) {
    if (!(offset >= 0 && length >= 0 && offset + length <= bytes.length))
      throw new Error(`"${name}" lies outside`);
  }
}

function refusedOrDone(what) {
  try {
    what();
  } catch (error) {
    if (!(error instanceof HadalError)) throw error;
  }
}

/** A vocabulary that was accepted cuts any text, and puts it together. */
function tried(tokenizer) {
  const ids = tokenizer.encode('Hello, 12 深海 \u{1f30a}\n', { special: true, bos: true });
  if (!tokenizer.decode(ids, { special: true }).isWellFormed())
    throw new Error('text that is not well-formed');
}

function ggufSeeds() {
  const python = golden('gguf/python.gguf');
  const { charOfByte } = byteAlphabet();
  const tokens = [...charOfByte, 'he', 'll', 'hell', 'hello', '<|end|>'];
  const metadata = [
    ['general.architecture', 'deepseek2'],
    ['general.alignment', typed('u32', 32)],
    ['deepseek2.block_count', 1],
    ['deepseek2.context_length', 64],
    ['deepseek2.embedding_length', 32],
    ['deepseek2.feed_forward_length', 32],
    ['deepseek2.attention.head_count', 2],
    ['deepseek2.attention.kv_lora_rank', 32],
    ['deepseek2.attention.key_length', 24],
    ['deepseek2.attention.value_length', 16],
    ['deepseek2.attention.layer_norm_rms_epsilon', typed('f32', 1e-6)],
    ['deepseek2.rope.dimension_count', 8],
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', 'deepseek-v3'],
    ['tokenizer.ggml.tokens', tokens],
    ['tokenizer.ggml.token_type', Int32Array.from(tokens, (text) => (text === '<|end|>' ? 3 : 1))],
    ['tokenizer.ggml.merges', ['h e', 'l l', 'he ll', 'hell o']],
    ['tokenizer.ggml.eos_token_id', tokens.length - 1],
    ['nested', [Int32Array.of(1, 2), Int32Array.of(3)]],
    ['flags', [true, false]],
  ];
  const tensor = (name, dtype, shape, bytes) => ({ name, dtype, shape, data: new Uint8Array(bytes) });
  const tensors = [
    tensor('token_embd.weight', 'Q8_0', [32, tokens.length], 34 * tokens.length),
    tensor('blk.0.attn_kv_b.weight', 'F16', [32, 64], 4096),
    tensor('output_norm.weight', 'F32', [32], 128),
  ];
  const whole = writeGguf({ metadata, tensors });
  const bare = writeGguf({ metadata: metadata.slice(0, 4), tensors: tensors.slice(1) });
  const dataBytes = tensors.reduce((sum, { data }) => sum + data.length, 0);
  return [
    { kind: 'gguf', bytes: python, headerBytes: 1_200 },
    { kind: 'gguf', bytes: whole, headerBytes: whole.length - dataBytes },
    { kind: 'gguf', bytes: bare, headerBytes: 500 },
  ];
}

function safetensorsSeeds() {
  const data = (length) => new Uint8Array(length);
  const small = writeSafetensors({
    metadata: [['format', 'pt']],
    tensors: [
      { name: 'model.embed_tokens.weight', dtype: 'BF16', shape: [8, 4], data: data(64) },
      { name: 'a "quoted" name', dtype: 'F8_E4M3', shape: [3, 3], data: data(9) },
      { name: 'scalar', dtype: 'F32', shape: [], data: data(4) },
      { name: 'empty', dtype: 'I64', shape: [0, 7], data: data(0) },
    ],
  });
  const published = golden('hf/bf16/model-00002-of-00003.safetensors');
  const lengthOf = (bytes) => 8 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return [small, published].map((bytes) => ({ kind: 'safetensors', bytes, headerBytes: lengthOf(bytes) }));
}

function textSeeds() {
  const seedOf = (kind, name) => {
    const bytes = golden(name);
    return { kind, bytes, headerBytes: bytes.length };
  };
  return [
    seedOf('index', 'hf/bf16/model.safetensors.index.json'),
    seedOf('config', 'hf/fp8/config.json'),
    seedOf('tokenizer', 'hf/bf16/tokenizer.json'),
  ];
}

/** The file of a run: a valid one after one to six changes, most of them in its header. */
function mutant(run) {
  const random = randomOf(run, seed);
  const below = (n) => Math.floor(random() * n);
  // Texts are slow to parse and dull: one run in sixteen.
  const origin = random() < 1 / 16 ? SEEDS[5 + below(3)] : SEEDS[below(5)];
  let { bytes } = origin;
  let { headerBytes } = origin;
  for (let changes = 1 + below(random() < 0.5 ? 1 : 6); changes > 0; changes--) {
    const at = below(random() < 0.95 ? Math.min(headerBytes, bytes.length) : bytes.length);
    const before = bytes.length;
    bytes = CHANGES[below(CHANGES.length)](bytes, at, below);
    headerBytes = Math.max(1, Math.min(bytes.length, headerBytes + bytes.length - before));
    if (bytes.length === 0) break;
  }
  return { bytes, kind: origin.kind };
}

/** Numbers at which bounds break. */
const EDGES = [
  0n,
  1n,
  2n,
  7n,
  31n,
  2n ** 16n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 40n,
  2n ** 53n,
  2n ** 62n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];
/** Pieces of JSON that change what comes after them. */
const PIECES = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  '\\u0000',
  '\\ud800',
  '-1',
  '1e999',
  '0',
  '9007199254740993',
  'null',
  '__metadata__',
  '"a":{}',
  '\u0000',
  ' ',
];

const CHANGES = [
  (bytes, at, below) => changed(bytes, at, Uint8Array.of(below(256))),
  (bytes, at, below) => changed(bytes, at, Uint8Array.of(bytes[at] ^ (1 << below(8)))),
  (bytes, at, below) => changed(bytes, at, Uint8Array.of(bytes[at] + (below(3) - 1))),
  (bytes, at, below) => changed(bytes, at, numberBytes(EDGES[below(EDGES.length)], 8)),
  (bytes, at, below) => changed(bytes, at, numberBytes(EDGES[below(EDGES.length)], 4)),
  (bytes, at) => bytes.slice(0, at),
  (bytes, at, below) => spliced(bytes, at, below(40), new Uint8Array(0)),
  (bytes, at, below) =>
    spliced(
      bytes,
      at,
      0,
      Uint8Array.from({ length: 1 + below(16) }, () => below(256)),
    ),
  (bytes, at, below) => spliced(bytes, at, 0, bytes.slice(below(bytes.length)).subarray(0, below(64))),
  (bytes, at, below) => changed(bytes, at, bytes.slice(below(bytes.length)).subarray(0, below(64))),
  (bytes, at, below) => spliced(bytes, at, below(8), new TextEncoder().encode(PIECES[below(PIECES.length)])),
  (bytes, at, below) => changed(bytes, at, new Uint8Array(below(32)).fill(below(2) * 255)),
];

function numberBytes(value, length) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes.subarray(0, length);
}

function changed(bytes, at, over) {
  const copy = bytes.slice();
  copy.set(over.subarray(0, copy.length - at), at);
  return copy;
}

function spliced(bytes, at, cut, put) {
  const rest = bytes.subarray(Math.min(bytes.length, at + cut));
  const out = new Uint8Array(at + put.length + rest.length);
  out.set(bytes.subarray(0, at));
  out.set(put, at);
  out.set(rest, at + put.length);
  return out;
}

if (values.only !== undefined) await again(Number(values.only));
else await fuzz(Number(values.from), Number(values.runs));
