/**
 * Owns: fuzzing what `hadal audit` reads itself: pickles, archives, arrays, templates, signatures, digests.
 * Refuses to know: GGUF and safetensors (fuzz-formats.mjs).
 *
 * `node scripts/fuzz-audit.mjs [--runs N] [--seed N] [--only RUN] [--json]`, after a build. Every file of the corpora in
 * test/golden/audit, and published templates, are changed in one to eight places, or grown by repetition to nearly a megabyte.
 * A reader may accept or refuse with a HadalError; anything else, 2 s, or 64 MB that stay or are needed at once, is a fault.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { inflateSync } from 'node:zlib';
import { readDigests } from '../dist/audit/digests.js';
import { kindOf } from '../dist/audit/file-kind.js';
import { judgePickleFile } from '../dist/audit/pickle-file.js';
import { readSignature } from '../dist/audit/signature.js';
import { auditTemplate, readKnownTemplates } from '../dist/audit/template.js';
import { HadalError } from '../dist/error.js';
import { bytesSource } from '../dist/formats/byte-source.js';
import { randomOf } from './fuzz-random.mjs';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20000' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    json: { type: 'boolean' },
  },
});
const seed = Number(values.seed);
const MOST_MS = 2_000;
const MOST_BYTES = 64 << 20;
const FILE_BYTES = 1_000_000;
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');
const golden = (name) => JSON.parse(readFileSync(new URL(`../test/golden/${name}`, import.meta.url), 'utf8'));
const bytesOf = ({ base64, deflate }) =>
  base64 === undefined ? inflateSync(Buffer.from(deflate, 'base64')) : Buffer.from(base64, 'base64');
const known = readKnownTemplates();
const signed = golden('audit/signed.json');

const READERS = {
  pickle: (bytes) => judgePickleFile(bytesSource(bytes, 'fuzzed'), kindOf(bytes.subarray(0, 512))),
  template: (bytes) => auditTemplate(new TextDecoder().decode(bytes), known),
  signature: (bytes) => readSignature(new TextDecoder().decode(bytes), 'fuzzed'),
  digests: (bytes) => readDigests(new TextDecoder().decode(bytes), 'fuzzed'),
};
const SEEDS = [
  ...['malicious', 'benign'].flatMap((name) =>
    golden(`audit/${name}.json`)
      .files.map(bytesOf)
      .filter(({ length }) => length > 0 && length < 65_536)
      .map((bytes) => ({ kind: 'pickle', bytes })),
  ),
  ...['deepseek', 'llama-cpp'].flatMap((name) =>
    golden(`chat-templates/${name}.json`).templates.map(({ template }) => ({
      kind: 'template',
      bytes: Buffer.from(template),
    })),
  ),
  { kind: 'signature', bytes: Buffer.from(signed.keyBundle) },
  { kind: 'signature', bytes: Buffer.from(signed.certificateBundle) },
  { kind: 'digests', bytes: Buffer.from(`${'ab'.repeat(32)}  a.gguf\n${'cd'.repeat(32)} *b/c.json\n`) },
];

const outcomes = {};
let slowestMs = 0;
let mostBytes = 0;
const runs = Number(values.runs);
for (
  let run = values.only === undefined ? 0 : Number(values.only);
  run < runs || values.only !== undefined;
  run++
) {
  const { kind, bytes, grown } = mutant(run);
  if (grown) collect();
  const before = process.memoryUsage();
  const started = process.cpuUsage();
  let outcome = 'read';
  try {
    await READERS[kind](bytes);
  } catch (error) {
    if (!(error instanceof HadalError)) fail(run, error.stack ?? String(error));
    outcome = error.code;
  }
  // Of the processor: what else the machine does is not the reader's.
  const { user, system } = process.cpuUsage(started);
  const ms = (user + system) / 1000;
  const after = process.memoryUsage();
  const growth = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  slowestMs = Math.max(slowestMs, ms);
  if (grown) mostBytes = Math.max(mostBytes, growth);
  if (ms > MOST_MS) fail(run, `${kind}: ${ms.toFixed(0)} ms`);
  if (grown && growth > MOST_BYTES) fail(run, `${kind}: ${growth} bytes`);
  if (values.only !== undefined) break;
}
const report = { runs, outcomes, slowestMs: Math.round(slowestMs), mostBytes };
if (values.json) console.log(JSON.stringify(report));
else console.log(report);

function fail(run, why) {
  console.error(
    `run ${run} of seed ${seed}: ${why}; again: node scripts/fuzz-audit.mjs --seed ${seed} --only ${run}`,
  );
  process.exit(1);
}

/** A file of the corpora after some changes; one in sixty-four is grown to nearly a megabyte, by repeating a piece of it. */
function mutant(run) {
  const random = randomOf(run, seed);
  const below = (n) => Math.floor(random() * n);
  const origin = SEEDS[below(SEEDS.length)];
  let bytes = Buffer.from(origin.bytes);
  const grown = below(64) === 0;
  if (grown) {
    const at = below(bytes.length);
    const piece = bytes.subarray(at, at + 1 + below(16));
    const times = Math.floor((FILE_BYTES - bytes.length) / piece.length);
    bytes = Buffer.concat([
      bytes.subarray(0, at),
      Buffer.alloc(times * piece.length, piece),
      bytes.subarray(at),
    ]);
  }
  for (let changes = grown ? 0 : 1 + below(8); changes > 0 && bytes.length > 0; changes--) {
    const at = below(bytes.length);
    const length = 1 + below(12);
    const other = SEEDS[below(SEEDS.length)].bytes;
    const from = below(other.length);
    const puts = [
      [1, Buffer.of(below(256))],
      [1, Buffer.of(bytes[at] ^ (1 << below(8)))],
      [length, Buffer.alloc(0)],
      [0, other.subarray(from, from + length)],
      [length, other.subarray(from, from + length)],
      [4, Buffer.from([255, 255, 255, below(2) * 127])],
      [bytes.length - at, Buffer.alloc(0)],
    ];
    const [cut, put] = puts[below(puts.length)];
    bytes = Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(Math.min(bytes.length, at + cut))]);
  }
  return { kind: origin.kind, bytes, grown };
}
