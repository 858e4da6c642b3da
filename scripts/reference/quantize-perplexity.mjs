/**
 * Makes test/golden/quantize/perplexity.json: perplexity of padded SmolLM2 in every type that Hadal writes, quantized by
 * Hadal and by llama.cpp; both files in llama.cpp, and Hadal's in Hadal. Types that need an importance matrix are made with
 * the same one by both: Hadal's, of another text.
 *
 *   node scripts/reference/quantize-perplexity.mjs MODEL PEER WORK OUT [TYPE ...]     (after a build)
 *     MODEL  SmolLM2-135M-Instruct.Q4_1.gguf; what is quantized is its padded F16 (scripts/pad-model.mjs)
 *     PEER   folder with node_modules/node-llama-cpp
 *     WORK   folder for the padded model and its logits, which a second run finds there
 *     OUT    test/golden/quantize/perplexity.json; types that are not named keep their figures
 *     TYPE   all otherwise
 *   Needs Python 3; HADAL_TEST_PYTHON names another one. A minute a type.
 *
 */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { evaluateText } from '../../dist/evaluate/perplexity.js';
import { remembered } from '../../dist/evaluate/remembered.node.js';
import { openFile } from '../../dist/formats/byte-source.node.js';
import { imatrixBytes, readImatrix } from '../../dist/formats/imatrix.js';
import { collectImatrix } from '../../dist/quantize/collect-imatrix.node.js';
import { FILE_TYPES, WRITTEN_TYPES } from '../../dist/quantize/file-types.js';
import { quantizeFile } from '../../dist/quantize/quantize.node.js';
import { openModel, openTokenizer } from '../../dist/runtime/open.node.js';
import { padModel } from '../pad-model.mjs';
import { judgedBy, llamaQuantize, llamaScorer } from './llama-peer.mjs';

const [modelPath, peer, folder, out, ...asked] = process.argv.slice(2);
const TEXT = 'test/fixtures/texts/devils-dictionary.txt';
const CALIBRATION = 'LICENSE';
/** Types that llama.cpp makes with an importance matrix alone. */
const NEEDY = /^(IQ[12]|IQ3_XXS)/;
const [WINDOW_TOKENS, WINDOWS] = [512, 7];
const text = readFileSync(new URL(`../../${TEXT}`, import.meta.url), 'utf8');
mkdirSync(folder, { recursive: true });
const path = join(folder, 'padded-f16.gguf');
if (!existsSync(path)) await padModel({ path: modelPath, out: path });
const tokenizer = await openTokenizer(path);
const opened = [];
const references = {
  hadal: remembered(join(folder, 'hadal'), async () => {
    opened.push(await openModel(path, { contextTokens: WINDOW_TOKENS + 1 }));
    return opened.at(-1).engine;
  }),
  llama: remembered(join(folder, 'llama'), async () => {
    opened.push(llamaScorer({ peer, path, windowTokens: WINDOW_TOKENS }));
    return opened.at(-1);
  }),
};
const reference = { hadal: await judge(references.hadal), llama: await judge(references.llama) };
for (const reader of opened) await reader[Symbol.asyncDispose]();
const types = existsSync(out) ? JSON.parse(readFileSync(out, 'utf8')).types : {};
const wanted = asked.length > 0 ? asked : WRITTEN_TYPES.filter((type) => FILE_TYPES[type].number > 1);
for (const type of wanted) {
  const files = { hadal: join(folder, 'hadal.gguf'), llama: join(folder, 'llama.gguf') };
  const imatrix = NEEDY.test(type) ? await imatrixFile() : undefined;
  await quantizeFile(
    {
      path,
      out: files.hadal,
      fileType: type,
      ...(imatrix && { imatrix: { path: imatrix, matrix: await matrixOf(imatrix) } }),
    },
    { force: true },
  );
  await llamaQuantize({ peer, path, out: files.llama, number: FILE_TYPES[type].number, imatrix });
  types[type] = {
    ...(imatrix && { importance: true }),
    hadal: {
      bytes: statSync(files.hadal).size,
      inHadal: await inHadal(files.hadal, (scorer) => judge(scorer, references.hadal)),
      inLlama: await inLlama(files.hadal, (scorer) => judge(scorer, references.llama)),
    },
    llama: {
      bytes: statSync(files.llama).size,
      inLlama: await inLlama(files.llama, (scorer) => judge(scorer, references.llama)),
    },
  };
  console.log(type, JSON.stringify(types[type]));
  write();
}

/** The importance matrix of the model on another text than the one that is judged, in the older layout. */
async function imatrixFile() {
  const file = join(folder, 'imatrix.dat');
  if (!existsSync(file)) {
    const other = readFileSync(new URL(`../../${CALIBRATION}`, import.meta.url), 'utf8');
    const matrix = await collectImatrix({ path, text: other, dataset: CALIBRATION });
    writeFileSync(file, Buffer.concat([...imatrixBytes(matrix, 'dat')]));
  }
  return file;
}

async function matrixOf(file) {
  const source = await openFile(file);
  const matrix = await readImatrix(source);
  await source.close();
  return matrix;
}

async function judge(scorer, against) {
  const options = { windowTokens: WINDOW_TOKENS, windows: WINDOWS, ...(against && { reference: against }) };
  const { perplexity, distance } = await evaluateText(scorer, tokenizer, text, options);
  return { perplexity: rounded(perplexity), ...(distance && { kl: rounded(distance.kl.mean) }) };
}

async function inHadal(path, use) {
  const model = await openModel(path, { contextTokens: WINDOW_TOKENS + 1 });
  try {
    return await use(model.engine);
  } finally {
    await model.close();
  }
}

async function inLlama(path, use) {
  const scorer = llamaScorer({ peer, path, windowTokens: WINDOW_TOKENS });
  try {
    return await use(scorer);
  } finally {
    await scorer[Symbol.asyncDispose]();
  }
}

function rounded(x) {
  return Number(x.toPrecision(7));
}

function write() {
  const certificate = {
    script: 'scripts/reference/quantize-perplexity.mjs',
    ...judgedBy(peer),
    text: `${TEXT}: the first ${WINDOWS} windows of ${WINDOW_TOKENS} tokens, the second half of each judged`,
    imatrix: `of ${CALIBRATION}, by Hadal, where \`importance\` is said`,
    date: new Date().toISOString().slice(0, 10),
  };
  const inOrder = Object.keys(FILE_TYPES).filter((type) => type in types);
  const document = { certificate, reference, types: Object.fromEntries(inOrder.map((t) => [t, types[t]])) };
  writeFileSync(out, `${JSON.stringify(document, null, 1)}\n`);
}
