/**
 * Owns: tasks and items on disk: the tasks that come with Hadal, and files of the user.
 * Refuses to know: what is in them.
 */
import { readFile } from 'node:fs/promises';
import { HadalError } from '../error.ts';
import { type Item, parseTask, type Task } from './task.ts';

/** Tasks that come with Hadal; their items do not. */
export const TASK_NAMES = ['mmlu', 'gpqa', 'gsm8k', 'math', 'humaneval', 'humaneval-infilling'] as const;

/**
 * A task by its name or by the path of a JSON or YAML file.
 *
 * @throws HadalError `file-unreadable`, `task-invalid`
 * @example (await readTask('gsm8k')).num_fewshot // 5
 */
export async function readTask(name: string): Promise<Task> {
  const known = TASK_NAMES.find((one) => one === name.toLowerCase());
  const place = known === undefined ? name : new URL(`./tasks/${known}.json`, import.meta.url);
  const text = await readFile(place, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    const expected = `a task: ${TASK_NAMES.join(', ')}, or a file`;
    throw unreadable(name, expected, cause);
  });
  return parseTask(text, name);
}

/**
 * Items of a benchmark: a JSON array, or a JSON document a line.
 *
 * @throws HadalError `file-unreadable`, `items-invalid` with the line
 * @example (await readItems('gsm8k.test.jsonl'))[0]
 */
export async function readItems(path: string): Promise<Item[]> {
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw unreadable(path, 'items: JSON, or a JSON document a line', cause);
  });
  if (text.trimStart().startsWith('[')) {
    const whole: unknown = json(text, path);
    return (whole as unknown[]).map((item, i) => demandRecord(item, `item ${i + 1} of ${path}`));
  }
  return text.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return [];
    const place = `line ${i + 1} of ${path}`;
    return [demandRecord(json(line, place), place)];
  });
}

function json(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const next = 'give a JSON array of objects, or one object a line';
    throw new HadalError('items-invalid', { what, expected: 'JSON', got: (cause as Error).message, next });
  }
}

function demandRecord(value: unknown, what: string): Item {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Item;
  throw new HadalError('items-invalid', {
    what,
    expected: 'an object with the item’s fields',
    got: typeof value,
  });
}

function unreadable(what: string, expected: string, cause: NodeJS.ErrnoException): HadalError {
  return new HadalError('file-unreadable', {
    what,
    expected,
    got: cause.code ?? cause.message,
    next: 'check the path',
  });
}
