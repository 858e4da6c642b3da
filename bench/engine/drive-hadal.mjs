/**
 * Owns: Hadal as a measured engine: what it is asked goes the way that every request goes, through the engine's host.
 * Refuses to know: what is measured, the other engine.
 */
import { startEngineHost } from '../../dist/engine/host.node.js';
import { engineMainFile } from '../../dist/runtime/engine-file.node.js';
import { answerParent, peakBytes, someIds } from './child.mjs';

let host;
let seed = 1000;

/** Events of an answer of `tokens` tokens, greedily chosen, with the time of each. */
async function answer(promptIds, tokens, onToken) {
  const request = {
    requestId: `bench-${++seed}`,
    promptIds,
    maxTokens: tokens,
    sampling: { temperature: 0 },
    endIds: [],
  };
  for await (const event of host.generate(request)) if (event.type === 'token') onToken(performance.now());
}

answerParent({
  async open({ model, threads, contextTokens, sequences, cacheDType }) {
    const startedMs = performance.now();
    host = await startEngineHost({
      mainFile: engineMainFile(),
      modelPath: model,
      kind: 'worker',
      threads,
      contextTokens,
      cacheTokens: contextTokens * sequences + contextTokens,
      cacheDType,
      maxSequences: sequences,
      // A greedy answer to random tokens repeats itself, and repetition is guessed right: that would flatter decoding.
      drafting: 'off',
    });
    return { ms: performance.now() - startedMs, about: host.description.backend };
  },

  /** Reads a prompt that was never read before. */
  async prefill({ tokens }) {
    const ids = someIds(tokens, host.description.vocabSize, ++seed);
    const startedMs = performance.now();
    await answer(ids, 1, () => {});
    return { ms: performance.now() - startedMs, tokens };
  },

  /** Answers of `tokens` tokens after `depth` tokens: counted while all of them are answering. */
  async decode({ depth, tokens, batch }) {
    const times = Array.from({ length: batch }, () => []);
    await Promise.all(
      times.map((own, i) =>
        answer(someIds(depth, host.description.vocabSize, i + 1), tokens + 1, (now) => own.push(now)),
      ),
    );
    const from = Math.max(...times.map((own) => own[0]));
    const to = Math.min(...times.map((own) => own.at(-1)));
    if (from >= to)
      throw new Error(`${tokens} tokens are too few: an answer ended before all ${batch} had begun`);
    const counted = times.flat().filter((time) => time > from && time <= to).length;
    return { ms: to - from, tokens: counted };
  },

  peak: () => ({ bytes: peakBytes() }),
});
