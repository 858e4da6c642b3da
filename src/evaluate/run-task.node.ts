/**
 * Owns: examining a subject by a task: items in order, results appended to a file, going on after a kill, the summary.
 * Refuses to know: terminals, how subjects answer, any one benchmark.
 */
import { HadalError } from '../error.ts';
import { digestOf, keptResults } from './kept-results.node.ts';
import { programOf, type Question, questionsOf } from './prompts.ts';
import { demandSandbox, runProgram, type SandboxOptions } from './sandbox.node.ts';
import { choiceScore, exactMatch, filtered } from './scoring.ts';
import { type Interval, wilson } from './statistics.ts';
import type { Subject } from './subject.ts';
import type { Item, Task } from './task.ts';

/** What is examined by what. */
export interface TaskRun {
  readonly task: Task;
  readonly items: readonly Item[];
  /** Examples for prompts; needed where the task brings none. */
  readonly shots?: readonly Item[];
  /** As many as the task says when absent. */
  readonly fewshot?: number;
  readonly subject: Subject;
  /** Which model it is, the file's size and time included: results of another are not used. */
  readonly model: string;
  /** Put questions as messages of a chat. */
  readonly chat?: boolean;
  /** Where results are appended, one JSON document an item. */
  readonly results: string;
  readonly isolation?: NonNullable<SandboxOptions['isolation']>;
}

/** Options of {@link runTask}. */
export interface TaskRunOptions {
  readonly signal?: AbortSignal;
  readonly onItem?: (done: number, items: number, soFar: readonly Score[]) => void;
}

/** What became of one item. */
export interface ItemResult {
  readonly index: number;
  /** Digest of the item and what was asked. */
  readonly question: string;
  readonly target: string;
  /** The answer, or the log-probability of each choice. */
  readonly answer: string | readonly number[];
  /** By filter: what was compared. */
  readonly read?: Readonly<Record<string, string>>;
  /** By `metric,filter`: 0 or 1. */
  readonly scores: Readonly<Record<string, number>>;
  /** How the program ended, for `pass@1`. */
  readonly program?: string;
  readonly group?: string;
}

/** A score over items. */
export interface Score extends Interval {
  readonly metric: string;
  readonly filter: string;
  /** The value of the field that scores are grouped by; absent for all together. */
  readonly group?: string;
}

/** What {@link runTask} found. */
export interface TaskResult {
  readonly task: string;
  readonly items: number;
  /** Items that an earlier run had done. */
  readonly resumed: number;
  readonly scores: readonly Score[];
}

/**
 * Asks every item that has no result yet, and sums up.
 *
 * @throws HadalError `items-missing`, `sandbox-unavailable`, what prompts and subjects throw; the signal's reason
 * @example (await runTask({ task, items, subject, model: 'm.gguf', results: 'm.gsm8k.jsonl' })).scores
 */
export async function runTask(
  {
    task,
    items,
    shots = [],
    fewshot = task.num_fewshot,
    subject,
    model,
    chat = false,
    results,
    isolation = 'namespaces',
  }: TaskRun,
  { signal, onItem }: TaskRunOptions = {},
): Promise<TaskResult> {
  if (items.length === 0) {
    const next = 'give a file with items: JSON, or a JSON document a line';
    throw new HadalError('items-missing', { what: task.task, expected: 'items', got: 'none', next });
  }
  const ask = questionsOf(task, shots, fewshot);
  const sandbox: SandboxOptions = {
    timeoutMs: task.program_timeout_s * 1000,
    isolation,
    ...(signal === undefined ? {} : { signal }),
  };
  if (task.program !== undefined) await demandSandbox(sandbox);
  const identity = digestOf(JSON.stringify([task, model, chat]));
  const kept = await keptResults<ItemResult>(results, identity);
  const known = new Map(kept.before.map((result) => [result.question, result]));
  const judge = judgeOf(task, subject, { chat, sandbox, ...(signal === undefined ? {} : { signal }) });
  const done: ItemResult[] = [];
  let resumed = 0;
  for (const [index, item] of items.entries()) {
    signal?.throwIfAborted();
    const question = ask(item);
    // The item as well: its tests are in no question.
    const key = digestOf(JSON.stringify([question, index, item]));
    const before = known.get(key);
    const group = task.group_by === undefined ? undefined : String(item[task.group_by]);
    const result = before ?? {
      index,
      question: key,
      target: question.target,
      ...(await judge(question, item)),
      ...(group === undefined ? {} : { group }),
    };
    if (before === undefined) await kept.keep(result);
    else resumed++;
    done.push(result);
    onItem?.(done.length, items.length, summary(task, done, false));
  }
  return { task: task.task, items: items.length, resumed, scores: summary(task, done, true) };
}

