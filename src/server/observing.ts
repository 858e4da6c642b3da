/**
 * Owns: what is counted and logged of an answer while it is made, and of models and engines.
 * Refuses to know: what any of it says; how answers are made.
 */
import type { Delta } from '../chat/delta.ts';
import { HadalError } from '../error.ts';
import type { Log } from '../http/log.ts';
import type { Metrics } from '../http/metrics.ts';
import type { PrefixReport } from '../runtime/replay.ts';
import type { ServingModel } from './answering.ts';
import type { ModelEvent, Models } from './models.ts';

/** An answer, as logs and metrics call it. */
export interface AnswerLabels {
  readonly requestId: string;
  /** The name of the key; absent where none is asked for. */
  readonly key: string | undefined;
  /** As it is served, not as the request spelled it. */
  readonly model: string;
  readonly operation: 'chat' | 'text_completion' | 'embeddings';
  readonly streamed: boolean;
}

/** Follows one answer. */
export interface AnswerWatch {
  /** What became of the beginning that a conversation shares with its last request. */
  prefix(report: PrefixReport): void;
  delta(delta: Delta): void;
  /** Texts of so many tokens became vectors. */
  embedded(tokens: number): void;
  /** Called once, however it ended. */
  end(error?: unknown): void;
}

/** What observers write to. */
export interface Observers {
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Follows one answer from its request on.
 *
 * @example const watch = watchAnswer(observers, labels); for (const delta of deltas) watch.delta(delta); watch.end();
 */
export function watchAnswer({ log, metrics }: Observers, labels: AnswerLabels): AnswerWatch {
  const startedMs = performance.now();
  const model = { gen_ai_request_model: labels.model };
  const operation = { gen_ai_operation_name: labels.operation, ...model };
  let firstMs: number | undefined;
  /** When each choice was first and last heard of. */
  const heard = new Map<number, { readonly firstMs: number; lastMs: number }>();
  const ends: Extract<Delta, { type: 'end' }>[] = [];
  let prefix: PrefixReport | undefined;
  let embeddedTokens: number | undefined;
  return {
    prefix(report) {
      prefix = report;
      metrics.replayedAnswers.inc(model, report.replayed);
      if (report.broke) metrics.prefixBreaks.inc({ ...model, why: report.broke.why });
    },
    delta(delta) {
      if (delta.type === 'progress' || delta.type === 'prompt') return;
      if (delta.type === 'end') {
        ends.push(delta);
        return;
      }
      const nowMs = performance.now();
      if (firstMs === undefined) {
        firstMs = nowMs;
        metrics.firstTokenSeconds.observe(operation, (nowMs - startedMs) / 1000);
      }
      const choice = heard.get(delta.choice);
      if (choice === undefined) {
        heard.set(delta.choice, { firstMs: nowMs, lastMs: nowMs });
        return;
      }
      metrics.gapSeconds.observe(model, (nowMs - choice.lastMs) / 1000);
      choice.lastMs = nowMs;
    },
    embedded(tokens) {
      embeddedTokens = tokens;
      metrics.tokenUsage.observe({ ...operation, gen_ai_token_type: 'input' }, tokens);
    },
    end(error) {
      const ms = performance.now() - startedMs;
      const errorType = error === undefined ? {} : { error_type: codeOf(error) };
      metrics.requestSeconds.observe({ ...operation, ...errorType }, ms / 1000);
      const usage = sumOf(ends);
      if (ends.length > 0) countTokens(metrics, operation, usage);
      for (const { choice, usage: own } of ends) {
        const times = heard.get(choice);
        if (times === undefined || own.generatedTokens < 2) continue;
        const seconds = (times.lastMs - times.firstMs) / 1000 / (own.generatedTokens - 1);
        metrics.outputTokenSeconds.observe(operation, seconds);
      }
      const fields = {
        ...labels,
        ms: Math.round(ms),
        ...(firstMs === undefined ? {} : { firstTokenMs: Math.round(firstMs - startedMs) }),
        ...(embeddedTokens === undefined
          ? { ...usage, ends: ends.map(({ reason }) => reason) }
          : { promptTokens: embeddedTokens }),
        ...(prefix === undefined ? {} : { prefix }),
      };
      if (error === undefined) log.info(fields, 'answered');
      else log.warn({ ...fields, error: codeOf(error) }, 'not answered');
    },
  };
}

interface Sums {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly generatedTokens: number;
}

function sumOf(ends: readonly Extract<Delta, { type: 'end' }>[]): Sums {
  const sum = (field: keyof Sums) => ends.reduce((total, { usage }) => total + usage[field], 0);
  return {
    promptTokens: sum('promptTokens'),
    cachedTokens: sum('cachedTokens'),
    generatedTokens: sum('generatedTokens'),
  };
}

function countTokens(
  metrics: Metrics,
  operation: { readonly gen_ai_operation_name: string; readonly gen_ai_request_model: string },
  { promptTokens, cachedTokens, generatedTokens }: Sums,
): void {
  const model = { gen_ai_request_model: operation.gen_ai_request_model };
  metrics.tokenUsage.observe({ ...operation, gen_ai_token_type: 'input' }, promptTokens);
  metrics.tokenUsage.observe({ ...operation, gen_ai_token_type: 'output' }, generatedTokens);
  metrics.cacheHitTokens.inc(model, cachedTokens);
  metrics.cacheMissTokens.inc(model, promptTokens - cachedTokens);
}

/** Logs and counts what becomes of a model. */
export function watchModel({ log, metrics }: Observers, event: ModelEvent): void {
  const { type, model } = event;
  metrics.modelEvents.inc({ gen_ai_request_model: model, event: type });
  switch (event.type) {
    case 'loaded':
      log.info({ model, ms: Math.round(event.ms) }, 'model loaded');
      return;
    case 'failed':
      log.error({ model, error: wordsOf(event.error) }, 'model could not be loaded');
      return;
    case 'died':
      log.error({ model, error: wordsOf(event.error) }, 'engine died; its requests are lost');
      return;
    default:
      log.info({ model }, `model ${type}`);
  }
}

/** Reads what the engines say of themselves, when somebody asks for the metrics. */
export async function measureEngines(metrics: Metrics, models: Models<ServingModel>): Promise<void> {
  const measured = await Promise.all(
    models.status().map(async ({ model }) => ({
      name: model.name,
      stats: await models
        .peek(model.name)
        ?.engine.stats()
        .catch(() => undefined),
    })),
  );
  // All in one turn: whoever asks at the same time sees no gaps. A model that was put out has no numbers any more.
  for (const gauge of [
    metrics.engineRunning,
    metrics.engineWaiting,
    metrics.engineSteps,
    metrics.engineRows,
    metrics.engineDrafts,
    metrics.engineDraftGain,
    metrics.engineTokensPerStep,
    metrics.cachePages,
    metrics.diskPages,
    metrics.modelBytes,
  ]) {
    gauge.reset();
  }
  for (const { name, stats } of measured) {
    if (stats === undefined) continue;
    const label = { gen_ai_request_model: name };
    metrics.engineRunning.set(label, stats.runningRequests);
    metrics.engineWaiting.set(label, stats.waitingRequests);
    metrics.engineSteps.set(label, stats.steps);
    metrics.engineRows.set({ ...label, class: 'prefill' }, stats.prefillRows);
    metrics.engineRows.set({ ...label, class: 'decode' }, stats.decodeRows);
    metrics.engineDrafts.set({ ...label, state: 'drafted' }, stats.drafts.drafted);
    metrics.engineDrafts.set({ ...label, state: 'accepted' }, stats.drafts.accepted);
    metrics.engineDraftGain.set(label, stats.drafts.gain);
    metrics.engineTokensPerStep.set(label, stats.drafts.tokensPerStep);
    const { total, used, kept } = stats.pages;
    metrics.cachePages.set({ ...label, state: 'used' }, used);
    metrics.cachePages.set({ ...label, state: 'kept' }, kept);
    metrics.cachePages.set({ ...label, state: 'free' }, total - used - kept);
    for (const [state, pages] of Object.entries(stats.disk ?? {})) {
      metrics.diskPages.set({ ...label, state }, pages);
    }
    metrics.modelBytes.set({ ...label, kind: 'weights' }, stats.weightBytes);
    metrics.modelBytes.set({ ...label, kind: 'cache' }, stats.cacheBytes);
    metrics.modelBytes.set({ ...label, kind: 'tensors' }, stats.tensorBytes);
  }
}

function codeOf(error: unknown): string {
  return error instanceof HadalError ? error.code : 'internal';
}

/** An error for the log: with its cause, and where it is none of ours with its stack. */
export function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const own = error instanceof HadalError ? error.message : (error.stack ?? error.message);
  return error.cause === undefined ? own : `${own}: ${wordsOf(error.cause)}`;
}
