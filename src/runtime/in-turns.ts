/**
 * Owns: long work of one caller beside that of others: between steps the event loop gets its turn.
 * Refuses to know: what the work is.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Steps } from '../tokenizer/tokenizer.ts';

/** Others wait so long at most, and one step more. */
const TURN_MS = 5;

/**
 * The result of steps, carried out by turns with everything else that the thread does.
 *
 * @throws the signal's reason once it is aborted
 * @example const ids = await inTurns(tokenizer.encodeInSteps(text), signal);
 */
export async function inTurns<T>(steps: Steps<T>, signal?: AbortSignal): Promise<T> {
  let sinceMs = performance.now();
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    if (performance.now() - sinceMs < TURN_MS) continue;
    await nextTurn();
    signal?.throwIfAborted();
    sinceMs = performance.now();
  }
}
