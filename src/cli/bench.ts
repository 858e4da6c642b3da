/**
 * Owns: `hadal bench`: how fast a model loads, reads prompts and answers on this machine, and what it takes.
 * Refuses to know: how the engine does it.
 */
import { defineCommand } from 'citty';
import { draftsDocument } from '../api/drafts.ts';
import type { DraftFigures, Usage } from '../engine/request.ts';
import type { ModelDescription } from '../model/load.ts';
import { keptApart } from '../model/weights.ts';
import type { OpenedModel } from '../runtime/open.node.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { digits, formatBytes, formatCount, formatMs, table } from './figures.ts';
import { type Spread, seeded, spreadOf } from './measuring.ts';
import { openShown } from './opening.ts';

export const text: CommandText = {
  usage: 'bench MODEL [flags]',
  examples: ['hadal bench smollm2-135m', 'hadal bench ./model.gguf --prompts 512,4096 --rounds 3 --json'],
};

/** Reloading a model costs at most this long altogether. */
const RELOAD_BUDGET_MS = 10_000;

export const command = defineCommand({
  meta: { name: 'bench', description: 'measure how fast a model runs here' },
  args: {
    model: {
      type: 'positional',
      required: false,
      description: 'a GGUF file, a folder, or a name of the catalogue',
    },
    prompts: {
      type: 'string',
      valueHint: 'N,N',
      description: 'prompt lengths in tokens; 128,512,2048 otherwise',
    },
    generate: { type: 'string', valueHint: 'N', description: 'tokens to generate; 128 otherwise' },
    rounds: { type: 'string', valueHint: 'N', description: 'how often each is measured; 5 otherwise' },
    threads: { type: 'string', valueHint: 'N', description: 'threads; all that may be used otherwise' },
    json: { type: 'boolean', description: 'print one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const surroundings = data as Surroundings;
    const { terminal } = surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 1 });
    const model = given.word(0, 'MODEL', `hadal ${text.usage}`);
    const rounds = given.number('rounds', { min: 1, max: 1000, whole: true }) ?? 5;
    const generate = given.number('generate', { min: 2, max: 1_000_000, whole: true }) ?? 128;
    const prompts = promptLengths(given.text('prompts'));
    const threads = given.number('threads', { min: 1, max: 1024, whole: true });
    const opening = threads === undefined ? {} : { threads };

    const loads: number[] = [];
    let opened = await openShown(model, surroundings, opening);
    try {
      loads.push(opened.loadMs);
      while (loads.length < rounds && loads.reduce((sum, ms) => sum + ms, 0) < RELOAD_BUDGET_MS) {
        await opened.close();
        opened = await openShown(model, surroundings, opening);
        loads.push(opened.loadMs);
      }
      const measured = await measure(opened, surroundings, { prompts, generate, rounds });
      const result: Result = { ...measured, load: spreadOf(loads), memory: await opened.memory() };
      if (given.has('json')) terminal.json(document(model, opened, result));
      else terminal.out(report(opened, result));
    } finally {
      terminal.progress('');
      await opened.close();
    }
  },
});

interface Plan {
  readonly prompts: readonly number[];
  readonly generate: number;
  readonly rounds: number;
}

interface Measured {
  /** Tokens per second, by prompt length. */
  readonly prefill: readonly { readonly tokens: number; readonly rate: Spread }[];
  readonly decode: { readonly tokens: number; readonly rate: Spread };
  /** Of all that was generated. */
  readonly drafts: DraftFigures;
  /** Prompt lengths that do not fit the context. */
  readonly left: readonly number[];
}

interface Result extends Measured {
  /** Milliseconds. */
  readonly load: Spread;
  readonly memory: Awaited<ReturnType<OpenedModel['memory']>>;
}

function promptLengths(text: string | undefined): readonly number[] {
  if (text === undefined) return [128, 512, 2048];
  return text.split(',').map((part) => {
    const length = /^\d+$/.test(part.trim()) ? Number(part) : 0;
    if (length >= 1 && Number.isSafeInteger(length)) return length;
    throw usageError({
      what: '--prompts',
      expected: 'lengths from 1, with commas between',
      got: JSON.stringify(text),
    });
  });
}

