/**
 * Owns: Hadal's prompts, readings and scores of a benchmark's items, held to lm-evaluation-harness's item by item.
 * Refuses to know: whether the model is any good. The golden file is made by scripts/reference/lm-eval-scores.py.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it, test } from 'vitest';
import { runTask } from '../../../src/evaluate/run-task.node.ts';
import { localSubject, type Subject } from '../../../src/evaluate/subject.ts';
import { readItems, readTask } from '../../../src/evaluate/task-files.node.ts';
import { openModel } from '../../../src/runtime/open.node.ts';
import { describeWith, testModelPath } from '../../fixtures/needs.ts';

interface LmEvalItem {
  /** The prompt, and what the model said to it. */
  readonly asked: string;
  readonly answer: string;
  readonly scores: Readonly<Record<string, number>>;
}

const place = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const golden: {
  readonly certificate: { readonly isa: string };
  readonly tasks: Readonly<Record<'sums' | 'letters', readonly LmEvalItem[]>>;
} = JSON.parse(readFileSync(place('./lm-eval.json'), 'utf8'));
type Case = readonly [name: 'sums' | 'letters', task: string, items: string];
const CASES: readonly Case[] = [
  ['sums', 'gsm8k', 'sums'],
  ['letters', place('./letters.yaml'), 'facts'],
];
const scratch = mkdtempSync(join(tmpdir(), 'hadal-lm-eval-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Runs a case, and gives what became of each item. */
async function examined([name, task, items]: Case, subject: Subject, model: string) {
  const results = join(scratch, `${name}-${model}.jsonl`);
  await runTask({
    task: await readTask(task),
    items: await readItems(place(`./${items}.jsonl`)),
    shots: await readItems(place(`./${items}.shots.jsonl`)),
    subject,
    model,
    results,
  });
  const lines = readFileSync(results, 'utf8').trim().split('\n');
  return lines.map((line): Pick<LmEvalItem, 'answer' | 'scores'> => JSON.parse(line));
}

test.each(CASES)('%s: the same prompts, and of the same answers the same scores', async (...of) => {
  const expected = golden.tasks[of[0]];
  const said = new Map(expected.map(({ asked, answer }) => [asked, answer]));
  const asked: string[] = [];
  const none = () => Promise.reject(new Error('not to be asked'));
  const complete = async (prompt: string) => {
    asked.push(prompt);
    return said.get(prompt) ?? '';
  };
  const found = await examined(of, { complete, logprobs: none, chat: none, infill: none }, 'said');
  expect(asked).toEqual(expected.map((item) => item.asked));
  expect(found.map(({ scores }) => scores)).toEqual(expected.map(({ scores }) => scores));
  const right = expected.flatMap(({ scores }) => Object.values(scores));
  expect(new Set(right)).toEqual(new Set([0, 1]));
});

describeWith(['weights'], 'hadal evaluate and lm-eval against hadal serve', () => {
  it.each(CASES)('%s: the same score for every item', async (...of) => {
    await using model = await openModel(testModelPath()!, { contextTokens: 2048 });
    const found = await examined(of, localSubject(model), 'smollm2');
    const expected = golden.tasks[of[0]];
    const same = found.filter(({ answer }, i) => answer === expected[i]!.answer).length;
    console.info(`${of[0]}: ${same} of ${found.length} answers are the same to the letter`);
    // Other instruction sets round otherwise, and a greedy answer may then take another turn.
    if (model.backend.isa !== golden.certificate.isa) expect(same).toBeGreaterThan(found.length / 2);
    else expect(found.map(({ scores }) => scores)).toEqual(expected.map(({ scores }) => scores));
  });
});
