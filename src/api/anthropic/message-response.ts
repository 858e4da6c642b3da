/**
 * Owns: deltas as Anthropic's `message` and its events: blocks of thinking, text and tool use, and usage.
 * Refuses to know: requests, HTTP, how deltas come about.
 */
import type { Delta, FinishReason } from '../../chat/delta.ts';
import { argumentsObject } from '../call-arguments.ts';
import type { ResponseContext, StreamEncoder, StreamEvent } from '../request.ts';

/** An answer that the server cut off was as little finished as one that grew too long. */
const STOP_REASONS: Readonly<Record<FinishReason, string>> = {
  stop: 'end_turn',
  length: 'max_tokens',
  'tool-calls': 'tool_use',
  abort: 'max_tokens',
};

type EndDelta = Extract<Delta, { type: 'end' }>;
type PartDelta = Exclude<Delta, { type: 'end' | 'progress' | 'prompt' }>;

/** Clients want thinking signed before they send it back; ours needs no proof, so this only says where it is from. */
const signatureOf = ({ id }: ResponseContext): string => btoa(`hadal:${id}`);

/** What a block is when it begins. */
function emptyBlock(delta: PartDelta): Record<string, unknown> {
  switch (delta.type) {
    case 'reasoning':
      return { type: 'thinking', thinking: '', signature: '' };
    case 'content':
      return { type: 'text', text: '', citations: null };
    case 'tool-call':
      return { type: 'tool_use', id: delta.id ?? '', name: delta.name ?? '', input: {} };
  }
}

/** Deltas of one block have the same key. */
const keyOf = (delta: PartDelta): string => (delta.type === 'tool-call' ? `tool ${delta.index}` : delta.type);

function usageOf({ usage }: EndDelta): object {
  return {
    input_tokens: usage.promptTokens - usage.cachedTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: usage.cachedTokens,
    output_tokens: usage.generatedTokens,
  };
}

function stopOf({ reason, stopText }: EndDelta): object {
  return {
    stop_reason: stopText === undefined ? STOP_REASONS[reason] : 'stop_sequence',
    stop_sequence: stopText ?? null,
  };
}

function head({ id, model }: ResponseContext): object {
  return { id, type: 'message', role: 'assistant', model };
}

/**
 * A whole answer as one document.
 *
 * @example const body = messageDocument(deltas, context);
 */
export function messageDocument(deltas: Iterable<Delta>, context: ResponseContext): object {
  const blocks: { key: string; delta: PartDelta; text: string }[] = [];
  let end: object = {};
  for (const delta of deltas) {
    if (delta.type === 'progress' || delta.type === 'prompt') continue;
    if (delta.type === 'end') {
      end = { ...stopOf(delta), usage: usageOf(delta) };
      continue;
    }
    const key = keyOf(delta);
    if (blocks.at(-1)?.key !== key) blocks.push({ key, delta, text: '' });
    blocks.at(-1)!.text += delta.type === 'tool-call' ? delta.arguments : delta.text;
  }
  const content = blocks.map(({ delta, text }) => wholeBlock(delta, text, context));
  return { ...head(context), content, ...end };
}

function wholeBlock(delta: PartDelta, text: string, context: ResponseContext): object {
  switch (delta.type) {
    case 'reasoning':
      return { ...emptyBlock(delta), thinking: text, signature: signatureOf(context) };
    case 'content':
      return { ...emptyBlock(delta), text };
    case 'tool-call':
      return { ...emptyBlock(delta), input: argumentsObject(text) };
  }
}

/**
 * The events of an answer: `message_start` when the prompt is read, blocks, `message_delta` with why it ended and the
 * usage, `message_stop`; `ping` for progress in between.
 *
 * @example const encoder = messageStream(context); for (const event of encoder.push(delta)) send(event);
 */
export function messageStream(context: ResponseContext): StreamEncoder {
  let started = false;
  let block = -1;
  let open: { key: string; delta: PartDelta } | undefined;
  const event = (type: string, fields: object = {}): StreamEvent => ({
    event: type,
    data: JSON.stringify({ type, ...fields }),
  });
  const blockDelta = (delta: object) => event('content_block_delta', { index: block, delta });
  const start = (inputTokens: number): StreamEvent[] => {
    if (started) return [];
    started = true;
    const usage = {
      input_tokens: inputTokens,
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: 0,
      output_tokens: 0,
    };
    const message = { ...head(context), content: [], stop_reason: null, stop_sequence: null, usage };
    return [event('message_start', { message })];
  };
  const close = (): StreamEvent[] => {
    if (open === undefined) return [];
    const signed = open.delta.type === 'reasoning';
    open = undefined;
    return [
      ...(signed ? [blockDelta({ type: 'signature_delta', signature: signatureOf(context) })] : []),
      event('content_block_stop', { index: block }),
    ];
  };
  return {
    push(delta) {
      if (delta.type === 'progress') {
        const begun = delta.stage === 'prefill' ? start(delta.total) : [];
        return begun.length > 0 || !started ? begun : [event('ping')];
      }
      if (delta.type === 'prompt') return [];
      const events = start(0);
      if (delta.type === 'end') {
        return [
          ...events,
          ...close(),
          event('message_delta', { delta: stopOf(delta), usage: usageOf(delta) }),
        ];
      }
      const key = keyOf(delta);
      if (open?.key !== key) {
        events.push(...close());
        open = { key, delta };
        block++;
        events.push(event('content_block_start', { index: block, content_block: emptyBlock(delta) }));
      }
      return [...events, blockDelta(partOf(delta))];
    },
    end: () => [event('message_stop')],
  };
}

function partOf(delta: PartDelta): object {
  switch (delta.type) {
    case 'reasoning':
      return { type: 'thinking_delta', thinking: delta.text };
    case 'content':
      return { type: 'text_delta', text: delta.text };
    case 'tool-call':
      return { type: 'input_json_delta', partial_json: delta.arguments };
  }
}
