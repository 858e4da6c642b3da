/**
 * Owns: test/golden/models/predictor-peer.json: how many guesses of a toy's predictor llama.cpp accepts while it answers.
 * Refuses to know: how the toy is made.
 *
 *   HADAL_WRITE_TOY=/tmp/toy.gguf npx vitest run test/golden/models/predictor-peer.test.ts
 *   node scripts/reference/predictor-peer.mjs /tmp/toy.gguf FOLDER     (@fugood/llama.node 1.7.15 installed in FOLDER)
 */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

const PROMPTS = [
  'hello world',
  'another one!',
  'Q: 1 + 1 = ?',
  'The quick brown fox',
  'zzz',
  '{"a": [1, 2',
  'def f(x):',
  'AbCdEfG hello',
];
const TOKENS = 100;
/** One token, however unsure. */
const DRAFTING = { speculative: { type: 'draft-mtp' }, spec_draft_n_max: 1, spec_draft_p_min: 0 };

const [toy, folder] = process.argv.slice(2);
const require = createRequire(join(resolve(folder), 'package.json'));
const { loadModel } = require('@fugood/llama.node');
const { version } = JSON.parse(
  readFileSync(join(resolve(folder), 'node_modules/@fugood/llama.node/package.json'), 'utf8'),
);
const context = await loadModel({
  model: toy,
  n_ctx: 512,
  n_gpu_layers: 0,
  cache_type_k: 'f32',
  cache_type_v: 'f32',
  ...DRAFTING,
});
const answers = [];
for (const prompt of PROMPTS) {
  const said = await context.completion({
    prompt,
    n_predict: TOKENS,
    temperature: 0,
    top_k: 1,
    penalty_repeat: 1,
    ignore_eos: true,
    ...DRAFTING,
  });
  answers.push({ prompt, text: said.text, drafted: said.draft_tokens, accepted: said.draft_tokens_accepted });
}
await context.release();
const birth = {
  script: 'scripts/reference/predictor-peer.mjs',
  inputs: 'the toy of test/golden/models/predictor-peer.test.ts',
  toy: createHash('sha256').update(readFileSync(toy)).digest('hex'),
  oracle: `@fugood/llama.node ${version}, draft-mtp of one token, CPU`,
  date: new Date().toISOString().slice(0, 10),
};
const to = new URL('../../test/golden/models/predictor-peer.json', import.meta.url);
writeFileSync(to, `${JSON.stringify({ birth, answers }, null, 2)}\n`);
