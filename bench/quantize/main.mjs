/**
 * Owns: `npm run bench:quantize`: Hadal and llama.cpp by turns quantizing the same file on the same cores.
 * Refuses to know: how either does it.
 *
 * Each run is a process of its own; what is timed is the library's one call, files read and written included, or the whole
 * process where llama-quantize itself is given, built from source for this machine. Both read from the page cache. Processor
 * seconds are beside: they hardly change when somebody else uses the machine.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { digits, table } from '../../dist/cli/figures.js';
import { spreadOf } from '../../dist/cli/measuring.js';
import { layOutGguf } from '../../dist/formats/gguf/write.js';
import { imatrixBytes } from '../../dist/formats/imatrix.js';
import { closeModelFile, openModelFile } from '../../dist/formats/open.node.js';
import { FILE_TYPES } from '../../dist/quantize/file-types.js';
import { keepResults } from '../kept.mjs';

const USAGE = `usage: npm run bench:quantize -- [TYPE ...] [flags]

  TYPE            Q4_K_M, Q6_K, IQ4_XS … ; Q4_K_M otherwise
  --imatrix FILE  an importance matrix (.dat); one of noise otherwise for types that need one, none for others
  --model FILE    a GGUF file in BF16; one of noise in the shape of a Llama otherwise
  --numbers N     millions of weights of the file of noise; 64 otherwise
  --rounds N      runs of each; 5 otherwise
  --threads N     of each; as many as there are otherwise
  --peer FOLDER   where node-llama-cpp is installed; HADAL_TEST_PEER otherwise
  --program FILE  llama-quantize, in place of the library of PEER
  --built-from V  what it was built from, for the results
  --python FILE   python3 otherwise; it needs no package
  --out NAME      writes bench/results/NAME.json; otherwise only the table is shown`;

/** Types that llama.cpp makes with an importance matrix alone. */
const NEEDY = /^(IQ[12]|IQ3_XXS)/;
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    imatrix: { type: 'string' },
    model: { type: 'string' },
    numbers: { type: 'string', default: '64' },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: String(availableParallelism()) },
    peer: { type: 'string', default: process.env.HADAL_TEST_PEER ?? '' },
    python: { type: 'string', default: 'python3' },
    program: { type: 'string' },
    'built-from': { type: 'string' },
    out: { type: 'string' },
    help: { type: 'boolean' },
  },
});
const libraries = join(resolve(flags.peer), 'node_modules/@node-llama-cpp/linux-x64/bins/linux-x64');
if (flags.help || !existsSync(flags.program ?? libraries)) console.log(USAGE);
else await bench(positionals.length === 0 ? ['Q4_K_M'] : positionals.map((type) => type.toUpperCase()));