async function measure(
  opened: OpenedModel,
  { terminal, interruption }: Surroundings,
  { prompts, generate, rounds }: Plan,
): Promise<Measured> {
  const { contextTokens } = opened.answerer;
  const fitting = prompts.filter((tokens) => tokens < contextTokens);
  const decodeTokens = Math.min(generate, contextTokens - 16);
  const random = seeded(1);
  const work = (rounds + 1) * (fitting.length + 1);
  let done = 0;
  const once = async (promptTokens: number, generated: number): Promise<Usage> => {
    interruption.signal.throwIfAborted();
    terminal.progress(`measuring, ${done++} of ${work}`);
    return usageOf(opened, interruption.signal, {
      requestId: `bench-${done}`,
      // Every prompt is another one, so that nothing of an earlier one can be used again.
      promptIds: Int32Array.from({ length: promptTokens }, () =>
        Math.floor(random() * opened.answerer.tokenizer.vocabSize),
      ),
      maxTokens: generated,
    });
  };
  const rates = new Map<number, number[]>(fitting.map((tokens) => [tokens, []]));
  const decodeRates: number[] = [];
  // Rounds go over all lengths in turn, so that a slow minute of the machine touches all of them alike.
  for (let round = 0; round <= rounds; round++) {
    for (const tokens of fitting) {
      const { prefillMs, promptTokens, cachedTokens } = await once(tokens, 1);
      if (round > 0) rates.get(tokens)?.push(((promptTokens - cachedTokens) / prefillMs) * 1000);
    }
    const { decodeMs, generatedTokens } = await once(16, decodeTokens);
    if (round > 0) decodeRates.push(((generatedTokens - 1) / decodeMs) * 1000);
  }
  terminal.progress('');
  return {
    prefill: [...rates].map(([tokens, values]) => ({ tokens, rate: spreadOf(values) })),
    decode: { tokens: decodeTokens, rate: spreadOf(decodeRates) },
    drafts: (await opened.engine.stats()).drafts,
    left: prompts.filter((tokens) => !fitting.includes(tokens)),
  };
}

async function usageOf(
  { engine }: OpenedModel,
  signal: AbortSignal,
  asked: { requestId: string; promptIds: Int32Array; maxTokens: number },
): Promise<Usage> {
  const abort = () => engine.abort(asked.requestId);
  signal.addEventListener('abort', abort, { once: true });
  try {
    const request = { ...asked, sampling: { temperature: 0 }, endIds: [] };
    for await (const event of engine.generate(request)) if (event.type === 'end') return event.usage;
  } finally {
    signal.removeEventListener('abort', abort);
  }
  throw new Error('the measured answer ended without its last word');
}

/** Bytes of weights that one generated token reads: of the experts only those used, of a table kept apart a row. */
export function weightBytesPerToken({ weightBytesByPart, config }: ModelDescription): number {
  let bytes = 0;
  const parts = Object.entries(weightBytesByPart).map(([part, partBytes]) => ({ part, partBytes }));
  const apart = keptApart(parts);
  for (const { part, partBytes } of parts) {
    if (part === 'predictor' || apart.some((table) => table.part === part)) continue;
    const share = part === 'experts' && config.experts ? config.experts.used / config.experts.experts : 1;
    bytes += (partBytes ?? 0) * share;
  }
  return bytes;
}

function report(opened: OpenedModel, { load, prefill, decode, drafts, left, memory }: Result): string {
  const { description, backend, path } = opened;
  const perToken = weightBytesPerToken(description);
  const show = (spread: Spread, write: (value: number) => string) =>
    `${write(spread.median)}  (${write(spread.min)} to ${write(spread.max)})`;
  const rate = (value: number) => `${digits(value)} tokens/s`;
  return `${table([
    [
      'model',
      `${description.name ?? description.architecture}, ${formatBytes(description.weightBytes)}, ${path}`,
    ],
    ['runs on', `${backend.name} backend, ${backend.isa}, ${backend.threads} threads`],
    ['load', show(load, formatMs)],
    ...prefill.map(({ tokens, rate: spread }) => [`prefill ${formatCount(tokens)}`, show(spread, rate)]),
    ...left.map((tokens) => [`prefill ${formatCount(tokens)}`, 'longer than the context']),
    [`decode ${formatCount(decode.tokens)}`, show(decode.rate, rate)],
    ['drafts', draftsLine(drafts)],
    [
      'weights read',
      `${formatBytes(perToken * decode.rate.median)}/s at ${formatBytes(perToken)} for each token`,
    ],
    [
      'memory',
      `${formatBytes(memory.weightBytes)} weights, room for ${formatBytes(memory.cacheBytes)} of cache, ${formatBytes(memory.residentBytes)} resident in all`,
    ],
    ['rounds', `${decode.rate.rounds}: the median, and lowest to highest`],
  ])}\n`;
}

function draftsLine({ drafted, accepted, tokensPerStep, gain }: DraftFigures): string {
  if (drafted === 0) return 'none';
  const right = `${formatCount(accepted)} of ${formatCount(drafted)} right`;
  return `${right}, ${tokensPerStep.toFixed(2)} tokens a step, ${gain.toFixed(2)} times as fast as without`;
}

function document(model: string, opened: OpenedModel, result: Result): object {
  const { description, backend, path } = opened;
  const perToken = weightBytesPerToken(description);
  return {
    model,
    path,
    backend,
    load_ms: result.load,
    prefill: result.prefill.map(({ tokens, rate }) => ({ prompt_tokens: tokens, tokens_per_second: rate })),
    prompts_left_out: result.left,
    decode: { generated_tokens: result.decode.tokens, tokens_per_second: result.decode.rate },
    drafts: draftsDocument(result.drafts),
    weight_bytes_per_token: perToken,
    weight_bytes_per_second: perToken * result.decode.rate.median,
    memory: {
      weight_bytes: result.memory.weightBytes,
      cache_bytes: result.memory.cacheBytes,
      tensor_bytes: result.memory.tensorBytes,
      resident_bytes: result.memory.residentBytes,
    },
  };
}
