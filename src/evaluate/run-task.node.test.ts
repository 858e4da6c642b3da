/** Owns: tests of examining by a task with a subject that says what it is told to. Refuses to know: real models. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { describeWith } from '../../test/fixtures/needs.ts';
import { runTask } from './run-task.node.ts';
import { filtered } from './scoring.ts';
import { wilson } from './statistics.ts';
import { type Subject, urlSubject } from './subject.ts';
import { type Item, parseTask } from './task.ts';
import { readItems, readTask, TASK_NAMES } from './task-files.node.ts';

let folder: string;
let results: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hadal-task-'));
  results = join(folder, 'results.jsonl');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A subject that notes what it is asked. */
function subject(answers: Partial<Subject>): Subject & { readonly asked: string[] } {
  const asked: string[] = [];
  const noting =
    <A extends unknown[], R>(answer: (...words: A) => R) =>
    (...words: A) => {
      asked.push(String(words[0]));
      return answer(...words);
    };
  const none = () => Promise.reject(new Error('not to be asked'));
  const { logprobs = none, complete = none, chat = none, infill = none } = answers;
  return {
    asked,
    logprobs: noting(logprobs),
    complete: noting(complete),
    chat: noting(chat),
    infill: noting(infill),
  };
}

const CHOICES = ['red', 'green', 'blue', 'grey'];
const facts = (subject: string, answers: readonly number[]): Item[] =>
  answers.map((answer, i) => ({ subject, question: ` Question ${i}? `, choices: CHOICES, answer }));

test('MMLU: examples of the subject, the likeliest letter, scores for each subject', async () => {
  const task = await readTask('mmlu');
  const shots = [...facts('high_school_art', [1, 2]), ...facts('law', [3, 3])];
  const items = [...facts('high_school_art', [0, 2]), ...facts('law', [0])];
  const found = subject({ logprobs: async () => [-1, -2, -3, -4] });
  const run = { task, items, shots, fewshot: 2, subject: found, model: 'm', results };
  const { scores } = await runTask(run);
  expect(found.asked[0]).toBe(
    'The following are multiple choice questions (with answers) about high school art.\n\n' +
      'Question 0?\nA. red\nB. green\nC. blue\nD. grey\nAnswer: B\n\n' +
      'Question 1?\nA. red\nB. green\nC. blue\nD. grey\nAnswer: C\n\n' +
      'Question 0?\nA. red\nB. green\nC. blue\nD. grey\nAnswer:',
  );
  expect(scores.map(({ group, mean, count }) => [group, mean, count])).toEqual([
    [undefined, 2 / 3, 3],
    ['high_school_art', 1 / 2, 2],
    ['law', 1, 1],
  ]);
  await expect(runTask({ ...run, fewshot: 3 })).rejects.toMatchObject({ code: 'shots-missing' });
});

test('a run that was stopped asks only what is left, past a line that was cut off', async () => {
  const task = await readTask('gsm8k');
  const items = [3, 4, 5].map((n) => ({ question: `How much is ${n}?`, answer: `It is ${n}.\n#### ${n}` }));
  const first = subject({ complete: async (context) => ` #### ${/(\d)\?\nAnswer:$/.exec(context)![1]}` });
  const stop = new AbortController();
  const run = { task, items, fewshot: 0, model: 'm', results };
  const onItem = (done: number) => done === 2 && stop.abort(new Error('stopped'));
  await expect(runTask({ ...run, subject: first }, { signal: stop.signal, onItem })).rejects.toThrow(
    'stopped',
  );
  appendFileSync(results, '{"identity":"cut o');
  const second = subject({ complete: async () => '#### 7 Question: and on' });
  const { resumed, scores } = await runTask({ ...run, subject: second });
  expect(second.asked).toHaveLength(1);
  expect(resumed).toBe(2);
  expect(scores.map(({ metric, filter, mean }) => [metric, filter, mean])).toEqual([
    ['exact_match', 'strict-match', 2 / 3],
    ['exact_match', 'flexible-extract', 2 / 3],
  ]);
  const other = subject({ complete: async () => '' });
  expect(await runTask({ ...run, model: 'other', subject: other })).toMatchObject({ resumed: 0 });
  const lines = readFileSync(results, 'utf8').trim().split('\n');
  expect(lines).toHaveLength(3 + 1 + 3);
});