async function bench(types) {
  const folder = mkdtempSync(join(tmpdir(), 'hadal-bench-'));
  try {
    const model = flags.model === undefined ? join(folder, 'noise-bf16.gguf') : resolve(flags.model);
    if (flags.model === undefined) writeNoise(model, Number(flags.numbers) * 1e6);
    const noise = join(folder, 'noise.dat');
    if (flags.imatrix === undefined) await writeNoisyImatrix(noise, model);
    const rows = [];
    for (const type of types) {
      const imatrix = flags.imatrix ?? (NEEDY.test(type) ? noise : undefined);
      rows.push(await compared(type, model, folder, imatrix && resolve(imatrix)));
    }
    const shown = rows.map(({ type, imatrix, hadal, llama, faster, cheaper }) => [
      imatrix ? `${type}, weighed` : type,
      ...[hadal, llama].map(
        ({ wall }) => `${digits(wall.median)} (${digits(wall.min)} to ${digits(wall.max)})`,
      ),
      `${digits(faster)} x`,
      `${digits(cheaper)} x`,
    ]);
    const head = ['type', 'Hadal, s', 'llama.cpp, s', 'faster', 'less processor time'];
    console.log(table([head, ...shown]));
    if (flags.out !== undefined)
      keepResults(flags.out, {
        threads: Number(flags.threads),
        rounds: Number(flags.rounds),
        peer:
          flags.program === undefined
            ? 'libllama of node-llama-cpp'
            : `llama-quantize of ${flags['built-from']}`,
        model: flags.model === undefined ? `noise, ${flags.numbers} million numbers` : flags.model,
        rows,
      });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Both by turns: seconds of each, and how many times llama.cpp takes what Hadal takes. */
async function compared(type, model, folder, imatrix) {
  const out = join(folder, 'out.gguf');
  const { number } = FILE_TYPES[type];
  const given = imatrix === undefined ? [] : [imatrix];
  const ways = {
    hadal: [process.execPath, [here('hadal.mjs'), model, out, type, flags.threads, ...given]],
    llama:
      flags.program === undefined
        ? [flags.python, [here('llama.py'), libraries, model, out, String(number), flags.threads, ...given]]
        : [flags.program, [...given.flatMap((file) => ['--imatrix', file]), model, out, type, flags.threads]],
  };
  const seconds = { hadal: [], llama: [] };
  const processor = { hadal: [], llama: [] };
  for (let round = 0; round < Number(flags.rounds); round++) {
    for (const [who, [command, words]] of Object.entries(ways)) {
      const run = await alone(command, words, command === flags.program);
      seconds[who].push(run.seconds);
      processor[who].push(run.processorSeconds);
      rmSync(out, { force: true });
    }
  }
  const of = (who) => ({ wall: spreadOf(seconds[who]), processor: spreadOf(processor[who]) });
  const [hadal, llama] = [of('hadal'), of('llama')];
  const faster = llama.wall.median / hadal.wall.median;
  const cheaper = llama.processor.median / hadal.processor.median;
  return { type, imatrix: imatrix !== undefined, hadal, llama, faster, cheaper };
}

/** What a process prints, which is seconds, or how long it took, and the processor time that it took in all. */
function alone(command, words, timed) {
  return new Promise((done, failed) => {
    const before = childrenSeconds();
    const startedMs = performance.now();
    const child = spawn(command, words, { stdio: ['ignore', 'pipe', timed ? 'ignore' : 'inherit'] });
    let text = '';
    child.stdout.on('data', (part) => {
      text += part;
    });
    child.once('error', failed);
    child.once('close', (code) => {
      if (code !== 0) failed(new Error(`${command} ${words[0]} ended with ${code}`));
      else {
        const seconds = timed ? (performance.now() - startedMs) / 1000 : Number(text);
        done({ seconds, processorSeconds: childrenSeconds() - before });
      }
    });
  });
}

/** Processor time of children that have ended; hundredths are the unit of Linux. */
function childrenSeconds() {
  const [, rest] = readFileSync('/proc/self/stat', 'utf8').split(') ');
  const fields = rest.split(' ');
  return (Number(fields[13]) + Number(fields[14])) / 100;
}

/** A Llama of noise in BF16: hidden 2048, with as many layers as it takes. */
function writeNoise(path, numbers) {
  const [hidden, inter] = [2048, 5632];
  const layers = Math.max(1, Math.round(numbers / (4 * hidden * hidden + 3 * hidden * inter)));
  const metadata = [
    ['general.architecture', 'llama'],
    ['llama.block_count', layers],
    ['llama.context_length', 4096],
    ['llama.embedding_length', hidden],
    ['llama.feed_forward_length', inter],
    ['llama.attention.head_count', 16],
    ['llama.attention.head_count_kv', 16],
    ['llama.attention.layer_norm_rms_epsilon', { type: 'f32', value: 1e-5 }],
    ['llama.vocab_size', 512],
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.tokens', Array.from({ length: 512 }, (_, id) => `t${id}`)],
  ];
  const matrix = (name, cols, rows) => ({ name: `${name}.weight`, dtype: 'BF16', shape: [cols, rows] });
  const norm = (name) => ({ name: `${name}.weight`, dtype: 'F32', shape: [hidden] });
  const tensors = [
    matrix('token_embd', hidden, 512),
    norm('output_norm'),
    matrix('output', hidden, 512),
    ...Array.from({ length: layers }, (_, layer) => {
      const block = `blk.${layer}`;
      return [
        norm(`${block}.attn_norm`),
        ...['q', 'k', 'v', 'output'].map((part) => matrix(`${block}.attn_${part}`, hidden, hidden)),
        norm(`${block}.ffn_norm`),
        ...['gate', 'up'].map((part) => matrix(`${block}.ffn_${part}`, hidden, inter)),
        matrix(`${block}.ffn_down`, inter, hidden),
      ];
    }).flat(),
  ];
  const { header, places } = layOutGguf({ metadata, tensors });
  const file = openSync(path, 'w');
  writeSync(file, header, 0, header.length, 0);
  const noise = noiseBytes(inter * hidden);
  for (const [i, { dtype }] of tensors.entries()) {
    const { offset, bytes } = places[i];
    const what =
      dtype === 'F32' ? new Uint8Array(Float32Array.from({ length: hidden }, () => 1).buffer) : noise;
    writeSync(file, what, 0, bytes, offset);
  }
}

/** An importance matrix for every matrix of a model: most columns matter little, some much. */
async function writeNoisyImatrix(path, model) {
  const file = await openModelFile(model);
  const entries = new Map();
  for (const { name, shape } of file.tensors.values()) {
    if (shape.length < 2) continue;
    let state = 7;
    const sums = Float32Array.from({ length: shape[0] }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
      return 0.001 + 5 * (state / 2 ** 31) ** 4;
    });
    entries.set(name, { sums, counts: Float32Array.of(1) });
  }
  await closeModelFile(file);
  const bytes = imatrixBytes({ datasets: ['noise'], chunks: 1, entries }, 'dat');
  writeFileSync(path, Buffer.concat([...bytes]));
}

/** BF16 of sums of four noises, about 0.02 large. */
function noiseBytes(count) {
  const floats = new Float32Array(1);
  const bits = new Uint32Array(floats.buffer);
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return state / 2 ** 31;
  };
  const halves = Uint16Array.from({ length: count }, () => {
    floats[0] = (next() + next() + next() + next()) * 0.0173;
    return bits[0] >>> 16;
  });
  return new Uint8Array(halves.buffer);
}
