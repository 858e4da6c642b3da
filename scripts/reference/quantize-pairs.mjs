/**
 * Makes test/golden/quantize/pairs.json: on a longer text than perplexity.json's, what a file that Hadal quantized loses
 * on each token beside the one that llama.cpp made of the same model; both in llama.cpp. By pairs, since the two files'
 * losses rise and fall together, so that their difference is known far better than either.
 *
 *   node scripts/reference/quantize-pairs.mjs MODEL PEER DICTIONARY WORK OUT TYPE ...     (after a build)
 *     MODEL, PEER, WORK   as of quantize-perplexity.mjs
 *     DICTIONARY          usr/share/dictd/devil.dict.dz of Debian's package dict-devil 1.0-13.1
 *     OUT                 test/golden/quantize/pairs.json; types that are not named keep their figures
 *     TYPE                names that need no importance matrix: Q6_K, Q4_0 …
 *   Needs Python 3; HADAL_TEST_PYTHON names another one. Some minutes a type.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { divergence, logSoftmax } from '../../dist/evaluate/distributions.js';
import { remembered } from '../../dist/evaluate/remembered.node.js';
import { estimate } from '../../dist/evaluate/statistics.js';
import { FILE_TYPES } from '../../dist/quantize/file-types.js';
import { quantizeFile } from '../../dist/quantize/quantize.node.js';
import { openTokenizer } from '../../dist/runtime/open.node.js';
import { cutWindows } from '../../dist/tokenizer/windows.js';
import { padModel } from '../pad-model.mjs';
import { judgedBy, llamaQuantize, llamaScorer } from './llama-peer.mjs';

const [modelPath, peer, dictionary, folder, out, ...types] = process.argv.slice(2);
const [WINDOW_TOKENS, WINDOWS] = [512, 20];
mkdirSync(folder, { recursive: true });
const path = join(folder, 'padded-f16.gguf');
if (!existsSync(path)) await padModel({ path: modelPath, out: path });
const tokenizer = await openTokenizer(path);
const windows = cutWindows(tokenizer, proseOf(dictionary), WINDOW_TOKENS, WINDOWS);
if (windows.length < WINDOWS) throw new Error(`the text has ${windows.length} windows`);
const opened = [];
const reference = inLlama(path, join(folder, 'pairs-reference'));
const known = existsSync(out) ? JSON.parse(readFileSync(out, 'utf8')).types : {};
for (const type of types) {
  const files = { hadal: join(folder, `hadal-${type}.gguf`), llama: join(folder, `llama-${type}.gguf`) };
  if (!existsSync(files.hadal)) await quantizeFile({ path, out: files.hadal, fileType: type });
  if (!existsSync(files.llama)) {
    // It writes under the name that it is given, whole or not.
    await llamaQuantize({ peer, path, out: `${files.llama}.part`, number: FILE_TYPES[type].number });
    renameSync(`${files.llama}.part`, files.llama);
  }
  const losses = { hadal: [], llama: [] };
  const kl = { hadal: [], llama: [] };
  for (const [maker, file] of Object.entries(files)) {
    const scorer = inLlama(file, `${file}-rows`);
    for (const ids of windows) {
      const judged = await logProbabilities(scorer, ids);
      const expected = await logProbabilities(reference, ids);
      for (const { log, next } of judged) losses[maker].push(-log[next]);
      for (const [i, { log }] of judged.entries()) kl[maker].push(divergence(expected[i].log, log));
    }
    for (const scorer of opened.splice(0)) await scorer[Symbol.asyncDispose]();
  }
  const of = (maker) => ({
    bytes: statSync(files[maker]).size,
    perplexity: rounded(Math.exp(estimate(losses[maker]).mean)),
    kl: rounded(estimate(kl[maker]).mean),
  });
  const apart = estimate(losses.hadal.map((loss, i) => loss - losses.llama[i]));
  known[type] = {
    hadal: of('hadal'),
    llama: of('llama'),
    // Nats a token, which are the logarithm of the ratio of perplexities; and the standard error.
    apart: { mean: rounded(apart.mean), error: rounded(apart.error) },
  };
  console.log(type, JSON.stringify(known[type]));
  write();
  for (const file of Object.values(files)) {
    for (const done of [file, `${file}-rows`]) rmSync(done, { recursive: true });
  }
}

/** A file in llama.cpp; a run that was stopped finds what was said before. */
function inLlama(file, rows) {
  return remembered(rows, async () => {
    opened.push(llamaScorer({ peer, path: file, windowTokens: WINDOW_TOKENS }));
    return opened.at(-1);
  });
}

/** Log-probabilities of the judged positions of a window, as `evaluateText` judges, and the token that came. */
async function logProbabilities(scorer, ids) {
  const first = Math.floor(ids.length / 2);
  const judged = [];
  for await (const { firstPosition, logits } of scorer.score({ ids, requestId: '', class: 'prefill' })) {
    const vocab = logits.length / (ids.length - firstPosition);
    for (let at = first; at < ids.length - 1; at++) {
      const row = logits.subarray((at - firstPosition) * vocab, (at - firstPosition + 1) * vocab);
      judged.push({ log: logSoftmax(row), next: ids[at + 1] });
    }
  }
  return judged;
}

/** The dictionary's entries without their verses: paragraphs whose lines all begin at the margin. */
function proseOf(file) {
  const text = gunzipSync(readFileSync(file)).toString('latin1');
  const entries = text.slice(text.indexOf('\nABASEMENT, n.'));
  const paragraphs = entries.split(/\n\s*\n/).filter((paragraph) => !/^ {4}/m.test(paragraph));
  return paragraphs.map((paragraph) => paragraph.trim().replace(/\s+/g, ' ')).join('\n\n');
}

function rounded(x) {
  return Number(x.toPrecision(7));
}

function write() {
  const certificate = {
    script: 'scripts/reference/quantize-pairs.mjs',
    ...judgedBy(peer),
    text: `the prose of Bierce, The Devil's Dictionary (dict-devil 1.0-13.1): the first ${WINDOWS} windows of ${WINDOW_TOKENS} tokens, the second half of each judged`,
    date: new Date().toISOString().slice(0, 10),
  };
  const inOrder = Object.fromEntries(
    Object.keys(FILE_TYPES).flatMap((type) => (type in known ? [[type, known[type]]] : [])),
  );
  writeFileSync(
    out,
    `${JSON.stringify({ certificate, tokens: WINDOWS * (WINDOW_TOKENS / 2 - 1), types: inOrder }, null, 1)}\n`,
  );
}
