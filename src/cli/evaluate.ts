/**
 * Owns: `hadal evaluate`: perplexity of a model on a text, what it lost against a reference, benchmark tasks.
 * Refuses to know: how any of it is computed.
 */
import { defineCommand } from 'citty';
import { evaluateText, type Perplexity, type TextEvaluation } from '../evaluate/perplexity.ts';
import type { Bounds } from '../evaluate/statistics.ts';
import { resolveModel } from '../hub/fetch.node.ts';
import { isOffline } from '../hub/offline.node.ts';
import { type Arguments, readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { examine } from './examining.ts';
import { usageError } from './exit-codes.ts';
import { formatCount, table } from './figures.ts';
import { textFile } from './input-file.ts';
import { openShown } from './opening.ts';
import { promptFrom } from './standard-input.ts';

export const text: CommandText = {
  usage: 'evaluate MODEL [TEXTFILE] [flags]',
  examples: [
    'hadal evaluate ./model-q4_k_m.gguf ./wiki.test.raw',
    'hadal evaluate ./model-q4_k_m.gguf ./wiki.test.raw --against ./model-bf16.gguf',
    'hadal evaluate ./model.gguf --task humaneval --items ./humaneval.jsonl',
  ],
};

export const command = defineCommand({
  meta: { name: 'evaluate', description: 'measure perplexity, what quantizing lost, benchmark tasks' },
  args: {
    model: {
      type: 'positional',
      required: false,
      description: 'a GGUF file, a folder, or a name of the catalogue',
    },
    textfile: { type: 'positional', required: false, description: 'a text; standard input otherwise' },
    against: { type: 'string', valueHint: 'MODEL', description: 'a reference, as the unquantized model' },
    window: { type: 'string', valueHint: 'N', description: 'tokens of a window; 512 otherwise' },
    windows: { type: 'string', valueHint: 'N', description: 'at most so many windows' },
    task: {
      type: 'string',
      valueHint: 'TASK',
      description: 'a benchmark, or a file that is one',
    },
    items: { type: 'string', valueHint: 'FILE', description: 'with --task: its items' },
    shots: { type: 'string', valueHint: 'FILE', description: 'with --task: examples' },
    'num-fewshot': {
      type: 'string',
      valueHint: 'N',
      description: 'examples in a prompt',
    },
    limit: { type: 'string', valueHint: 'N', description: 'only the first N items' },
    url: {
      type: 'string',
      valueHint: 'URL',
      description: 'ask a server; MODEL is its name there',
    },
    chat: { type: 'boolean', description: 'put questions as chat messages' },
    out: { type: 'string', valueHint: 'FILE', description: 'where results are appended' },
    'unsafe-code': { type: 'boolean', description: 'run code without the sandbox' },
    context: { type: 'string', valueHint: 'N', description: 'tokens of context for a task' },
    threads: { type: 'string', valueHint: 'N', description: 'threads; all that may be used otherwise' },
    json: { type: 'boolean', description: 'print one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const surroundings = data as Surroundings;
    const { terminal, interruption, env } = surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 2 });
    const name = given.word(0, 'MODEL', `hadal ${text.usage}`);
    if (given.text('task') !== undefined) {
      await examine(name, given, surroundings);
      return;
    }
    refuseFlagsOfTasks(given);
    const windowTokens = given.number('window', { min: 16, max: 1 << 20, whole: true }) ?? 512;
    const windows = given.number('windows', { min: 1, whole: true });
    const threads = given.number('threads', { min: 1, max: 1024, whole: true });
    const against = given.text('against');
    // What would have to be fetched is said before the other one is loaded.
    if (against !== undefined && isOffline(env)) await resolveModel(against, { env });
    const judged = await textOf(given.words[1], surroundings);
    const opening = { contextTokens: windowTokens + 1, ...(threads === undefined ? {} : { threads }) };
    await using model = await openShown(name, surroundings, opening);
    await using reference =
      against === undefined ? undefined : await openShown(against, surroundings, opening);
    const result = await evaluateText(model.engine, model.answerer.tokenizer, judged, {
      windowTokens,
      ...(windows === undefined ? {} : { windows }),
      ...(reference === undefined ? {} : { reference: reference.engine }),
      signal: interruption.signal,
      onProgress: (done, all, { perplexity, error }) =>
        terminal.progress(
          `${done} of ${all} windows · perplexity ${perplexity.toFixed(3)} ± ${error.toFixed(3)}`,
        ),
    });
    terminal.progress('');
    if (given.has('json')) terminal.json({ model: name, ...(against && { against }), ...result });
    else terminal.out(report(result));
  },
});

const OF_TASKS = ['items', 'shots', 'num-fewshot', 'limit', 'url', 'chat', 'out', 'unsafe-code', 'context'];

function refuseFlagsOfTasks(given: Arguments): void {
  const found = OF_TASKS.find((flag) => given.has(flag));
  if (found !== undefined) throw usageError({ what: `--${found}`, expected: '--task TASK beside it' });
}

async function textOf(path: string | undefined, surroundings: Surroundings): Promise<string> {
  if (path === undefined) {
    const piped = await promptFrom([], surroundings);
    if (piped !== undefined) return piped;
    throw usageError({ what: 'TEXTFILE is missing', next: `usage: hadal ${text.usage}` });
  }
  return textFile(path);
}

function report({ tokens, windows, windowTokens, distance, ...own }: TextEvaluation): string {
  const from = ({ low, high }: Bounds, digits: number, times = 1) =>
    `${(times * low).toFixed(digits)} ${Number.isFinite(high) ? `to ${(times * high).toFixed(digits)}` : 'up'}`;
  const plusMinus = (mean: number, by: number, digits: number) =>
    `${mean.toFixed(digits)} ± ${by.toFixed(digits)}`;
  const ofText = (name: string, of: Omit<Perplexity, 'tokens'>) => [
    name,
    plusMinus(of.perplexity, of.error, 4),
    from(of, 4),
  ];
  const rows = [['', '± standard error', '95 % interval'], ofText('perplexity', own)];
  if (distance) {
    const { kl, klMedian, kl99, kl99Bounds, klMost, sameTop, reference } = distance;
    rows.push(
      ofText('reference', reference),
      ['mean KL, nats', plusMinus(kl.mean, kl.error, 6), from(kl, 6)],
      ['median KL', klMedian.toFixed(6), ''],
      ['99 % KL', kl99.toFixed(6), from(kl99Bounds, 6)],
      ['largest KL', klMost.toFixed(6), ''],
      ['same best token, %', plusMinus(100 * sameTop.mean, 100 * sameTop.error, 2), from(sameTop, 2, 100)],
    );
  }
  const judged = `${formatCount(tokens)} tokens judged in ${formatCount(windows)} windows of ${windowTokens}`;
  return `${table(rows)}\n${judged}\n`;
}
