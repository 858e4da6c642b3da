/**
 * Owns: an importance matrix out of a model and a text: chunks through the model, who was never chosen, the file.
 * Refuses to know: how activations are seen, the file's layout, terminals.
 */
import type { Backend } from '../backend/backend.ts';
import { chooseBackend } from '../backend/choose.node.ts';
import { HadalError } from '../error.ts';
import type { Imatrix, ImatrixEntry } from '../formats/imatrix.ts';
import { closeModelFile, openWholeModel } from '../formats/open.node.ts';
import type { ModelFile } from '../formats/tensor-info.ts';
import { loadModel } from '../model/load.ts';
import type { Model } from '../model/model.ts';
import { allowedDtype } from '../model/streams.ts';
import { tokenizerFromGguf } from '../tokenizer/from-gguf.ts';
import { cutWindows } from '../tokenizer/windows.ts';
import { observe } from './observed-backend.ts';
import { demandGguf } from './quantize.node.ts';

/** What to make a matrix of. */
export interface ImatrixRequest {
  /** A GGUF file; of shards, any one. */
  readonly path: string;
  readonly text: string;
  /** What the text is called in the file. */
  readonly dataset: string;
  /** Tokens of a chunk; 512 when absent. */
  readonly chunkTokens?: number;
  /** At most so many chunks. */
  readonly chunks?: number;
}

/** Options of {@link observeChunks}. */
export interface ObserveOptions {
  /** Tokens of one step: what all weights are multiplied with is kept until its end. 128 when absent. */
  readonly stepTokens?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (doneChunks: number, chunks: number) => void;
}

/** Options of {@link collectImatrix}. */
export interface CollectOptions extends ObserveOptions {
  readonly threads?: number;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly onWarning?: (sentence: string) => void;
  /** See `QuantizeOptions.admit`. */
  readonly admit?: (path: string, file: ModelFile) => Promise<void>;
}

/** Experts of one layer that a text says little or nothing of. */
export interface RareExperts {
  readonly layer: number;
  readonly experts: number;
  readonly never: readonly number[];
  /** Chosen less than a tenth as often as by even shares. */
  readonly rarely: readonly { readonly expert: number; readonly tokens: number }[];
}

const CHUNK_TOKENS = 512;
const STEP_TOKENS = 128;
const PAGE_ROWS = 16;

/**
 * Runs a text through a model in chunks, as llama-imatrix does, and sums the squares of what each column of each matrix is
 * multiplied with, those of the block that predicts a further token (`nextn`) included. The embedding and the head are left out.
 *
 * @throws HadalError as `openWholeModel`, `loadModel` and `chooseBackend` do; `text-too-short`, `context-too-large`,
 *   `activations-not-finite`; the signal's reason.
 * @example const imatrix = await collectImatrix({ path: 'v2-lite-bf16.gguf', text, dataset: 'calibration.txt' });
 */
export async function collectImatrix(
  { path, text, dataset, chunkTokens = CHUNK_TOKENS, chunks: most }: ImatrixRequest,
  { admit, threads, env, onWarning, ...observing }: CollectOptions = {},
): Promise<Imatrix> {
  const file = await openWholeModel(path);
  try {
    await admit?.(path, file);
    demandGguf(file, path);
    const chunks = cutWindows(tokenizerFromGguf(file.metadata), text, chunkTokens, most);
    await using backend = chooseBackend({
      ...(threads === undefined ? {} : { threads }),
      ...(env === undefined ? {} : { env }),
      ...(onWarning === undefined ? {} : { onWarning }),
    });
    const model = await loadModel(file, backend);
    const entries = await observeChunks(model, backend, chunks, observing);
    return { datasets: [dataset], chunks: chunks.length, chunkTokens, entries };
  } finally {
    await closeModelFile(file);
  }
}

/**
 * Sums of squares over chunks of one length; each chunk begins with an empty context.
 *
 * @throws HadalError `context-too-large` for chunks longer than the model's context, `activations-not-finite`; the signal's reason.
 * @example (await observeChunks(model, backend, [ids])).get('blk.0.attn_q.weight')
 */
