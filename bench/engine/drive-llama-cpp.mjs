/**
 * Owns: llama.cpp (node-llama-cpp) as a measured engine: batches made by hand, without its sampler and its sequences'
 * bookkeeping, which would only make it slower.
 * Refuses to know: what is measured, the other engine.
 */
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { answerParent, peakBytes, someIds } from './child.mjs';

const BATCH_TOKENS = 512;

let batches;
let vocab;
let seed = 5000;
/** Tokens of the prompt that sequence 0 holds. */
let held = 0;

async function step(rows) {
  batches.initBatch(rows.reduce((sum, { ids }) => sum + ids.length, 0));
  for (const { sequence, position, ids } of rows) {
    batches.addToBatch(sequence, position, Uint32Array.from(ids), Uint32Array.of(ids.length - 1));
  }
  await batches.decodeBatch();
}

async function read(sequence, ids) {
  for (let at = 0; at < ids.length; at += BATCH_TOKENS) {
    await step([{ sequence, position: at, ids: ids.subarray(at, at + BATCH_TOKENS) }]);
  }
}

function forget(sequence) {
  batches.disposeSequence(sequence);
  if (sequence === 0) held = 0;
}

answerParent({
  async open({ peer, model, threads, contextTokens, sequences, cacheDType }) {
    const entry = createRequire(join(resolve(peer), 'from-here.cjs')).resolve('node-llama-cpp');
    const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry).href);
    const llama = await getLlama({
      gpu: false,
      build: 'never',
      maxThreads: threads,
      logLevel: LlamaLogLevel.error,
    });
    const startedMs = performance.now();
    const loaded = await llama.loadModel({ modelPath: model });
    const context = await loaded.createContext({
      contextSize: contextTokens,
      batchSize: BATCH_TOKENS,
      sequences,
      threads,
      flashAttention: 'auto',
      experimentalKvCacheKeyType: cacheDType,
      experimentalKvCacheValueType: cacheDType,
    });
    const ms = performance.now() - startedMs;
    batches = context._ctx;
    vocab = loaded.fileInfo.metadata.tokenizer.ggml.tokens.length;
    const { repo, release } = llama.llamaCppRelease;
    return { ms, about: { name: `${repo} ${release}`, isa: llama.systemInfo, threads } };
  },

  async prefill({ tokens }) {
    const ids = someIds(tokens, vocab, ++seed);
    forget(0);
    const startedMs = performance.now();
    await read(0, ids);
    const ms = performance.now() - startedMs;
    forget(0);
    return { ms, tokens };
  },

  async decode({ depth, tokens, batch }) {
    for (let s = 0; s < batch; s++) {
      // The prompt of one deep sequence stays where it is from round to round.
      if (batch === 1 && held === depth) batches.removeTokenCellsFromSequence(0, depth, -1);
      else {
        forget(s);
        await read(s, someIds(depth, vocab, s + 1));
      }
    }
    held = batch === 1 ? depth : 0;
    const one = someIds(batch * (tokens + 1), vocab, ++seed);
    const all = (t) =>
      Array.from({ length: batch }, (_, sequence) => ({
        sequence,
        position: depth + t,
        ids: one.subarray(t * batch + sequence, t * batch + sequence + 1),
      }));
    await step(all(0));
    const startedMs = performance.now();
    for (let t = 1; t <= tokens; t++) await step(all(t));
    return { ms: performance.now() - startedMs, tokens: tokens * batch };
  },

  peak: () => ({ bytes: peakBytes() }),
});
