/**
 * Owns: perplexity of a model on a text, and its distance from a reference model on the same text.
 * Refuses to know: files, terminals, where engines run.
 *
 * As llama.cpp's perplexity tool measures it, so that figures can be compared: the text is cut in windows, each begins
 * with the beginning-of-sequence token where the model wants one, and the second half of each window is judged, so that
 * every judged token has at least half a window before it.
 */
import type { ScoreEvent, ScoreRequest } from '../engine/request.ts';
import { HadalError } from '../error.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { cutWindows } from '../tokenizer/windows.ts';
import { best, divergence, logSoftmax } from './distributions.ts';
import {
  type Bounds,
  type Estimate,
  estimate,
  meanBounds,
  percentile,
  percentileBounds,
  wilson,
} from './statistics.ts';

/** An engine as far as evaluation goes. */
export interface Scorer {
  score(request: ScoreRequest): AsyncIterable<ScoreEvent>;
}

/** Options of {@link evaluateText}. */
export interface EvaluateOptions {
  /** Tokens of a window; 512 when absent. */
  readonly windowTokens?: number;
  /** At most so many windows. */
  readonly windows?: number;
  /** What the model is compared with; both must have the same vocabulary. */
  readonly reference?: Scorer;
  readonly signal?: AbortSignal;
  readonly onProgress?: (doneWindows: number, windows: number, soFar: Perplexity) => void;
}

/** Perplexity with its standard error, and where the true one lies in 95 % of the cases if tokens are independent. */
export interface Perplexity extends Bounds {
  readonly perplexity: number;
  readonly error: number;
  /** Tokens judged. */
  readonly tokens: number;
}

/** How far a model is from a reference. */
export interface Distance {
  /** KL(reference || model) in nats. */
  readonly kl: Estimate & Bounds;
  readonly klMedian: number;
  readonly kl99: number;
  /** Of {@link kl99}. */
  readonly kl99Bounds: Bounds;
  readonly klMost: number;
  /** Part of the tokens where both have the same likeliest token. */
  readonly sameTop: Estimate & Bounds;
  readonly reference: Perplexity;
}

/** What {@link evaluateText} found. */
export interface TextEvaluation extends Perplexity {
  readonly windowTokens: number;
  readonly windows: number;
  readonly distance?: Distance;
}

const WINDOW_TOKENS = 512;

/**
 * Judges a model by a text.
 *
 * @throws HadalError `text-too-short` for less than one window; what the engine reports; the signal's reason.
 * @example const { perplexity } = await evaluateText(model.engine, model.answerer.tokenizer, text);
 */
export async function evaluateText(
  model: Scorer,
  tokenizer: Tokenizer,
  text: string,
  { windowTokens = WINDOW_TOKENS, windows: most, reference, signal, onProgress }: EvaluateOptions = {},
): Promise<TextEvaluation> {
  const cut = cutWindows(tokenizer, text, windowTokens, most);
  const windows = cut.length;
  const losses: number[] = [];
  const referenceLosses: number[] = [];
  const divergences: number[] = [];
  const agreements: number[] = [];
  for (const [w, window] of cut.entries()) {
    signal?.throwIfAborted();
    const first = Math.floor(windowTokens / 2);
    const kept = reference && (await judgedRows(reference, `reference-${w}`, window, first));
    for await (const { position, row } of rows(model, `window-${w}`, window, first)) {
      const next = window[position + 1]!;
      const logQ = logSoftmax(row);
      losses.push(-logQ[next]!);
      const referenceRow = kept?.[position - first];
      if (referenceRow === undefined) continue;
      demandSameVocabulary(referenceRow, row);
      const logP = logSoftmax(referenceRow);
      referenceLosses.push(-logP[next]!);
      divergences.push(divergence(logP, logQ));
      agreements.push(best(referenceRow).index === best(row).index ? 1 : 0);
    }
    onProgress?.(w + 1, windows, perplexityOf(losses));
  }
  return {
    ...perplexityOf(losses),
    windowTokens,
    windows,
    ...(reference === undefined
      ? {}
      : { distance: distanceOf(divergences, agreements, perplexityOf(referenceLosses)) }),
  };
}

function perplexityOf(losses: readonly number[]): Perplexity {
  const { mean, error, count } = estimate(losses);
  const perplexity = Math.exp(mean);
  const { low, high } = meanBounds({ mean, error });
  // The error by the delta method, as llama.cpp reports it.
  return {
    perplexity,
    error: error * perplexity,
    low: Math.exp(low),
    high: Math.exp(high),
    tokens: count,
  };
}

function distanceOf(
  divergences: readonly number[],
  agreements: readonly number[],
  reference: Perplexity,
): Distance {
  const kl = estimate(divergences);
  const sameTop = estimate(agreements);
  const { low, high } = wilson(sameTop.mean * sameTop.count, sameTop.count);
  return {
    kl: { ...kl, ...meanBounds(kl) },
    klMedian: percentile(divergences, 0.5),
    kl99: percentile(divergences, 0.99),
    kl99Bounds: percentileBounds(divergences, 0.99),
    klMost: divergences.reduce((most, kl) => Math.max(most, kl), 0),
    sameTop: { ...sameTop, low, high },
    reference,
  };
}

/** Logits of the positions from `first` on whose next token is in the window. */
async function* rows(
  scorer: Scorer,
  requestId: string,
  ids: Int32Array,
  first: number,
): AsyncGenerator<{ readonly position: number; readonly row: Float32Array }> {
  for await (const { firstPosition, positions, logits } of counted(scorer, requestId, ids)) {
    const vocab = logits.length / positions;
    for (let i = 0; i < positions; i++) {
      const position = firstPosition + i;
      if (position < first || position >= ids.length - 1) continue;
      yield { position, row: logits.subarray(i * vocab, (i + 1) * vocab) };
    }
  }
}

/** Events with the number of their positions, which is known from where the next one begins. */
async function* counted(
  scorer: Scorer,
  requestId: string,
  ids: Int32Array,
): AsyncGenerator<ScoreEvent & { readonly positions: number }> {
  let held: ScoreEvent | undefined;
  for await (const event of scorer.score({ requestId, ids, class: 'prefill' })) {
    if (held) yield { ...held, positions: event.firstPosition - held.firstPosition };
    held = event;
  }
  if (held) yield { ...held, positions: ids.length - held.firstPosition };
}

async function judgedRows(
  scorer: Scorer,
  requestId: string,
  ids: Int32Array,
  first: number,
): Promise<Float32Array[]> {
  const kept: Float32Array[] = [];
  for await (const { row } of rows(scorer, requestId, ids, first)) kept.push(row.slice());
  return kept;
}

function demandSameVocabulary(reference: Float32Array, model: Float32Array): void {
  if (reference.length === model.length) return;
  throw new HadalError('vocabulary-differs', {
    what: 'the reference model',
    expected: `a vocabulary of ${model.length} tokens, as the model's`,
    got: `${reference.length}`,
    next: 'compare with another file of the same model',
  });
}