export async function observeChunks(
  model: Model,
  backend: Backend,
  chunks: readonly Int32Array[],
  { stepTokens = STEP_TOKENS, signal, onProgress }: ObserveOptions = {},
): Promise<ReadonlyMap<string, ImatrixEntry>> {
  const tokens = chunks[0]?.length ?? 0;
  if (tokens > model.contextTokens) {
    throw new HadalError('context-too-large', {
      what: 'a chunk',
      expected: `at most the model's ${model.contextTokens} tokens of context`,
      got: `${tokens}`,
      next: 'make chunks shorter: --ctx',
    });
  }
  const maxRows = Math.min(tokens, stepTokens);
  const pages = Math.ceil(tokens / PAGE_ROWS);
  const streams = [...model.streams, ...model.predictorStreams];
  const stores = streams.map((stream) =>
    backend.cache(allowedDtype(stream, 'F32'), pages, PAGE_ROWS / stream.tokensPerRow, stream.cols),
  );
  const forward = model.prepare(stores, maxRows, 1, { predict: model.predictorStreams.length > 0 });
  const observed = observe(backend, maxRows);
  const column = () => backend.tensor('I32', maxRows, 1);
  const columns = { tokens: column(), positions: column(), sequences: column(), slots: column() };
  /** What the predictor is given: the token after each row, and which row it goes on from. */
  const [following, sources] = [column(), column()];
  backend.write(
    sources,
    Int32Array.from({ length: maxRows }, (_, row) => row),
  );
  const table = backend.tensor('I32', 1, pages);
  backend.write(
    table,
    Int32Array.from({ length: pages }, (_, page) => page),
  );
  const outputs = backend.tensor('I32', 1, 1);
  const stop = () => backend.abort();
  signal?.addEventListener('abort', stop);
  try {
    for (const [done, ids] of chunks.entries()) {
      for (let at = 0; at < tokens; at += maxRows) {
        signal?.throwIfAborted();
        const rows = Math.min(maxRows, tokens - at);
        const positions = Int32Array.from({ length: rows }, (_, i) => at + i);
        backend.write(columns.tokens, ids.subarray(at, at + rows));
        backend.write(columns.positions, positions);
        // Pages are in order, so that a token's row is its position.
        backend.write(columns.slots, positions);
        const batch = {
          rows,
          decodeRows: 0,
          ...columns,
          pages: table,
          outputs,
          outputSpan: { rows: 0, decodeRows: 0 },
        };
        forward(observed.backend, batch);
        // Nothing follows the last token of a chunk.
        const followed = Math.min(rows, tokens - 1 - at);
        if (forward.predict && followed > 0) {
          backend.write(following, ids.subarray(at + 1, at + 1 + followed));
          forward.predict(
            observed.backend,
            { ...batch, rows: followed, tokens: following },
            'model',
            sources,
          );
        }
        await observed.drain();
      }
      onProgress?.(done + 1, chunks.length);
    }
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
  return observed.entries();
}

/**
 * Layers with experts that were chosen never or rarely.
 *
 * @example rareExperts(imatrix.entries)[0] // { layer: 3, experts: 64, never: [17], rarely: [{ expert: 5, tokens: 2 }] }
 */
export function rareExperts(entries: Imatrix['entries']): RareExperts[] {
  return [...entries].flatMap(([name, { counts }]) => {
    const layer = /^blk\.(\d+)\.ffn_gate_exps\.weight$/.exec(name)?.[1];
    if (layer === undefined) return [];
    const even = [...counts].reduce((sum, count) => sum + count, 0) / counts.length;
    const seen = [...counts].map((tokens, expert) => ({ expert, tokens }));
    const never = seen.filter(({ tokens }) => tokens === 0).map(({ expert }) => expert);
    const rarely = seen.filter(({ tokens }) => tokens > 0 && tokens < even / 10);
    if (never.length + rarely.length === 0) return [];
    return [{ layer: Number(layer), experts: counts.length, never, rarely }];
  });
}
