/**
 * Owns: what llama.cpp answers: its token ids of texts, its greedy continuations and the logits it chose them by.
 * Refuses to know: our code, and what a good answer is.
 *
 * node llama-cpp.mjs PEER MODEL REQUEST OUT
 *   PEER     folder whose node_modules has node-llama-cpp 3.x
 *   MODEL    GGUF file
 *   REQUEST  JSON file: { texts: string[], prompts: number[][], tokens: number, continuations?: number[][] };
 *            continuations are followed where they are given, and chosen greedily otherwise
 *   OUT      existing folder; gets `logits-<i>.f32` ([tokens, vocab], little-endian; row t is what the t-th token of the
 *            continuation was chosen by) and last `answers.json`:
 *            { release, simd, vocab, textIds: number[][], continuations: number[][] }
 *
 * The public interface hands out logits only as lists of pairs for a token at a time; the addon below it takes batches
 * and gives the f32 logits as computed when its sampler has nothing but a greedy choice in its chain, which leaves them
 * untouched. So the batch is made by hand here: the prompt in one batch, then one token at a time, past end tokens too.
 *
 * One thread, since threads of llama.cpp wait for each other by spinning: beside other work that takes many times longer.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [peer, modelPath, requestPath, out] = process.argv.slice(2);
const { texts, prompts, tokens, continuations: given } = JSON.parse(readFileSync(requestPath, 'utf8'));

const entry = createRequire(join(resolve(peer), 'from-here.cjs')).resolve('node-llama-cpp');
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry).href);
const llama = await getLlama({
  gpu: false,
  build: 'never',
  maxThreads: 1,
  logLevel: LlamaLogLevel.error,
});
const model = await llama.loadModel({ modelPath });
const context = await model.createContext({
  contextSize: 512,
  batchSize: 512,
  threads: 1,
  flashAttention: false,
});
const batches = context._ctx;
const sampler = new llama._bindings.AddonSampler(model._model);
sampler.applyConfig({ temperature: 0 });

const vocab = model.fileInfo.metadata.tokenizer.ggml.tokens.length;

/** Computes tokens at positions from `position` on and gives the last one's logits: f32 [vocab]. */
async function step(ids, position) {
  batches.initBatch(ids.length);
  const [row] = batches.addToBatch(0, position, Uint32Array.from(ids), Uint32Array.of(ids.length - 1));
  await batches.decodeBatch();
  const [chosen, , , pairs] = await batches.sampleToken(row, sampler, false, false, true);
  if (pairs.length !== 2 * vocab) throw new Error(`expected ${vocab} logits, got ${pairs.length / 2}`);
  const logits = new Float32Array(vocab);
  for (let i = 0; i < pairs.length; i += 2) logits[pairs[i]] = pairs[i + 1];
  return { chosen, logits };
}

const continuations = [];
for (const [index, prompt] of prompts.entries()) {
  const all = new Float32Array(tokens * vocab);
  const continuation = [];
  for (let t = 0; t < tokens; t++) {
    const { chosen, logits } =
      t === 0 ? await step(prompt, 0) : await step([continuation[t - 1]], prompt.length + t - 1);
    continuation.push(given?.[index][t] ?? chosen);
    all.set(logits, t * vocab);
  }
  batches.disposeSequence(0);
  continuations.push(continuation);
  writeFileSync(join(out, `logits-${index}.f32`), new Uint8Array(all.buffer));
}
writeFileSync(
  join(out, 'answers.json'),
  JSON.stringify({
    release: `${llama.llamaCppRelease.repo} ${llama.llamaCppRelease.release}`,
    simd: llama.systemInfo,
    vocab,
    textIds: texts.map((text) => [...model.tokenize(text, true)]),
    continuations,
  }),
);
process.exit(0);