type Judged = Pick<ItemResult, 'answer' | 'read' | 'scores' | 'program'>;

function judgeOf(
  task: Task,
  subject: Subject,
  { chat, sandbox, signal }: { chat: boolean; sandbox: SandboxOptions; signal?: AbortSignal },
): (question: Question, item: Item) => Promise<Judged> {
  const { until, max_gen_toks: maxTokens } = task.generation_kwargs;
  const request = { until, maxTokens, ...(signal === undefined ? {} : { signal }) };
  const program = programOf(task);
  return async (question, item) => {
    if (task.output_type === 'multiple_choice') {
      const answer = await subject.logprobs(question.context, question.continuations, signal);
      const scores = task.metric_list.map(({ metric }) => [
        `${metric},none`,
        choiceScore(answer, question.choices, question.gold, metric === 'acc_norm'),
      ]);
      return { answer, scores: Object.fromEntries(scores) };
    }
    const answer = await answered(subject, question, task.output_type === 'infill', chat, request);
    const read = Object.fromEntries(
      task.filter_list.map(({ name, filter }) => [name, filtered(answer, filter)]),
    );
    const target = filtered(question.target, task.target_filter ?? []);
    const scores: Record<string, number> = {};
    let ended: string | undefined;
    for (const metric of task.metric_list) {
      for (const [name, text] of Object.entries(read)) {
        if (metric.metric === 'pass@1') {
          const { passed, reason } = await runProgram(program(item, text), sandbox);
          scores[`pass@1,${name}`] = passed ? 1 : 0;
          ended = String(reason);
        } else scores[`${metric.metric},${name}`] = exactMatch(text, target, metric);
      }
    }
    return { answer, read, scores, ...(ended === undefined ? {} : { program: ended }) };
  };
}

/** An answer up to the first stop, wherever the subject cut it. */
async function answered(
  subject: Subject,
  { context, suffix = '' }: Question,
  infill: boolean,
  chat: boolean,
  request: Parameters<Subject['complete']>[1],
): Promise<string> {
  const text = infill
    ? await subject.infill(context, suffix, request)
    : chat
      ? await subject.chat(context, request)
      : await subject.complete(context, request);
  const ends = request.until.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  return text.slice(0, Math.min(text.length, ...ends));
}

/** Scores over all items, and where asked for over each group. */
function summary(task: Task, done: readonly ItemResult[], grouped: boolean): Score[] {
  const over = (results: readonly ItemResult[], group?: string): Score[] =>
    Object.keys(results[0]?.scores ?? {}).map((key) => {
      const [metric = '', filter = ''] = key.split(',');
      const right = results.reduce((sum, { scores }) => sum + scores[key]!, 0);
      return { metric, filter, ...(group === undefined ? {} : { group }), ...wilson(right, results.length) };
    });
  const groups = new Set(grouped && task.group_by !== undefined ? done.map(({ group }) => group!) : []);
  return [
    ...over(done),
    ...[...groups].sort().flatMap((group) =>
      over(
        done.filter((one) => one.group === group),
        group,
      ),
    ),
  ];
}
