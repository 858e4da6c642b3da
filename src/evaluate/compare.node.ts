/**
 * Owns: one model in several types, each made, measured and removed: size, memory, perplexity, distance, tokens a second.
 * Refuses to know: terminals, how the figures are drawn, how any of them is measured.
 *
 * What is measured is appended to a file line by line, so that a comparison that was stopped goes on where it was.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { EngineHost } from '../engine/host.node.ts';
import { type Imatrix, meansOf } from '../formats/imatrix.ts';
import { closeModelFile, openModelFile } from '../formats/open.node.ts';
import type { FileTypeName } from '../quantize/file-types.ts';
import {
  demandTypes,
  identityOf,
  type QuantizeOptions,
  type QuantizeRequest,
  quantizeFile,
} from '../quantize/quantize.node.ts';
import { type OpenedModel, openModel } from '../runtime/open.node.ts';
import { digestOf, keptResults } from './kept-results.node.ts';
import { evaluateText, type Scorer } from './perplexity.ts';
import { remembered } from './remembered.node.ts';

/** What is compared. */
export interface CompareRequest {
  /** A GGUF file in F32, F16 or BF16: the reference. */
  readonly path: string;
  readonly types: readonly FileTypeName[];
  readonly text: string;
  /** Where results are appended, one JSON document a line. Beside it, while it runs, lies a folder `<results>.tmp`. */
  readonly results: string;
  readonly windowTokens?: number;
  readonly windows?: number;
  /** What types are made with that need one, or gain by it. */
  readonly imatrix?: QuantizeRequest['imatrix'];
  /** Allow a reference that is quantized already. */
  readonly requantize?: boolean;
  readonly threads?: number;
}

/** Options of {@link compareTypes}. */
export interface CompareOptions {
  readonly signal?: AbortSignal;
  /** What is being done to which type, and how far it is, 0 to 1. */
  readonly onProgress?: (type: string, doing: 'quantizing' | 'evaluating' | 'timing', part: number) => void;
  readonly onRow?: (row: CompareRow, resumed: boolean) => void;
  /** See `QuantizeOptions.admit`: asked of the reference. */
  readonly admit?: NonNullable<QuantizeOptions['admit']>;
}

/** One type's figures. */
export interface CompareRow {
  /** The name of a type; `reference` for the file as given. */
  readonly type: FileTypeName | 'reference';
  readonly fileBytes: number;
  readonly bitsPerWeight: number;
  /** Weights, a cache of one window and working memory, once loaded. */
  readonly memoryBytes: number;
  readonly perplexity: number;
  readonly perplexityError: number;
  /** KL(reference || type), nats for each token: 0 for the reference. */
  readonly kl: number;
  readonly klError: number;
  readonly kl99: number;
  /** Part of the tokens with the reference's likeliest token. */
  readonly sameTop: number;
  /** Medians of three, tokens a second. */
  readonly prefillRate: number;
  readonly decodeRate: number;
}

/** What {@link compareTypes} found. */
export interface Comparison {
  readonly rows: readonly CompareRow[];
  readonly windowTokens: number;
  /** Tokens judged. */
  readonly tokens: number;
}

const WINDOW_TOKENS = 512;
const [PROMPT_TOKENS, ANSWER_TOKENS, ROUNDS] = [128, 32, 3];

/**
 * Measures a model file and what it becomes in each type.
 *
 * @throws HadalError as `quantizeFile`, `openModel`, `evaluateText` and `keptResults` do, before anything is measured where it
 *   is known then; the signal's reason.
 * @example await compareTypes({ path: 'v2-lite-bf16.gguf', types: ['Q8_0', 'Q4_K_M'], text, results: 'v2-lite.compare.jsonl' });
 */
