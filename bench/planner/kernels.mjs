/**
 * Owns: `npm run bench:kernels`: what the native backend's products reach by number format, as the planner needs it.
 * Refuses to know: models, how predictions are made of it.
 *
 * Four figures for each format, each the best of short rounds over the best that the machine gave between them: what others
 * do on it only ever takes away.
 *   reach     one row times weights that no cache holds: bytes over those that memory gives
 *   cap       one row times weights that a cache holds: bytes for each 8-bit operation that the registers give
 *   multiply  512 rows: operations over those that the registers give, without unpacking
 *   unpack    what weights cost however many rows there are: 8-bit operations for each number
 * The last two are the line through the times of few and of many rows.
 */
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createNativeBackend } from '../../dist/backend/native/native.node.js';
import { createMachineProbe } from '../../dist/backend/native/probe.node.js';
import { dtype, rowBytes } from '../../dist/dtypes/table.js';
import { someIds } from '../engine/child.mjs';

const USAGE = `usage: npm run bench:kernels -- [flags]

  --only NAMES   formats, as Q8_0,Q4_K; all that models are offered in otherwise
  --rounds N     how often each is measured; 5 otherwise
  --write        puts the figures into src/planner/kernel-rates.json; otherwise they are only shown`;

const FORMATS = [
  ...[
    'F32',
    'F16',
    'BF16',
    'F8_E4M3',
    'Q8_0',
    'Q6_K',
    'Q5_K',
    'Q5_0',
    'Q5_1',
    'Q4_K',
    'Q4_0',
    'Q4_1',
    'IQ4_XS',
  ],
  ...['IQ4_NL', 'Q3_K', 'IQ3_S', 'IQ3_XXS', 'Q2_K', 'IQ2_S', 'IQ2_XS', 'IQ2_XXS', 'IQ1_S', 'IQ1_M'],
];
/** A matrix as models have them, and one that stays in the caches of the cores. */
const [COLS, ROWS, CACHED_ROWS] = [2048, 4096, 256];
/** More than the last cache of the machines that we know. */
const STREAMED_BYTES = 256 * 2 ** 20;
const [FEW_ROWS, MANY_ROWS] = [32, 512];

const { values: flags } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    write: { type: 'boolean' },
    help: { type: 'boolean' },
  },
});
if (flags.help) console.log(USAGE);
else await main(flags.only?.split(',') ?? FORMATS, Number(flags.rounds));

async function main(names, rounds) {
  const probe = createMachineProbe();
  const backend = createNativeBackend({});
  const formats = {};
  for (const name of names) {
    formats[name] = await measure(backend, probe, name, rounds);
    const { reach, cap, multiply, unpack } = formats[name];
    console.log(
      `${name.padEnd(8)} reach ${reach.toFixed(3)}  cap ${cap.toFixed(4)} bytes/op  multiply ${multiply.toFixed(3)}  unpack ${unpack.toFixed(1)} ops`,
    );
  }
  await backend[Symbol.asyncDispose]();
  if (!flags.write) return;
  const made = {
    by: 'npm run bench:kernels -- --write',
    date: new Date().toISOString().slice(0, 10),
    machine: `${cpus()[0]?.model}, ${probe.threads} threads`,
    isa: probe.isa,
    rounds,
  };
  const path = fileURLToPath(new URL('../../src/planner/kernel-rates.json', import.meta.url));
  writeFileSync(path, `${JSON.stringify({ made, formats }, null, 2)}\n`);
}

async function measure(backend, probe, name, rounds) {
  const bytes = ROWS * rowBytes(name, COLS);
  const data = weightBytes(name);
  const streamed = Array.from({ length: Math.ceil(STREAMED_BYTES / bytes) }, (_, i) =>
    backend.constant(`w${i}`, name, [COLS, ROWS], data),
  );
  const cachedBytes = CACHED_ROWS * rowBytes(name, COLS);
  const cached = backend.constant('cached', name, [COLS, CACHED_ROWS], data.subarray(0, cachedBytes));
  const x = backend.tensor('F32', MANY_ROWS, COLS);
  const out = backend.tensor('F32', MANY_ROWS, ROWS);
  backend.write(
    x,
    Float32Array.from(someIds(MANY_ROWS * COLS, 30_000, 7), (id) => id / 15_000 - 1),
  );
  const views = new Map([ROWS, CACHED_ROWS].map((width) => [width, backend.columns(out, 0, width)]));
  const secondsOf = async (rows, weights) => {
    const span = { rows, decodeRows: rows === 1 ? 1 : 0 };
    for (const weight of weights) backend.matmul(span, x, [{ weight, out: views.get(weight.rows) }]);
    const startMs = performance.now();
    await backend.read(out, 1);
    return (performance.now() - startMs) / 1e3;
  };
  const repeated = Array(Math.ceil(STREAMED_BYTES / 8 / cachedBytes)).fill(cached);
  const [fewWeights, manyWeights] = [streamed.slice(0, 4), streamed.slice(0, 1)];
  const best = {
    read: 0,
    operations: 0,
    streamed: Infinity,
    cached: Infinity,
    few: Infinity,
    many: Infinity,
  };
  for (let round = 0; round <= rounds; round++) {
    const measured = {
      read: Math.max(probe.readRate(), probe.readRate()),
      streamed: await secondsOf(1, streamed),
      operations: probe.multiplyRate(),
      cached: await secondsOf(1, repeated),
      few: (await secondsOf(FEW_ROWS, fewWeights)) / fewWeights.length,
      many: (await secondsOf(MANY_ROWS, manyWeights)) / manyWeights.length,
    };
    // The first round warms up.
    if (round === 0) continue;
    for (const [what, value] of Object.entries(measured)) {
      const better = what === 'read' || what === 'operations' ? Math.max : Math.min;
      best[what] = better(best[what], value);
    }
  }
  for (const handle of [...streamed, cached, x, out]) backend.free(handle);
  // Times of one matrix, in 8-bit operations of the machine for each number of it.
  const numbers = COLS * ROWS;
  const [few, many] = [best.few, best.many].map((seconds) => (seconds * best.operations) / numbers);
  const perRow = (many - few) / (MANY_ROWS - FEW_ROWS);
  return {
    reach: rounded((streamed.length * bytes) / best.streamed / best.read),
    cap: rounded((repeated.length * cachedBytes) / best.cached / best.operations),
    multiply: rounded(2 / perRow),
    unpack: rounded(Math.max(0, few - FEW_ROWS * perRow)),
  };
}

/** Normally distributed numbers where the format can be written, any bytes otherwise: both cost the same. */
function weightBytes(name) {
  const row = rowBytes(name, COLS);
  const data = new Uint8Array(row * ROWS);
  const { encode } = dtype(name);
  const pool = 64;
  for (let i = 0; i < pool; i++) {
    if (encode)
      encode(
        Float32Array.from(someIds(COLS, 30_000, i + 1), (id) => (id / 15_000 - 1) * 0.02),
        0,
        data,
        i * row,
        COLS,
      );
    else data.set(someIds(row, 100, i + 1), i * row);
  }
  for (let i = pool; i < ROWS; i++) data.copyWithin(i * row, (i % pool) * row, ((i % pool) + 1) * row);
  return data;
}

function rounded(value) {
  return Number(value.toPrecision(3));
}
