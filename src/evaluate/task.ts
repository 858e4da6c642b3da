/**
 * Owns: what a benchmark task is: its schema, in the terms of lm-evaluation-harness, from JSON or YAML.
 * Refuses to know: models, items, any one benchmark.
 */
import { parse } from 'yaml';
import { z } from 'zod';
import { HadalError } from '../error.ts';

const record = z.record(z.string(), z.unknown());
const template = z.string().max(100_000);

/** One step from an answer's text to what is compared. */
const filterStep = z.discriminatedUnion('function', [
  z.strictObject({
    function: z.literal('regex'),
    regex_pattern: z.string().max(2_000),
    /** Which of all matches; the last is -1. */
    group_select: z.int().default(0),
    fallback: z.string().default('[invalid]'),
  }),
  /** What the last `\boxed{}` holds. */
  z.strictObject({ function: z.literal('boxed') }),
  /** Mathematics written in one way: Lewkowycz et al. 2022, appendix D. */
  z.strictObject({ function: z.literal('normalise_math') }),
  z.strictObject({ function: z.literal('take_first') }),
]);

/** The schema of a task. Templates are Jinja over the fields of an item. */
export const TASK = z.strictObject({
  $schema: z.string().optional(),
  task: z.string().regex(/^[\w.-]+$/),
  /** Where prompt and scoring are from. */
  source: z.string().optional(),
  /**
   * `multiple_choice`: the likeliest of given continuations; `generate_until`: a text that goes on to a stop; `infill`: a
   * text between two.
   */
  output_type: z.enum(['multiple_choice', 'generate_until', 'infill']),
  description: template.default(''),
  num_fewshot: z.int().min(0).max(100).default(0),
  fewshot_config: z
    .strictObject({
      sampler: z.literal('first_n').default('first_n'),
      /** Examples that belong to the task; from a file of the user otherwise. */
      samples: z.array(record).optional(),
      /** Examples have the item's value in this field. */
      same: z.string().optional(),
    })
    .default({ sampler: 'first_n' }),
  doc_to_text: template,
  /** What comes after, for `infill`. */
  doc_to_suffix: template.optional(),
  /** The right answer: a text, or for `multiple_choice` the number or the text of a choice. */
  doc_to_target: template,
  /** How the right answer is read before it is compared. */
  target_filter: z.array(filterStep).optional(),
  /** Continuations: templates, or one that gives a list. */
  doc_to_choice: z.union([z.array(template).min(2), template]).optional(),
  /** Makes `choices` and `answer` (its number) of fields, in an order that hangs on the item alone. */
  shuffled_choices: z.strictObject({ correct: z.string(), wrong: z.array(z.string()).min(1) }).optional(),
  target_delimiter: z.string().default(' '),
  fewshot_delimiter: z.string().default('\n\n'),
  generation_kwargs: z
    .strictObject({
      until: z.array(z.string().min(1)).default([]),
      max_gen_toks: z.int().min(1).default(256),
    })
    .default({ until: [], max_gen_toks: 256 }),
  filter_list: z
    .array(z.strictObject({ name: z.string(), filter: z.array(filterStep).min(1) }))
    .min(1)
    .default([{ name: 'none', filter: [{ function: 'take_first' }] }]),
  metric_list: z
    .array(
      z.strictObject({
        /** `acc`, `acc_norm` of choices; `exact_match` of texts; `pass@1`: a program that ends well. */
        metric: z.enum(['acc', 'acc_norm', 'exact_match', 'pass@1']),
        ignore_case: z.boolean().default(false),
        ignore_punctuation: z.boolean().default(false),
        regexes_to_ignore: z.array(z.string().max(2_000)).default([]),
      }),
    )
    .min(1),
  /** The Python program of `pass@1`: a template over the item and `completion`. */
  program: template.optional(),
  program_timeout_s: z.number().min(0.1).max(600).default(10),
  /** Scores are also given for each value of this field. */
  group_by: z.string().optional(),
});

/** A task. */
export type Task = z.output<typeof TASK>;
/** How an answer is read. */
export type FilterStep = Task['filter_list'][number]['filter'][number];

/** An item or example: the fields of one line of the benchmark. */
export type Item = Readonly<Record<string, unknown>>;

/**
 * Reads a task.
 *
 * @param name for errors; JSON is YAML too
 * @throws HadalError `task-invalid`
 * @example parseTask(await readFile('mmlu.json', 'utf8'), 'mmlu.json').task
 */
export function parseTask(text: string, name: string): Task {
  let document: unknown;
  try {
    document = parse(text);
  } catch (cause) {
    throw invalid(name, 'JSON or YAML', (cause as Error).message.split('\n', 1)[0]!);
  }
  const parsed = TASK.safeParse(document);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw invalid(`${issue!.path.join('.') || 'the top'} of ${name}`, 'a task', issue!.message);
  }
  const task = parsed.data;
  const metrics = task.metric_list.map(({ metric }) => metric);
  const choosing = task.output_type === 'multiple_choice';
  if (choosing && task.doc_to_choice === undefined)
    throw invalid(name, 'doc_to_choice beside multiple_choice', 'none');
  if (metrics.some((metric) => metric.startsWith('acc') !== choosing)) {
    const expected = choosing ? 'acc or acc_norm' : 'exact_match or pass@1';
    throw invalid(`metric_list of ${name}`, expected, metrics.join(', '));
  }
  if (metrics.includes('pass@1') && task.program === undefined)
    throw invalid(name, 'program beside pass@1', 'none');
  return task;
}

function invalid(what: string, expected: string, got: string): HadalError {
  return new HadalError('task-invalid', { what, expected, got, next: 'correct the task' });
}