test('results are found again by the item as a whole, and by nothing that is no file of results', async () => {
  const task = await readTask('gsm8k');
  const item = { question: 'How much is 3?', answer: '#### 3', note: 'as published' };
  const asking = () => subject({ complete: async () => '#### 3' });
  const run = { task, fewshot: 0, model: 'm', results };
  expect(await runTask({ ...run, items: [item], subject: asking() })).toMatchObject({ resumed: 0 });
  expect(await runTask({ ...run, items: [item], subject: asking() })).toMatchObject({ resumed: 1 });
  // Tests of programs, for example, are in no question.
  const mended = [{ ...item, note: 'mended' }];
  expect(await runTask({ ...run, items: mended, subject: asking() })).toMatchObject({ resumed: 0 });
  writeFileSync(join(folder, 'm.gguf'), 'GGUF');
  const foreign = { ...run, items: [item], results: join(folder, 'm.gguf') };
  await expect(runTask({ ...foreign, subject: asking() })).rejects.toMatchObject({ code: 'results-foreign' });
  const nowhere = asking();
  const lost = { ...run, items: [item], results: join(folder, 'none', 'r.jsonl'), subject: nowhere };
  await expect(runTask(lost)).rejects.toMatchObject({ code: 'results-unwritable' });
  expect(nowhere.asked).toEqual([]);
});

test('items are read from tables and packed files too', async () => {
  const csv =
    '\ufeffQuestion,Correct Answer,Incorrect Answer 1\r\n"Which, of ""these""?\nSay.",a,b\r\n\r\nplain,c,\r\n';
  writeFileSync(join(folder, 'gpqa.csv'), csv);
  writeFileSync(join(folder, 'h.jsonl.gz'), gzipSync('{"prompt":"def f():"}\n{"prompt":"深"}\n'));
  expect(await readItems(join(folder, 'gpqa.csv'))).toEqual([
    { Question: 'Which, of "these"?\nSay.', 'Correct Answer': 'a', 'Incorrect Answer 1': 'b' },
    { Question: 'plain', 'Correct Answer': 'c', 'Incorrect Answer 1': '' },
  ]);
  expect(await readItems(join(folder, 'h.jsonl.gz'))).toEqual([{ prompt: 'def f():' }, { prompt: '深' }]);
  for (const [text, words] of [
    ['a,b\n1', '2 values'],
    ['a,b\n1,"2" 3', 'a stray quote'],
  ]) {
    writeFileSync(join(folder, 'bad.csv'), text!);
    await expect(readItems(join(folder, 'bad.csv'))).rejects.toMatchObject({
      code: 'items-invalid',
      message: expect.stringContaining(words!),
    });
  }
});

test('GPQA: choices in an order of the item’s own, the same every time', async () => {
  const task = await readTask('gpqa');
  const items = Array.from({ length: 40 }, (_, i) => ({
    Question: `Which is ${i}?`,
    'Correct Answer': `${i}`,
    'Incorrect Answer 1': `${i + 1}`,
    'Incorrect Answer 2': `${i + 2}`,
    'Incorrect Answer 3': `${i + 3}`,
  }));
  const knowing = subject({
    logprobs: async (context, letters) => {
      const right = /Which is (\d+)\?/.exec(context)![1];
      return letters.map((letter) => (context.includes(`${letter.trim()} ${right}\n`) ? -1 : -2));
    },
  });
  const { scores } = await runTask({ task, items, subject: knowing, model: 'm', results });
  expect(scores[0]).toMatchObject({ mean: 1, count: 40 });
  const first = subject({ logprobs: async () => [-1, -2, -2, -2] });
  const [score] = (await runTask({ task, items, subject: first, model: 'a', results })).scores;
  expect(score!.mean).toBeGreaterThan(0.05);
  expect(score!.mean).toBeLessThan(0.6);
});

test('MATH: the paper’s four examples, answers in one form', async () => {
  const task = await readTask('math');
  const items = [{ problem: 'Halve 1.', type: 'Algebra', solution: 'It is $\\boxed{\\frac{1}{2}}$.' }];
  const right = subject({
    complete: async () =>
      ' So.\nFinal Answer: The final answer is $\\frac12$. I hope it is correct.\n\nProblem: more',
  });
  const { scores } = await runTask({ task, items, subject: right, model: 'm', results });
  expect(right.asked[0]).toMatch(/^Problem:\nFind the domain[\s\S]*Problem:\nHalve 1\.\n\nSolution:$/);
  expect(right.asked[0]!.match(/Final Answer/g)).toHaveLength(4);
  expect(scores.map(({ filter, mean }) => [filter, mean])).toContainEqual(['final-answer', 1]);
});

test.each([
  ['$\\frac12$', '\\frac{1}{2}'],
  ['x = 5 \\text{ cm}', '5'],
  ['\\$1,000', '1000'],
  ['\\sqrt3', '\\sqrt{3}'],
  ['\\text{blue}', 'blue'],
])('mathematics %s is written %s', (text, form) => {
  expect(filtered(text, [{ function: 'normalise_math' }])).toBe(form);
});

