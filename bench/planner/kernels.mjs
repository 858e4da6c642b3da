/**
 * Owns: `npm run bench:kernels`: what the native backend reaches by number format and operation, as the planner needs it.
 * Refuses to know: models, how predictions are made of it.
 *
 *   cap       one row times weights that a cache holds: bytes for each 8-bit operation that the registers give
 *   overlap   one row times weights out of a mapped file, by all threads: how far reading, at the rate that memory gives
 *             meanwhile, and multiplying go on at once
 *   multiply  512 rows: operations over those that the registers give, without unpacking
 *   unpack    what weights cost however many rows there are: 8-bit operations for each number
 * The last two are the line through the times of few and of many rows. operations.mjs has what there is besides.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { rowBytes } from '../../dist/dtypes/table.js';
import { together } from '../../dist/planner/kernel-rates.js';
import { Clock, products, rounded, someNumbers, timeOf } from './clock.mjs';
import { measureOperations, withBackend } from './operations.mjs';
import { mapWeights, weightBytes } from './weights.mjs';

const USAGE = `usage: npm run bench:kernels -- [flags]

  --only NAMES   formats, as Q8_0,Q4_K; all that models are offered in otherwise
  --rounds N     how often each is measured; 5 otherwise
  --out          puts the figures into src/planner/kernel-rates.json; otherwise they are only shown`;

const FORMATS = [
  ...['F32', 'F16', 'BF16', 'F8_E4M3', 'Q8_0', 'Q6_K', 'Q5_K', 'Q5_0', 'Q5_1', 'Q4_K', 'Q4_0', 'Q4_1'],
  ...['IQ4_XS', 'IQ4_NL', 'Q3_K', 'IQ3_S', 'IQ3_XXS', 'Q2_K', 'IQ2_S', 'IQ2_XS', 'IQ2_XXS', 'IQ1_S', 'IQ1_M'],
];
const RATES = fileURLToPath(new URL('../../src/planner/kernel-rates.json', import.meta.url));
const COLS = 2048;
/** Matrices as models have them. */
const ROWS = 4096;
/** More than the last cache of the machines that we know. */
const STREAMED_BYTES = 256 * 2 ** 20;
/** Less than what a core has of its own. */
const CACHED_BYTES = 2 ** 19;
/** As good as that only the longer of the two counts. */
const MOST_OVERLAP = 20;
const [FEW_ROWS, MANY_ROWS] = [32, 512];
/** Rows of a matrix that many rows meet: short enough that others seldom come between. */
const MET_ROWS = 1024;

const { values: flags } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    out: { type: 'boolean' },
    help: { type: 'boolean' },
  },
});
if (flags.help) console.log(USAGE);
else await main(flags.only?.split(','), Number(flags.rounds));

async function main(only, rounds) {
  const before = JSON.parse(readFileSync(RATES, 'utf8'));
  const clock = new Clock(rounds);
  const operations = only === undefined ? await measureOperations(clock) : before.operations;
  console.log(JSON.stringify(operations));
  const formats = only === undefined ? {} : { ...before.formats };
  for (const name of only ?? FORMATS) {
    formats[name] = await measure(clock, name, operations);
    const { overlap, cap, multiply, unpack } = formats[name];
    console.log(
      `${name.padEnd(8)} overlap ${overlap.toFixed(1)}  cap ${cap.toFixed(4)} bytes/op  multiply ${multiply.toFixed(3)}  unpack ${unpack.toFixed(1)} ops  (${clock.found()})`,
    );
  }
  const { arithmetic, reading } = clock.quiet();
  if (arithmetic < 0.9 || reading < 0.8)
    console.log(
      `others were at work: all threads gave ${percent(arithmetic)} of their arithmetic, reading was usually ${percent(reading)} of its best; what "overlap" says is not to be trusted, measure again when it is quiet`,
    );
  if (!flags.out) return;
  const made = {
    by: 'npm run bench:kernels -- --out',
    date: new Date().toISOString().slice(0, 10),
    machine: `${cpus()[0]?.model}, ${clock.threads} threads`,
    isa: clock.isa,
    rounds,
  };
  writeFileSync(RATES, `${JSON.stringify({ made, operations, formats }, null, 2)}\n`);
}

async function measure(clock, name, operations) {
  const { multiply, unpack, cap } = await withBackend(1, (one) => computing(clock, name, one, operations));
  // Bytes of memory that reading, multiplying, and both at once take the time of, for each byte of weights.
  const both = await withBackend(0, (all) => streaming(clock, name, all));
  return { overlap: overlapOf(1, clock.bytesPerOperation / cap, both), cap, multiply, unpack };
}

/** On one thread, with weights in its cache. */
async function computing(clock, name, backend, { rounded: rounding, placed }) {
  const row = rowBytes(name, COLS);
  const cachedRows = Math.max(16, Math.floor(CACHED_BYTES / row / 16) * 16);
  const weightOf = (rows) => backend.constant(`${rows}`, name, [COLS, rows], weightBytes(name, COLS, rows));
  const [cached, met] = [weightOf(cachedRows), weightOf(MET_ROWS)];
  const x = someNumbers(backend, MANY_ROWS, COLS);
  const out = backend.tensor('F32', MANY_ROWS, Math.max(MET_ROWS, cachedRows));
  const times = (rows, weight, repeated) => () =>
    timeOf(backend, out, products(backend, rows, x, out, [weight]), repeated);
  const took = await clock.operationsOf({
    cached: times(1, cached, 32),
    few: times(FEW_ROWS, met, 2),
    many: times(MANY_ROWS, met, 1),
  });
  // Of one matrix, for each number of it.
  const [few, many] = [took.few, took.many].map((all) => all / (COLS * MET_ROWS));
  const perRow = (many - few) / (MANY_ROWS - FEW_ROWS);
  return {
    cap: rounded((cachedRows * row) / took.cached),
    multiply: rounded(2 / (perRow - rounding / MET_ROWS - placed / COLS)),
    unpack: rounded(Math.max(0, few - FEW_ROWS * perRow)),
  };
}

/** The overlap with which `together` makes `both` of the two, from 1 to {@link MOST_OVERLAP}. */
function overlapOf(reading, multiplying, both) {
  let [low, high] = [1, MOST_OVERLAP];
  for (let step = 0; step < 40; step++) {
    const middle = (low + high) / 2;
    if (together(reading, multiplying, middle) > both) low = middle;
    else high = middle;
  }
  return rounded(low);
}

/** By all threads, out of a mapped file that no cache holds: bytes that memory gives in the time of a byte of weights. */
async function streaming(clock, name, backend) {
  const wanted = { cols: COLS, rows: ROWS, cuts: [], least: STREAMED_BYTES };
  const [weights] = await mapWeights(backend, name, wanted);
  const [x, out] = [someNumbers(backend, 1, COLS), backend.tensor('F32', 1, ROWS)];
  const { streamed } = await clock.bytesOf({
    streamed: () => timeOf(backend, out, products(backend, 1, x, out, weights)),
  });
  return streamed / (weights.length * ROWS * rowBytes(name, COLS));
}

function percent(share) {
  return `${Math.round(share * 100)} %`;
}
