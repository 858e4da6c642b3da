/**
 * Owns: long work of one caller beside that of others: between steps the event loop gets its turn.
 * Refuses to know: what the work is.
 */
import type { Steps } from '../tokenizer/tokenizer.ts';

/** Everything else waits so long at most, and one step more, however many work in turns. */
const TURN_MS = 5;

/** Whose turn it is next, first come first served. */
const waiting: (() => void)[] = [];
/** What the present turn of the event loop has taken so far. */
let spentMs = 0;

function spend(ms: number): void {
  if (spentMs === 0) {
    setImmediate(() => {
      spentMs = 0;
    });
  }
  spentMs += ms;
}

/** Resolves in a turn of the event loop that nobody else who waits has. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    if (waiting.push(resolve) === 1) setImmediate(begin);
  });
}

function begin(): void {
  spentMs = 0;
  waiting.shift()?.();
  if (waiting.length > 0) setImmediate(begin);
}

/**
 * The result of steps, carried out by turns with everything else that the thread does. All who work so share one turn.
 *
 * @throws the signal's reason once it is aborted
 * @example const ids = await inTurns(tokenizer.encodeInSteps(text), signal);
 */
export async function inTurns<T>(steps: Steps<T>, signal?: AbortSignal): Promise<T> {
  for (;;) {
    if (spentMs >= TURN_MS || waiting.length > 0) {
      await nextTurn();
      signal?.throwIfAborted();
    }
    const left = TURN_MS - spentMs;
    const startedMs = performance.now();
    let step = steps.next();
    while (!step.done && performance.now() - startedMs < left) step = steps.next();
    spend(performance.now() - startedMs);
    if (step.done) return step.value;
  }
}
