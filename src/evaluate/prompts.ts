/**
 * Owns: from a task and an item to what a model is given: description, examples, question, choices, target, program.
 * Refuses to know: models, how answers are judged.
 */
import { Template } from '@huggingface/jinja';
import { HadalError } from '../error.ts';
import type { Item, Task } from './task.ts';

/** What is asked for one item. */
export interface Question {
  readonly context: string;
  /** For `infill`. */
  readonly suffix?: string;
  /** Continuations, their delimiter included, and the choices as they are. */
  readonly continuations: readonly string[];
  readonly choices: readonly string[];
  /** The right answer's text. */
  readonly target: string;
  /** Which choice is right; -1 where there are none. */
  readonly gold: number;
}

/**
 * Writes questions of one task.
 *
 * @param shots examples of the user's; the task's own come before them
 * @throws HadalError `task-invalid` for templates that cannot be read, `shots-missing` for fewer examples than asked for;
 *   asking throws `item-invalid` for an item that lacks what a template wants
 * @example const ask = questionsOf(task, shots, 5); ask(items[0]).context;
 */
export function questionsOf(task: Task, shots: readonly Item[], count: number): (item: Item) => Question {
  const text = compiled(task.doc_to_text, task.task);
  const target = compiled(task.doc_to_target, task.task);
  const description = compiled(task.description, task.task);
  const suffix = task.doc_to_suffix === undefined ? undefined : compiled(task.doc_to_suffix, task.task);
  const listed = typeof task.doc_to_choice === 'string' ? compiled(task.doc_to_choice, task.task) : undefined;
  const written = Array.isArray(task.doc_to_choice)
    ? task.doc_to_choice.map((one) => compiled(one, task.task))
    : [];
  const choicesOf = (item: Item) =>
    listed ? listOf(listed(item), task.task) : written.map((write) => write(item));
  const examples = task.fewshot_config.samples ?? shots;
  const { same } = task.fewshot_config;
  return (raw) => {
    const item = shuffled(task, raw);
    const choices = choicesOf(item);
    const wanted = same === undefined ? examples : examples.filter((one) => one[same] === item[same]);
    if (wanted.length < count) {
      throw new HadalError('shots-missing', {
        what: `examples of ${task.task}`,
        expected: same === undefined ? `${count}` : `${count} with ${same} ${JSON.stringify(item[same])}`,
        got: `${wanted.length}`,
        next: 'give a file of examples with --shots FILE, or fewer with --num-fewshot N',
      });
    }
    const answered = wanted.slice(0, count).map((one) => {
      const example = shuffled(task, one);
      const own = choicesOf(example);
      const right = target(example);
      const answer = own.length > 0 ? own[goldOf(right, own, task.task)]! : right;
      return `${text(example)}${task.target_delimiter}${answer}${task.fewshot_delimiter}`;
    });
    const right = target(item);
    return {
      context: `${description(item)}${answered.join('')}${text(item)}`,
      ...(suffix === undefined ? {} : { suffix: suffix(item) }),
      continuations: choices.map((choice) => `${task.target_delimiter}${choice}`),
      choices,
      target: right,
      gold: choices.length > 0 ? goldOf(right, choices, task.task) : -1,
    };
  };
}

/**
 * The program that judges a completion.
 *
 * @throws HadalError `task-invalid`, `item-invalid`
 * @example programOf(task)(item, '    return a + b\n')
 */
export function programOf(task: Task): (item: Item, completion: string) => string {
  const write = compiled(task.program ?? '', task.task);
  return (item, completion) => write({ ...item, completion });
}

/** A template that keeps a line break at its end, which the interpreter drops. */
function compiled(template: string, name: string): (item: Item) => string {
  let parsed: Template;
  try {
    parsed = new Template(template);
  } catch (cause) {
    throw new HadalError(
      'task-invalid',
      { what: `a template of ${name}`, expected: 'Jinja', got: (cause as Error).message },
      { cause },
    );
  }
  const names = [...template.matchAll(/\{\{-?\s*(\w+)/g)].map(([, field]) => field!);
  return (item) => {
    const missing = names.find((field) => item[field] === undefined);
    if (missing !== undefined) throw wrongItem(name, `a field ${missing}`, Object.keys(item).join(', '));
    try {
      return parsed.render({ ...item }) + (template.endsWith('\n') ? '\n' : '');
    } catch (cause) {
      throw wrongItem(name, 'what its templates ask for', (cause as Error).message);
    }
  };
}

/** A list as Jinja or JSON writes it. */
function listOf(text: string, name: string): string[] {
  try {
    const list: unknown = JSON.parse(text);
    if (Array.isArray(list)) return list.map(String);
  } catch {
    // Judged below.
  }
  throw wrongItem(name, 'doc_to_choice that gives a JSON list (`{{choices | tojson}}`)', text.slice(0, 80));
}

function goldOf(target: string, choices: readonly string[], name: string): number {
  const number = /^\d+$/.test(target.trim()) ? Number(target) : choices.indexOf(target.trim());
  if (choices[number] !== undefined) return number;
  throw wrongItem(name, `an answer among ${choices.length} choices`, JSON.stringify(target));
}

/** The item with `choices` in an order drawn from its own text, and the number of the right one as `answer`. */
function shuffled({ shuffled_choices: of, task }: Task, item: Item): Item {
  if (of === undefined) return item;
  const texts = [of.correct, ...of.wrong].map((field) => {
    const text = item[field];
    if (typeof text !== 'string') throw wrongItem(task, `a field ${field}`, Object.keys(item).join(', '));
    return text.trim();
  });
  let state = 0x811c9dc5;
  for (const letter of texts.join('\n')) state = Math.imul(state ^ letter.codePointAt(0)!, 0x01000193) >>> 0;
  const order = texts.map((_, i) => i);
  for (let i = order.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (i + 1));
    [order[i], order[other]] = [order[other]!, order[i]!];
  }
  return { ...item, choices: order.map((i) => texts[i]), answer: order.indexOf(0) };
}

function wrongItem(task: string, expected: string, got: string): HadalError {
  const next = 'check that the file is of this benchmark, in the fields that its publisher uses';
  return new HadalError('item-invalid', { what: `an item of ${task}`, expected, got, next });
}
