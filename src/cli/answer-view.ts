/**
 * Owns: how one answer is shown: text as it comes, progress of a long prompt, the line of figures, the JSON document.
 * Refuses to know: where answers come from, the chat around them.
 */
import { draftsDocument } from '../api/drafts.ts';
import type { Delta, FinishReason } from '../chat/delta.ts';
import type { Sampling, Usage } from '../engine/request.ts';
import { contextLeft } from '../runtime/answerer.ts';
import { digits, formatCount, perSecond } from './figures.ts';
import { percent } from './opening.ts';
import { slowProgress, type Terminal } from './terminal.ts';

/** A call that the model wants made. */
export interface ShownCall {
  readonly name: string;
  /** JSON text, as the model wrote it. */
  readonly arguments: string;
}

/** An answer that is over. */
export interface FinishedAnswer {
  readonly content: string;
  readonly reasoning: string;
  readonly calls: readonly ShownCall[];
  readonly reason: FinishReason;
  readonly stopText?: string;
  readonly usage: Usage;
}

/**
 * Collects an answer and shows it as it comes.
 *
 * @param onText called with each piece of content; absent: nothing is shown before the end, thinking included
 * @throws whatever the answer throws; what was shown stays shown
 */
export async function showAnswer(
  deltas: AsyncIterable<Delta>,
  terminal: Terminal,
  onText?: (text: string) => void,
): Promise<FinishedAnswer> {
  const prefill = slowProgress(terminal);
  let content = '';
  let reasoning = '';
  const calls: ShownCall[] = [];
  // Thinking is for a person who watches: dimmed, apart from the answer, and not in what is piped on.
  const shows = onText !== undefined && terminal.errIsTerminal;
  let thinking = false;
  const endThinking = () => {
    if (thinking) terminal.err('\n\n');
    thinking = false;
  };
  try {
    for await (const delta of deltas) {
      switch (delta.type) {
        case 'progress':
          prefill(() => `reading the prompt, ${percent(delta.done, delta.total)} of ${delta.total} tokens`);
          break;
        case 'reasoning':
          reasoning += delta.text;
          if (shows) terminal.err(terminal.dim(delta.text));
          thinking = shows;
          break;
        case 'content':
          terminal.progress('');
          endThinking();
          content += delta.text;
          onText?.(delta.text);
          break;
        case 'tool-call': {
          endThinking();
          const { name, arguments: json } = calls[delta.index] ?? { name: '', arguments: '' };
          calls[delta.index] = { name: name + (delta.name ?? ''), arguments: json + delta.arguments };
          break;
        }
        case 'end': {
          const { reason, usage, stopText } = delta;
          endThinking();
          return {
            content,
            reasoning,
            calls,
            reason,
            usage,
            ...(stopText === undefined ? {} : { stopText }),
          };
        }
      }
    }
  } finally {
    terminal.progress('');
  }
  throw new Error('the answer ended without its last word');
}

/**
 * A call in words.
 *
 * @example callLine({ name: 'weather', arguments: '{"city": "Oslo"}' }); // 'calls weather {"city": "Oslo"}'
 */
export function callLine({ name, arguments: json }: ShownCall): string {
  return `calls ${name} ${json}`;
}

/**
 * The line under an answer.
 *
 * @example figuresLine(answer, 8192); // '160 tokens/s · 37 in, 8 out · 8,147 of 8,192 tokens left'
 */
export function figuresLine(answer: FinishedAnswer, contextTokens: number): string {
  const { usage, reason } = answer;
  const rate = perSecond(usage.generatedTokens - 1, usage.decodeMs);
  const cached = usage.cachedTokens > 0 ? ` (${formatCount(usage.cachedTokens)} known)` : '';
  return [
    ...(rate === undefined ? [] : [`${digits(rate)} tokens/s`]),
    `${formatCount(usage.promptTokens)} in${cached}, ${formatCount(usage.generatedTokens)} out`,
    `${formatCount(contextLeft(contextTokens, usage))} of ${formatCount(contextTokens)} tokens left`,
    ...(reason === 'length' ? ['cut at the limit'] : []),
    ...(reason === 'abort' ? ['stopped'] : []),
  ].join(' · ');
}

/**
 * An answer as one JSON document.
 *
 * @example terminal.json(answerDocument('smollm2-135m', answer, 8192, sampling));
 */
export function answerDocument(
  model: string,
  answer: FinishedAnswer,
  contextTokens: number,
  sampling: Sampling,
): object {
  const { usage } = answer;
  return {
    model,
    content: answer.content,
    ...(answer.reasoning === '' ? {} : { reasoning: answer.reasoning }),
    ...(answer.calls.length === 0 ? {} : { tool_calls: answer.calls }),
    finish_reason: answer.reason,
    ...(answer.stopText === undefined ? {} : { stop: answer.stopText }),
    usage: {
      prompt_tokens: usage.promptTokens,
      cached_tokens: usage.cachedTokens,
      generated_tokens: usage.generatedTokens,
      prefill_ms: usage.prefillMs,
      decode_ms: usage.decodeMs,
      prefill_tokens_per_second: perSecond(usage.promptTokens - usage.cachedTokens, usage.prefillMs) ?? null,
      decode_tokens_per_second: perSecond(usage.generatedTokens - 1, usage.decodeMs) ?? null,
      ...(usage.drafts === undefined ? {} : { drafts: draftsDocument(usage.drafts) }),
    },
    context_tokens: contextTokens,
    context_left: contextLeft(contextTokens, usage),
    sampling: samplingDocument({ ...sampling, seed: usage.seed }),
  };
}

function samplingDocument(sampling: Sampling): object {
  return {
    temperature: sampling.temperature,
    top_k: sampling.topK,
    top_p: sampling.topP,
    min_p: sampling.minP,
    repetition_penalty: sampling.repetitionPenalty,
    presence_penalty: sampling.presencePenalty,
    frequency_penalty: sampling.frequencyPenalty,
    seed: sampling.seed,
  };
}
