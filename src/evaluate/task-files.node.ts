/**
 * Owns: tasks and items on disk: the tasks that come with Hadal, and files of the user.
 * Refuses to know: what is in them.
 */
import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
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
 * Items of a benchmark: a JSON array, a JSON document a line, or a table of comma-separated values (`.csv`) whose first row
 * names the fields; also packed by gzip (`.gz`).
 *
 * @throws HadalError `file-unreadable`, `items-invalid` with the line
 * @example (await readItems('gsm8k.test.jsonl'))[0]
 */
export async function readItems(path: string): Promise<Item[]> {
  const text = await textOf(path);
  if (/\.csv(\.gz)?$/i.test(path)) return table(text, path);
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

const MOST_UNPACKED_BYTES = 1 << 29;

async function textOf(path: string): Promise<string> {
  try {
    const bytes = await readFile(path);
    const packed = bytes[0] === 0x1f && bytes[1] === 0x8b;
    return (packed ? gunzipSync(bytes, { maxOutputLength: MOST_UNPACKED_BYTES }) : bytes).toString('utf8');
  } catch (cause) {
    throw unreadable(path, 'items: JSON, a JSON document a line, or a .csv', cause as NodeJS.ErrnoException);
  }
}

/** Records of a table, by the names in its first row. Source: RFC 4180. */
function table(text: string, path: string): Item[] {
  const [names = [], ...rows] = cells(text.replace(/^\ufeff/, ''), path);
  return rows.map((row, i) => {
    if (row.length === names.length) return Object.fromEntries(names.map((name, c) => [name, row[c]!]));
    throw new HadalError('items-invalid', {
      what: `record ${i + 1} of ${path}`,
      expected: `${names.length} values, as the first row has names`,
      got: `${row.length}`,
      next: 'give a table whose first row names the fields',
    });
  });
}

/** The values of each record; within quotes there may be commas and line breaks, and two quotes are one. */
function cells(text: string, path: string): string[][] {
  const records: string[][] = [];
  let record: string[] = [];
  const value = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/y;
  while (value.lastIndex < text.length || record.length > 0) {
    const at = value.lastIndex;
    const [, quoted, bare = '', end] = value.exec(text) ?? [];
    if (end === undefined) {
      const next = 'put values with quotes in quotes, and double those within';
      const what = `character ${at + 1} of ${path}`;
      throw new HadalError('items-invalid', {
        what,
        expected: 'comma-separated values',
        got: 'a stray quote',
        next,
      });
    }
    record.push(quoted?.replaceAll('""', '"') ?? bare);
    if (end === ',') continue;
    if (record.length > 1 || record[0] !== '') records.push(record);
    record = [];
  }
  return records;
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
