/**
 * Owns: carrying out a request for embeddings: getting the model, embedding its inputs together, counting them.
 * Refuses to know: any protocol's documents.
 */
import { setMaxListeners } from 'node:events';
import type { EmbeddingAnswer, EmbeddingRequest } from '../api/request.ts';
import { HadalError } from '../error.ts';
import type { EmbedOptions } from '../runtime/embedder.ts';
import type { ServingModel } from './answering.ts';
import type { ServerContext, ServerParts } from './context.ts';
import { watchAnswer } from './observing.ts';
import { withModel } from './using.ts';
import { allowed } from './visible.ts';

/**
 * Embeds the inputs of a request, within the limits of the caller's key. Without inputs it only loads the model.
 *
 * @throws HadalError `request-invalid` for other dimensions than the model's; `client-left`; as {@link withModel} and
 *   `Embedder.embed` do.
 * @example const { vectors } = await embedAll(c, parts, { model: 'smollm2-135m', inputs: ['a rainy day'] });
 */
export async function embedAll(
  c: ServerContext,
  parts: ServerParts,
  request: EmbeddingRequest,
): Promise<EmbeddingAnswer> {
  const key = c.get('key');
  const served = allowed(parts.models, request.model, key);
  const watch = watchAnswer(parts.observers, {
    requestId: c.get('requestId'),
    key: key?.name,
    model: served.name,
    operation: 'embeddings',
    streamed: false,
  });
  c.set('answering', true);
  const startedMs = performance.now();
  const pooling = request.pooling ?? served.pooling;
  const options = { tenant: key?.name ?? '', ...(pooling === undefined ? {} : { pooling }) };
  const embed = async (model: ServingModel, signal: AbortSignal): Promise<EmbeddingAnswer> => {
    const loadMs = performance.now() - startedMs;
    const all = await together(model, request, { ...options, signal });
    return { ...all, loadMs, totalMs: performance.now() - startedMs };
  };
  try {
    const answer = await withModel(c, parts, request.model, embed, request.keepAliveMs);
    watch.embedded(answer.promptTokens);
    watch.end();
    return answer;
  } catch (error) {
    const told = c.req.raw.signal.aborted
      ? new HadalError('client-left', { what: 'the client left' })
      : error;
    watch.end(told);
    throw told;
  }
}

/** All inputs at once; the first that fails ends the others. */
async function together(
  { embedder }: ServingModel,
  { inputs, dimensions = embedder.dimensions }: EmbeddingRequest,
  options: EmbedOptions & { readonly signal: AbortSignal },
): Promise<Pick<EmbeddingAnswer, 'vectors' | 'promptTokens'>> {
  if (dimensions !== embedder.dimensions) {
    throw new HadalError('request-invalid', {
      what: 'dimensions',
      expected: `${embedder.dimensions}, which is what this model gives`,
      got: `${dimensions}`,
      next: 'leave it out',
    });
  }
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  // Each input listens.
  setMaxListeners(0, signal);
  const all = inputs.map((input) => embedder.embed(input, { ...options, signal }));
  try {
    const embeddings = await Promise.all(all);
    return {
      vectors: embeddings.map(({ vector }) => vector),
      promptTokens: embeddings.reduce((sum, { tokens }) => sum + tokens, 0),
    };
  } catch (error) {
    failed.abort(error);
    await Promise.allSettled(all);
    throw error;
  }
}
