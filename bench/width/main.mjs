/**
 * Owns: `node bench/width/main.mjs`: models of DeepSeek-V3's true width are made, run and judged: their memory by what
 * `inspect` prints, some rows of every matrix by the reference backend.
 * Refuses to know: how files are made, what is in a layer.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { createNativeBackend } from '../../dist/backend/native/native.node.js';
import { createReferenceBackend } from '../../dist/backend/reference/reference.js';
import { rowBytes } from '../../dist/dtypes/table.js';
import { closeModelFile, openModelFile } from '../../dist/formats/open.node.js';
import { describeModel, planTensors } from '../../dist/model/load.js';
import { cacheCost } from '../../dist/model/streams.js';
import { someIds, startChild } from '../engine/child.mjs';
import { keepResults } from '../kept.mjs';
import { writeModel } from './file.mjs';

const USAGE = `usage: node bench/width/main.mjs [flags]

  --only NAMES    of ${'fp8-1+1, q4_k-0+1, q4_k-0+2'}; all of them otherwise, one after the other (up to 14 GB each)
  --folder PATH   where files are made, and removed again; a temporary folder otherwise
  --rows N        rows that are compared of every matrix; 100 otherwise
  --out NAME      writes bench/results/NAME.json; otherwise the figures are only shown`;

const MODELS = {
  'fp8-1+1': { kind: 'fp8', dense: 1, experts: 1 },
  'q4_k-0+1': { kind: 'q4_k', dense: 0, experts: 1 },
  'q4_k-0+2': { kind: 'q4_k', dense: 0, experts: 2 },
};
const CONTEXT_TOKENS = 1024;
const PROMPT_TOKENS = 512;
/** What memory may be of what `inspect` prints. */
const MOST_MEMORY = 1.1;
/** Largest difference by the root mean square of a product, as in test/contract: floats, or activations in int8. */
const TOLERANCE = { F32: 2e-5, BF16: 2e-5, F8_E4M3: 2e-5, Q8_0: 0.03, Q4_K: 0.04 };