export async function compareTypes(
  { path, types, text, results, requantize = false, imatrix, ...request }: CompareRequest,
  { signal, onProgress, onRow, admit }: CompareOptions = {},
): Promise<Comparison> {
  const { windowTokens = WINDOW_TOKENS, windows, threads } = request;
  const opening = { contextTokens: windowTokens + 1, ...(threads === undefined ? {} : { threads }) };
  const admitting = admit === undefined ? {} : { admit };
  await demandTypes(path, types, { requantize, imatrix, ...admitting });
  const working = `${results}.tmp`;
  const source = await sourceOf(path);
  const weighed = imatrix ? [imatrixDigest(imatrix.matrix)] : [];
  const identity = digestOf(source.identity, text, windowTokens, windows ?? 'all', ...weighed);
  const { before: known, keep } = await keptResults<KnownRow>(results, identity);
  const rows: CompareRow[] = [];
  let tokens = known[0]?.tokens ?? 0;
  let opened: OpenedModel | undefined;
  const reference = remembered(join(working, identity), async () => {
    opened ??= await openModel(path, { ...opening, ...admitting });
    return opened.engine;
  });
  const measured = async (type: CompareRow['type'], file: string, fileBytes: number): Promise<CompareRow> => {
    await using model = await openModel(file, { ...opening, ...(type === 'reference' ? admitting : {}) });
    const scorer = type === 'reference' ? asReference(model.engine, working, identity) : model.engine;
    const found = await evaluateText(scorer, model.answerer.tokenizer, text, {
      windowTokens,
      ...(windows === undefined ? {} : { windows }),
      ...(type === 'reference' ? {} : { reference }),
      ...(signal === undefined ? {} : { signal }),
      onProgress: (done, all) => onProgress?.(type, 'evaluating', done / all),
    });
    ({ tokens } = found);
    onProgress?.(type, 'timing', 0);
    const { weightBytes, cacheBytes, tensorBytes } = await model.memory();
    return {
      type,
      fileBytes,
      bitsPerWeight: (8 * fileBytes) / source.numbers,
      memoryBytes: weightBytes + cacheBytes + tensorBytes,
      perplexity: found.perplexity,
      perplexityError: found.error,
      kl: found.distance?.kl.mean ?? 0,
      klError: found.distance?.kl.error ?? 0,
      kl99: found.distance?.kl99 ?? 0,
      sameTop: found.distance?.sameTop.mean ?? 1,
      ...(await ratesOf(model.engine, model.answerer.tokenizer.vocabSize, windowTokens, signal)),
    };
  };
  try {
    for (const type of ['reference', ...types] as const) {
      const before = known.find(({ row }) => row.type === type)?.row;
      const row = before ?? (await (type === 'reference' ? measured(type, path, source.bytes) : made(type)));
      if (before === undefined) await keep({ tokens, row });
      rows.push(row);
      onRow?.(row, before !== undefined);
    }
  } finally {
    await opened?.close();
    await rm(working, { recursive: true, force: true });
  }
  return { rows, windowTokens, tokens };

  /** Makes a type's file, measures it and removes it. */
  async function made(type: FileTypeName): Promise<CompareRow> {
    const out = join(working, `${type}.gguf`);
    await mkdir(working, { recursive: true });
    const { bytes } = await quantizeFile(
      { path, out, fileType: type, requantize, ...(imatrix && { imatrix }) },
      {
        force: true,
        ...admitting,
        ...(threads === undefined ? {} : { threads }),
        ...(signal === undefined ? {} : { signal }),
        onProgress: (done, total) => onProgress?.(type, 'quantizing', done / total),
      },
    );
    try {
      return await measured(type, out, bytes);
    } finally {
      await rm(out, { force: true });
    }
  }
}

function imatrixDigest({ entries }: Imatrix): string {
  const named = [...entries].flatMap(([name, entry]) => [name, meansOf(entry).join()]);
  return digestOf(...named);
}

/** The reference itself as a scorer that leaves its rows for the others. */
function asReference(engine: EngineHost, working: string, identity: string): Scorer {
  return remembered(join(working, identity), async () => engine);
}

async function sourceOf(path: string) {
  const file = await openModelFile(path);
  try {
    const shapes = [...file.tensors.values()].map(({ shape }) => shape.reduce((a, b) => a * b, 1));
    return {
      identity: await identityOf(file),
      bytes: file.sources.reduce((sum, { size }) => sum + size, 0),
      numbers: shapes.reduce((a, b) => a + b, 0),
    };
  } finally {
    await closeModelFile(file);
  }
}

/** Reading and answering, each the median of some rounds. Drawn at random, since repetitions would be drafted ahead. */
async function ratesOf(
  engine: EngineHost,
  vocabSize: number,
  contextTokens: number,
  signal: AbortSignal | undefined,
): Promise<Pick<CompareRow, 'prefillRate' | 'decodeRate'>> {
  const prompt = Math.min(PROMPT_TOKENS, contextTokens >> 1);
  const answer = Math.min(ANSWER_TOKENS, contextTokens >> 1);
  const prefill: number[] = [];
  const decode: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    signal?.throwIfAborted();
    const events = engine.generate({
      requestId: `rate-${round}`,
      // Every prompt is another one, so that nothing of an earlier one can be used again.
      promptIds: Int32Array.from(
        { length: prompt },
        (_, i) => ((i + 1) * (7919 + 104_729 * round)) % vocabSize,
      ),
      maxTokens: answer,
      sampling: { temperature: 1, seed: round },
      endIds: [],
    });
    for await (const event of events) {
      if (event.type !== 'end') continue;
      const { promptTokens, prefillMs, generatedTokens, decodeMs } = event.usage;
      prefill.push((1000 * promptTokens) / prefillMs);
      decode.push((1000 * (generatedTokens - 1)) / decodeMs);
    }
  }
  const median = (rates: number[]) => rates.sort((a, b) => a - b)[rates.length >> 1]!;
  return { prefillRate: median(prefill), decodeRate: median(decode) };
}

interface KnownRow {
  readonly tokens: number;
  readonly row: CompareRow;
}
