/**
 * Owns: a pull that a caller asks for: may they, its steps one after another, and serving what came.
 * Refuses to know: any protocol's lines, how models are fetched.
 */
import type { PullStep } from '../api/ollama/pull.ts';
import { EventQueue } from '../engine/event-queue.ts';
import { HadalError } from '../error.ts';
import type { ServerContext, ServerParts } from './context.ts';
import { wordsOf } from './observing.ts';
import { allowed, demandRule } from './visible.ts';

/** Between two steps of one stage. */
const STEP_EVERY_MS = 100;

/**
 * Fetches a model and serves it until the server ends. The steps end with `done`; leaving them early ends the pull, and
 * what came so far stays on disk.
 *
 * @throws HadalError (at the call) `pull-refused`, `key-limited`, the limiter's; (from the steps) `pull-failed`
 * @example for await (const step of pullModel(c, parts, 'smollm2-135m')) show(step);
 */
export function pullModel(
  c: ServerContext,
  parts: ServerParts,
  name: string,
): AsyncIterableIterator<PullStep> {
  const key = c.get('key');
  demandRule(key, 'pulling models');
  const { models, store, observers } = parts;
  const served = models.find(name);
  const wanted = served === undefined ? store.find(name) : undefined;
  if (parts.closing.aborted) throw parts.closing.reason;
  const place = parts.limiter.enter(key);
  const left = new AbortController();
  const leave = () => left.abort(new HadalError('client-left', { what: 'the client left' }));
  const steps = new EventQueue<PullStep>(leave);
  const options = { signal: AbortSignal.any([left.signal, parts.closing]), ...progressTo(steps) };
  const work = async () => {
    steps.push({ stage: 'begin' });
    if (served !== undefined) await store.refetch(served, options);
    if (wanted !== undefined) {
      const source = await wanted.fetch(options);
      models.add({ name: wanted.name, aliases: wanted.aliases, source, pinned: false });
    }
    steps.push({ stage: 'done' });
  };
  const fields = { requestId: c.get('requestId'), key: key?.name, model: served?.name ?? wanted?.name };
  work()
    .then(
      () => {
        observers.log.info(fields, 'pulled');
        steps.end();
      },
      (error) => {
        observers.log.warn({ ...fields, error: wordsOf(error) }, 'not pulled');
        steps.end(error);
      },
    )
    .finally(() => place.leave());
  return steps;
}

/** Progress as steps, not more often than anybody can see. */
function progressTo(steps: EventQueue<PullStep>) {
  let sha256 = '';
  let shown = { stage: '', ms: 0 };
  return {
    onAnnounce(of: { readonly sha256: string }) {
      sha256 = of.sha256;
    },
    onProgress(step: { stage: 'fetch' | 'verify'; doneBytes: number; totalBytes: number }) {
      const nowMs = performance.now();
      const soon = step.stage === shown.stage && nowMs - shown.ms < STEP_EVERY_MS;
      if (soon && step.doneBytes < step.totalBytes) return;
      shown = { stage: step.stage, ms: nowMs };
      steps.push({ ...step, sha256 });
    },
  };
}

/**
 * Takes a model out of what is served and removes its files.
 *
 * @throws HadalError `key-limited`, `model-unknown`, `model-forbidden`, `model-pinned`, `model-busy`, `model-not-pulled`
 */
export async function deleteModel(c: ServerContext, parts: ServerParts, name: string): Promise<void> {
  const key = c.get('key');
  demandRule(key, 'deleting models');
  const served = allowed(parts.models, name, key);
  const remove = await parts.store.removal(served);
  if (remove === undefined) {
    throw new HadalError('model-not-pulled', {
      what: `the model ${served.name}`,
      expected: 'one that was pulled',
      got: 'a file of whoever runs this server',
      next: 'leave it to them',
    });
  }
  await parts.models.remove(served.name);
  const freedBytes = await remove();
  parts.observers.log.info({ key: key?.name, model: served.name, freedBytes }, 'deleted');
}
