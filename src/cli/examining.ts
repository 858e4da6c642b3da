/**
 * Owns: `hadal evaluate --task`: who is examined, by which items, and how the scores are shown.
 * Refuses to know: how tasks are run and scored.
 */
import { HadalError } from '../error.ts';
import { runTask, type Score, type TaskResult } from '../evaluate/run-task.node.ts';
import { localSubject, urlSubject } from '../evaluate/subject.ts';
import type { Task } from '../evaluate/task.ts';
import { readItems, readTask } from '../evaluate/task-files.node.ts';
import { isOffline } from '../hub/offline.node.ts';
import { modelIdentity } from '../quantize/quantize.node.ts';
import type { Arguments } from './arguments.ts';
import type { Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { formatCount, table } from './figures.ts';
import { openShown } from './opening.ts';

/** Flags that belong to a text, and mean nothing beside a task. */
const OF_TEXTS = ['against', 'window', 'windows'];

/**
 * Examines a model by the task that a command line names, and shows the scores.
 *
 * @throws HadalError `usage`, and as `readTask`, `readItems` and `runTask` do.
 * @example await examine('./model.gguf', given, surroundings);
 */
export async function examine(name: string, given: Arguments, surroundings: Surroundings): Promise<void> {
  const { terminal, interruption, env } = surroundings;
  for (const flag of OF_TEXTS) {
    if (given.has(flag)) throw usageError({ what: `--${flag}`, expected: 'no --task beside it' });
  }
  const itemsPath = given.text('items');
  if (itemsPath === undefined || given.words.length > 1) {
    throw usageError({
      what: 'the items',
      expected: '--items FILE, and no TEXTFILE',
      got: given.words.slice(1).join(' ') || 'none',
    });
  }
  const task = await readTask(given.text('task')!);
  if (isOffline(env)) demandNothingOutside(given.text('url'), task);
  const shotsPath = given.text('shots');
  const fewshot = given.number('num-fewshot', { min: 0, max: 100, whole: true });
  const limit = given.number('limit', { min: 1, whole: true });
  const items = (await readItems(itemsPath)).slice(0, limit);
  const shots = shotsPath === undefined ? [] : await readItems(shotsPath);
  const results =
    given.text('out') ?? `${name.replace(/.*[\\/]/, '').replace(/\.gguf$/i, '')}.${task.task}.jsonl`;
  const url = given.text('url');
  const threads = given.number('threads', { min: 1, max: 1024, whole: true });
  const contextTokens = given.number('context', { min: 16, whole: true });
  const opening = {
    ...(threads === undefined ? {} : { threads }),
    ...(contextTokens === undefined ? {} : { contextTokens }),
  };
  await using model = url === undefined ? await openShown(name, surroundings, opening) : undefined;
  const apiKey = env.OPENAI_API_KEY;
  const subject = model
    ? localSubject(model)
    : urlSubject({ url: url!, model: name, ...(apiKey === undefined ? {} : { apiKey }) });
  const result = await runTask(
    {
      task,
      items,
      shots,
      ...(fewshot === undefined ? {} : { fewshot }),
      subject,
      model: model ? await modelIdentity(model.path) : `${name} at ${url}`,
      chat: given.has('chat'),
      results,
      isolation: given.has('unsafe-code') ? 'none' : 'namespaces',
    },
    {
      signal: interruption.signal,
      onItem: (done, all, scores) =>
        terminal.progress(`${done} of ${all} items · ${scores.map(short).join(' · ')}`),
    },
  );
  terminal.progress('');
  if (given.has('json')) terminal.json({ model: name, ...(url && { url }), results, ...result });
  else terminal.out(report(result));
}

/** What a task would go out for, or start, is said before anything is done. */
function demandNothingOutside(url: string | undefined, { task, program }: Task): void {
  const refuse = (code: string, what: string, expected: string, got: string) =>
    new HadalError(code, { what, expected, got, next: 'run it where there is a network' });
  if (url !== undefined) {
    const expected = 'a model on this machine, since nothing may go out';
    throw refuse('offline-connection', `--url ${url}`, expected, 'a server');
  }
  if (program !== undefined) {
    const expected = 'a task that starts no programs, since nothing may go out';
    throw refuse('offline-program', `the task ${task}`, expected, "one that runs a model's code in Python");
  }
}

const percent = (part: number) => `${(100 * part).toFixed(1)} %`;

function short({ metric, filter, mean }: Score): string {
  return `${nameOf(metric, filter)} ${percent(mean)}`;
}

function nameOf(metric: string, filter: string): string {
  return filter === 'none' ? metric : `${metric}, ${filter}`;
}

function report({ task, items, resumed, scores }: TaskResult): string {
  const head = ['task', 'metric', 'score', '95 % interval', 'items'];
  const rows = scores.map(({ metric, filter, group, mean, low, high, count }) => [
    group === undefined ? task : `  ${group}`,
    nameOf(metric, filter),
    percent(mean),
    `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)} %`,
    formatCount(count),
  ]);
  const before = resumed > 0 ? `${formatCount(resumed)} of ${formatCount(items)} items from before\n` : '';
  return `${table([head, ...rows], [2, 3, 4])}\n${before}`;
}
