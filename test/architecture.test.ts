/**
 * Owns: the shape of the project: which room may import which, what runs in a browser, names and sizes of files.
 * Refuses to know: what any file does.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

/** A room may import only from rooms above it. */
const ROOMS = (
  'dtypes formats tokenizer backend image model engine chat api hub runtime quantize evaluate planner audit store http ' +
  'server gateway code train cli'
).split(' ');
const PORTABLE = /^src\/(dtypes|formats|tokenizer|backend\/(reference|webgpu)|model|engine|chat|api)\//;
const BANNED = /(^|\/)(utils?|common|helpers?|misc|core)\//;
const LINE_LIMIT = 600;

const root = fileURLToPath(new URL('..', import.meta.url));
/** Files of git, those not yet added included. */
const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '--deduplicate'], { cwd: root })
  .toString()
  .split('\n')
  .filter(
    (path) =>
      /^(src|native|web|test|scripts|bench)\/.*\.(ts|tsx|rs|mjs|py|wgsl)$/.test(path) &&
      existsSync(`${root}${path}`),
  );
const text = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
const sources = files.filter((path) => path.startsWith('src/') && !path.endsWith('.test.ts'));
const roomOf = (path: string) => path.split('/')[1] ?? '';

/** Each import of a file, relative ones as a path from the root. */
function importsOf(path: string): string[] {
  const found = text(path).matchAll(
    /^(?:import|export)\b[^;'"]*?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm,
  );
  return [...found].map(([, from, dynamic]) => {
    const target = from ?? dynamic ?? '';
    return target.startsWith('.') ? new URL(target, `file:///${path}`).pathname.slice(1) : target;
  });
}

test('every room is in the list, and imports only from rooms above it', () => {
  expect(sources.length).toBeGreaterThan(50);
  const complaints = sources.flatMap((path) => {
    if (path.split('/').length === 2) return [];
    const room = ROOMS.indexOf(roomOf(path));
    if (room < 0) return [`${path} is in no room: the rooms of src/ are ${ROOMS.join(', ')}.`];
    return importsOf(path)
      .filter((target) => target.startsWith('src/') && ROOMS.indexOf(roomOf(target)) > room)
      .map(
        (target) =>
          `${path} imports ${target}, but ${ROOMS[room]}/ may not know ${roomOf(target)}/, which comes after it. ` +
          'Move the code to the room it belongs in, or pass what is needed as an argument.',
      );
  });
  expect(complaints).toEqual([]);
});

test('portable files run in a browser, and so does all that they import', () => {
  const reached = new Set(sources.filter((path) => PORTABLE.test(path) && !path.endsWith('.node.ts')));
  const complaints: string[] = [];
  // The set grows while it is walked.
  for (const path of reached) {
    for (const target of importsOf(path)) {
      if (target.startsWith('node:') || target.endsWith('.node.ts'))
        complaints.push(
          `${path} imports ${target}, so it runs in Node only. Only files named *.node.ts may do that there.`,
        );
      else if (target.startsWith('src/')) reached.add(target);
    }
  }
  expect(complaints).toEqual([]);
});

test('folders say what is in them, and files stay readable', () => {
  const complaints = files.flatMap((path) => {
    const lines = text(path).split('\n').length - 1;
    const table = /table|generated/i.test(text(path).split('\n', 1)[0] ?? '');
    return [
      ...(BANNED.test(path)
        ? [`${path}: a folder of that name collects what has no place; name it by what it owns.`]
        : []),
      ...(lines > LINE_LIMIT && !table
        ? [`${path} has ${lines} lines, ${LINE_LIMIT} is the limit; split it by what each part owns.`]
        : []),
    ];
  });
  expect(complaints).toEqual([]);
});
