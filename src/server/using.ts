/**
 * Owns: a loaded model in a route's hands for a moment: may this caller use it, is there room, and giving it back.
 * Refuses to know: what is done with it, any protocol.
 */
import type { ServingModel } from './answering.ts';
import type { ServerContext, ServerParts } from './context.ts';
import { allowed } from './visible.ts';

/**
 * Does something with a model that is loaded for it if need be, within the limits of the caller's key.
 *
 * @throws HadalError as {@link allowed}, `Limiter.enter` and `Models.acquire`; what `use` throws.
 * @example await withModel(c, parts, 'smollm2-135m', ({ answerer }) => answerer.countTokens(messages));
 */
export async function withModel<T>(
  c: ServerContext,
  parts: ServerParts,
  name: string,
  use: (model: ServingModel, signal: AbortSignal) => T | Promise<T>,
  keepAliveMs?: number,
): Promise<T> {
  allowed(parts.models, name, c.get('key'));
  if (parts.closing.aborted) throw parts.closing.reason;
  const place = parts.limiter.enter(c.get('key'));
  try {
    const signal = AbortSignal.any([c.req.raw.signal, parts.stop]);
    const lease = await parts.models.acquire(name, { signal });
    try {
      return await use(lease.model, signal);
    } finally {
      lease.release(keepAliveMs);
    }
  } finally {
    place.leave();
  }
}
