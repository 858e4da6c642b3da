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

interface LmEvalItem<Answer> {
  /** The prompt, and what the model said to it. */
  readonly asked: string;
  readonly answer: Answer;
  readonly scores: Readonly<Record<string, number>>;
}
/** What the model said is then the log-probability of each. */
interface LmEvalChoice extends LmEvalItem<readonly number[]> {
  readonly choices: readonly string[];
}

const place = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const golden: {
  readonly certificate: { readonly isa: string };
  readonly tasks: Readonly<Record<'sums' | 'letters', readonly LmEvalItem<string>[]>> &
    Readonly<Record<'mmlu' | 'gpqa' | 'cloze', readonly LmEvalChoice[]>>;
} = JSON.parse(readFileSync(place('./lm-eval.json'), 'utf8'));
type Case<Name> = readonly [name: Name, task: string, items: string, fewshot: number];
const CASES: readonly Case<'sums' | 'letters'>[] = [
  ['sums', 'gsm8k', 'sums', 5],
  ['letters', place('./letters.yaml'), 'facts', 3],
];
const LIKELIEST: readonly Case<'mmlu' | 'gpqa' | 'cloze'>[] = [
  ['mmlu', 'mmlu', 'facts', 3],
  ['gpqa', 'gpqa', 'facts', 0],
  ['cloze', place('./cloze.yaml'), 'facts', 2],
];
/** Natural logarithms: what is computed in other batches may differ in its last bits. */
const NEAR = 1e-4;
const scratch = mkdtempSync(join(tmpdir(), 'hadal-lm-eval-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Runs a case, and gives what became of each item. */
async function examined<Answer>(
  [name, task, items, fewshot]: Case<string>,
  subject: Subject,
  model: string,
): Promise<Pick<LmEvalItem<Answer>, 'answer' | 'scores'>[]> {
  const results = join(scratch, `${name}-${model}.jsonl`);
  // lm-eval knows no order that hangs on the item: choices are as the file has them.
  const { shuffled_choices: _, ...given } = await readTask(task);
  const rows = async (path: string) => {
    const read = await readItems(place(path));
    return read.map((item) => ({ Question: item.question, ...item }));
  };
  await runTask({
    task: given,
    items: await rows(`./${items}.jsonl`),
    shots: await rows(`./${items}.shots.jsonl`),
    fewshot,
    subject,
    model,
    results,
  });
  const lines = readFileSync(results, 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line));
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
  const found = await examined<string>(of, { complete, logprobs: none, chat: none, infill: none }, 'said');
  expect(asked).toEqual(expected.map((item) => item.asked));
  expect(found.map(({ scores }) => scores)).toEqual(expected.map(({ scores }) => scores));
  const right = expected.flatMap(({ scores }) => Object.values(scores));
  expect(new Set(right)).toEqual(new Set([0, 1]));
});

test.each(LIKELIEST)(
  '%s: the same prompts and choices, and of the same likelihoods the same scores',
  async (...of) => {
    const expected = golden.tasks[of[0]];
    const said = new Map(expected.map(({ asked, answer }) => [asked, answer]));
    const asked: { asked: string; choices: readonly string[] }[] = [];
    const none = () => Promise.reject(new Error('not to be asked'));
    const logprobs = async (prompt: string, choices: readonly string[]) => {
      asked.push({ asked: prompt, choices });
      return [...(said.get(prompt) ?? [])];
    };
    const found = await examined(of, { complete: none, logprobs, chat: none, infill: none }, 'said');
    expect(asked).toEqual(expected.map(({ asked, choices }) => ({ asked, choices })));
    expect(found.map(({ scores }) => scores)).toEqual(expected.map(({ scores }) => scores));
    expect(new Set(expected.flatMap(({ scores }) => Object.values(scores)))).toEqual(new Set([0, 1]));
  },
);

describeWith(['weights'], 'hadal evaluate and lm-eval against hadal serve', () => {
  it.each(CASES)('%s: the same score for every item', async (...of) => {
    await using model = await openModel(testModelPath()!, { contextTokens: 2048 });
    const found = await examined<string>(of, localSubject(model), 'smollm2');
    const expected = golden.tasks[of[0]];
    const same = found.filter(({ answer }, i) => answer === expected[i]!.answer).length;
    console.info(`${of[0]}: ${same} of ${found.length} answers are the same to the letter`);
    // Other instruction sets round otherwise, and a greedy answer may then take another turn.
    if (model.backend.isa !== golden.certificate.isa) expect(same).toBeGreaterThan(found.length / 2);
    else expect(found.map(({ scores }) => scores)).toEqual(expected.map(({ scores }) => scores));
  });

  it.each(LIKELIEST)('%s: the same likelihoods and the same score for every item', async (...of) => {
    await using model = await openModel(testModelPath()!, { contextTokens: 2048 });
    const found = await examined<readonly number[]>(of, localSubject(model), 'smollm2');
    const expected = golden.tasks[of[0]];
    const apart = found.flatMap(({ answer }, i) =>
      answer.map((logprob, choice) => Math.abs(logprob - expected[i]!.answer[choice]!)),
    );
    const most = Math.max(...apart);
    console.info(`${of[0]}: likelihoods differ by ${most} at most`);
    // As above.
    if (model.backend.isa !== golden.certificate.isa) return expect(most).toBeLessThan(0.3);
    expect(most).toBeLessThan(NEAR);
    expect(found.map(({ scores }) => scores)).toEqual(expected.map(({ scores }) => scores));
  });
});