const { values: flags } = parseArgs({
  options: {
    only: { type: 'string' },
    folder: { type: 'string' },
    rows: { type: 'string', default: '100' },
    out: { type: 'string' },
    help: { type: 'boolean' },
  },
});
if (flags.help) console.log(USAGE);
else {
  const models = [];
  for (const name of flags.only?.split(',') ?? Object.keys(MODELS)) {
    const folder = mkdtempSync(join(resolve(flags.folder ?? tmpdir()), 'hadal-width-'));
    try {
      models.push(await judge(name, writeModel(MODELS[name].kind, { ...MODELS[name], folder })));
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
  if (flags.out !== undefined) keepResults(flags.out, { rowsCompared: Number(flags.rows), models });
}

async function judge(name, model) {
  const file = await openModelFile(model);
  try {
    const { heldBytes, streams } = describeModel(file);
    const perToken = cacheCost(streams, 'F16').reduce((sum, { bytesPerToken }) => sum + bytesPerToken, 0);
    const promised = heldBytes + 2 * CONTEXT_TOKENS * perToken;
    const { peak, prefillMs, decode } = await run(model);
    verdict(`${name}: memory ${gigabytes(peak)} of ${gigabytes(promised)}`, peak / promised, MOST_MEMORY);
    const matrices = [];
    console.log(
      `${name}: ${PROMPT_TOKENS} tokens read in ${Math.round(prefillMs)} ms, ${decode.toFixed(2)} tokens/s after`,
    );
    for (const [format, { worst, matrices: count }] of await compare(file, Number(flags.rows))) {
      verdict(
        `${name}: ${count} matrices of ${format}, ${flags.rows} rows each, worst`,
        worst,
        TOLERANCE[format],
      );
      matrices.push({ format, count, worst, limit: TOLERANCE[format] });
    }
    return {
      name,
      peakBytes: peak,
      promisedBytes: promised,
      prefillMs,
      decodeTokensPerSecond: decode,
      matrices,
    };
  } finally {
    await closeModelFile(file);
  }
}

function verdict(what, got, most) {
  const ok = got <= most;
  console.log(`${ok ? 'ok' : 'TOO MUCH'}  ${what} ${got.toPrecision(3)} (at most ${most})`);
  if (!ok) process.exitCode = 1;
}

function gigabytes(bytes) {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}

/** Reads a prompt and answers, in a process of its own. */
async function run(model) {
  const child = startChild(new URL('../engine/drive-hadal.mjs', import.meta.url));
  try {
    await child.ask('open', { model, contextTokens: CONTEXT_TOKENS, sequences: 1, cacheDType: 'F16' });
    const { ms: prefillMs } = await child.ask('prefill', { tokens: PROMPT_TOKENS });
    const { ms, tokens } = await child.ask('decode', { depth: 16, tokens: 16, batch: 1 });
    const { bytes: peak } = await child.ask('peak');
    return { peak, prefillMs, decode: (tokens / ms) * 1000 };
  } finally {
    await child.close();
  }
}

/** The worst difference by number format. */
async function compare(file, count) {
  const backends = { native: createNativeBackend({}), reference: createReferenceBackend() };
  const worst = new Map();
  try {
    for (const { spec, tensors, scales, scaleBlock } of planTensors(file)) {
      if (spec.shape.length === 1) continue;
      for (const [i, info] of tensors.entries()) {
        const scale = scales?.[i] && { info: scales[i], block: scaleBlock };
        const difference = await compareOne(file, backends, info, scale, count);
        const { worst: before = 0, matrices = 0 } = worst.get(info.dtype) ?? {};
        worst.set(info.dtype, { worst: Math.max(before, difference), matrices: matrices + 1 });
      }
    }
  } finally {
    for (const backend of Object.values(backends)) await backend[Symbol.asyncDispose]();
  }
  return worst;
}

/** A row of the decode class and some of the prefill class, through all rows of the matrix and through some alone. */
async function compareOne(file, { native, reference }, info, scale, count) {
  const source = file.sources[info.source];
  const [cols, ...others] = info.shape;
  const rows = others.reduce((a, b) => a * b, 1);
  const wanted = Array.from({ length: count }, (_, n) => Math.floor(((n + 0.5) * rows) / count));
  const span = { rows: 6, decodeRows: 1 };
  const x = Float32Array.from(someIds(span.rows * cols, 30_000, info.offset % 9973), (id) => id / 15_000 - 1);

  const infos = [info, ...(scale ? [scale.info] : [])];
  const loaded = await native.load(source, infos);
  const flat = native.reshape(loaded.get(info.name), 1, rows, cols);
  const whole = scale ? native.scaled(flat, loaded.get(scale.info.name), scale.block) : flat;
  const all = await product(native, whole, x, span);

  const rowSize = rowBytes(info.dtype, cols);
  const picked = new Uint8Array(count * rowSize);
  for (const [n, row] of wanted.entries())
    picked.set(await source.read(info.offset + row * rowSize, rowSize), n * rowSize);
  const plain = reference.constant(info.name, info.dtype, [cols, count], picked);
  const few = scale ? await withScales(file, reference, plain, scale, wanted) : plain;
  const some = await product(reference, few, x, span);

  const differences = [...some].map((y, n) => all[Math.floor(n / count) * rows + wanted[n % count]] - y);
  for (const weight of new Set([...loaded.values(), flat, whole])) native.free(weight);
  return (Math.max(...differences.map(Math.abs)) / Math.hypot(...some)) * Math.sqrt(some.length);
}

/** The rows have factors of their own. */
async function withScales(file, reference, plain, { info, block }, wanted) {
  const across = info.shape[0];
  const source = file.sources[info.source];
  const factors = new Uint8Array(wanted.length * across * 4);
  for (const [n, row] of wanted.entries()) {
    const at = info.offset + Math.floor(row / block.rows) * across * 4;
    factors.set(await source.read(at, across * 4), n * across * 4);
  }
  const scales = reference.constant(info.name, 'F32', [across, wanted.length], factors);
  return reference.scaled(plain, scales, { rows: 1, cols: block.cols });
}

async function product(backend, weight, numbers, span) {
  const x = backend.tensor('F32', span.rows, weight.cols);
  const out = backend.tensor('F32', span.rows, weight.rows);
  backend.write(x, numbers);
  backend.matmul(span, x, [{ weight, out }]);
  const result = await backend.read(out, span.rows);
  for (const tensor of [x, out]) backend.free(tensor);
  return result;
}