describeWith(['python', 'namespace'], 'programs', () => {
  const item = {
    task_id: 't/0',
    entry_point: 'add',
    prompt: 'def add(a, b):\n    """The sum."""\n',
    test: 'def check(f):\n    assert f(1, 2) == 3\n    assert f(-1, 1) == 0\n',
    canonical_solution: '    return a + b\n',
  };

  test('HumanEval: the completion up to a stop passes or fails its tests', async () => {
    const task = await readTask('humaneval');
    const right = subject({ complete: async () => '    return a + b\n\ndef other():\n    broken(' });
    const wrong = subject({ complete: async () => '    return a - b\n' });
    const run = { task, items: [item], results };
    expect((await runTask({ ...run, subject: right, model: 'right' })).scores[0]).toMatchObject({ mean: 1 });
    expect((await runTask({ ...run, subject: wrong, model: 'wrong' })).scores[0]).toMatchObject({ mean: 0 });
  });

  test('HumanEval-Infilling: what is missing goes between', async () => {
    const task = await readTask('humaneval-infilling');
    const split = { ...item, prompt: `${item.prompt}    c = a + b\n`, suffix: '    return d\n' };
    const right = subject({ infill: async (_, suffix) => (suffix === split.suffix ? '    d = c\n' : '') });
    const { scores } = await runTask({ task, items: [split], subject: right, model: 'm', results });
    expect(scores[0]).toMatchObject({ metric: 'pass@1', mean: 1 });
  });
});

test('a server is asked in OpenAI’s terms, and its refusal is a sentence', async () => {
  const bodies: unknown[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (part) => {
      body += part;
    });
    request.on('end', () => {
      bodies.push({ path: request.url, key: request.headers.authorization, ...JSON.parse(body) });
      if (request.url === '/v1/chat/completions') response.writeHead(404).end('no chat here');
      else if (JSON.parse(body).echo) {
        const logprobs = { token_logprobs: [null, -1, -0.5, -9], text_offset: [0, 3, 4, 6] };
        if (JSON.parse(body).prompt.startsWith('🙂')) logprobs.text_offset = [0, 1, 2, 4];
        response.end(JSON.stringify({ choices: [{ text: '', logprobs }] }));
      } else if (JSON.parse(body).prompt === 'strange') response.end('<html>');
      else if (JSON.parse(body).prompt === 'empty') response.end('{"choices":[]}');
      else response.end(JSON.stringify({ choices: [{ text: ' four' }] }));
    });
  }).listen(0, '127.0.0.1');
  await new Promise((up) => server.once('listening', up));
  const { port } = server.address() as { port: number };
  const asked = urlSubject({ url: `http://127.0.0.1:${port}/v1/`, model: 'm', apiKey: 'k' });
  const request = { until: ['\n'], maxTokens: 9 };
  expect(await asked.complete('2 + 2 =', request)).toBe(' four');
  // The token at the end is the server's own and belongs to no choice.
  expect(await asked.logprobs('abc', [' de'])).toEqual([-1.5]);
  // Places are counted as Python counts characters: this one is two units of UTF-16.
  expect(await asked.logprobs('🙂', [' de'])).toEqual([-1.5]);
  for (const prompt of ['strange', 'empty']) {
    await expect(asked.complete(prompt, request)).rejects.toMatchObject({ code: 'server-refused' });
  }
  await expect(asked.chat('hi', request)).rejects.toMatchObject({ code: 'server-refused' });
  server.close();
  expect(bodies[0]).toEqual({
    path: '/v1/completions',
    key: 'Bearer k',
    model: 'm',
    temperature: 0,
    prompt: '2 + 2 =',
    max_tokens: 9,
    stop: ['\n'],
  });
});

test('tasks that come along are tasks', async () => {
  for (const name of TASK_NAMES) expect((await readTask(name)).task).toBe(name);
});

test.each([
  ['task: [', 'JSON or YAML'],
  ['task: a', 'output_type'],
  [
    '{ task: a, output_type: multiple_choice, doc_to_text: a, doc_to_target: a, metric_list: [{ metric: acc }] }',
    'doc_to_choice',
  ],
  [
    '{ task: a, output_type: generate_until, doc_to_text: a, doc_to_target: a, metric_list: [{ metric: acc }] }',
    'exact_match',
  ],
  [
    '{ task: a, output_type: generate_until, doc_to_text: a, doc_to_target: a, metric_list: [{ metric: pass@1 }], x: 1 }',
    'x',
  ],
])('the task %s is refused by name', (text, named) => {
  expect(() => parseTask(text, 't.yaml')).toThrow(
    expect.objectContaining({ code: 'task-invalid', message: expect.stringContaining(named) }),
  );
});

test('an item that lacks a field is refused by it', async () => {
  const task = await readTask('gsm8k');
  const found = subject({ complete: async () => '' });
  const run = runTask({
    task,
    items: [{ problem: 'x', answer: '1' }],
    fewshot: 0,
    subject: found,
    model: 'm',
    results,
  });
  await expect(run).rejects.toMatchObject({
    code: 'item-invalid',
    message: expect.stringContaining('question'),
  });
});

test('Wilson’s interval', () => {
  const { low, high } = wilson(5, 10);
  expect([low, high].map((x) => Number(x.toFixed(3)))).toEqual([0.237, 0.763]);
  expect(wilson(0, 20)).toMatchObject({ mean: 0, low: 0 });
});
