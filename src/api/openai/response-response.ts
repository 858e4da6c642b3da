/**
 * Owns: deltas as OpenAI's `response` and its events: items of thinking, messages and calls of functions.
 * Refuses to know: requests, HTTP, how deltas come about.
 */
import type { Delta } from '../../chat/delta.ts';
import { draftsDocument } from '../drafts.ts';
import type { ResponseContext, StreamEncoder, StreamEvent } from '../request.ts';

type PartDelta = Exclude<Delta, { type: 'end' | 'progress' | 'prompt' }>;
type EndDelta = Extract<Delta, { type: 'end' }>;

/** An item of the answer as far as it is known. */
interface Item {
  readonly key: string;
  readonly id: string;
  readonly delta: PartDelta;
  text: string;
}

const PREFIXES = { reasoning: 'rs', content: 'msg', 'tool-call': 'fc' } as const;

/** Deltas of one item have the same key. */
const keyOf = (delta: PartDelta): string => (delta.type === 'tool-call' ? `call ${delta.index}` : delta.type);

/** Puts the deltas of an answer together as items. */
class Items {
  readonly all: Item[] = [];
  readonly #context: ResponseContext;
  reasoningTokens = 0;

  constructor(context: ResponseContext) {
    this.#context = context;
  }

  /** The item of a delta, and whether it began with it. */
  take(delta: PartDelta): { readonly item: Item; readonly began: boolean } {
    if (delta.type === 'reasoning') this.reasoningTokens += delta.tokens.ids.length;
    const key = keyOf(delta);
    const last = this.all.at(-1);
    const began = last?.key !== key;
    const { id } = this.#context;
    const item = began
      ? { key, id: `${PREFIXES[delta.type]}_${id}_${this.all.length}`, delta, text: '' }
      : last;
    if (began) this.all.push(item);
    item.text += delta.type === 'tool-call' ? delta.arguments : delta.text;
    return { item, began };
  }
}

/** An item as the protocol writes it. */
function itemBody({ id, delta, text }: Item, status: string, empty = false): object {
  switch (delta.type) {
    case 'reasoning':
      return {
        id,
        type: 'reasoning',
        summary: [],
        content: empty ? [] : [{ type: 'reasoning_text', text }],
        status,
      };
    case 'content':
      return {
        id,
        type: 'message',
        role: 'assistant',
        status,
        content: empty ? [] : [{ type: 'output_text', text, annotations: [], logprobs: [] }],
      };
    case 'tool-call':
      return {
        id,
        type: 'function_call',
        status,
        call_id: delta.id ?? '',
        name: delta.name ?? '',
        arguments: empty ? '' : text,
      };
  }
}

/** An answer that was cut off, by its length or by the server, is incomplete; there are no more reasons than these. */
const isCut = ({ reason }: EndDelta): boolean => reason === 'length' || reason === 'abort';

function responseBody(
  context: ResponseContext,
  echo: object,
  state: { readonly status: string; readonly items: Items; readonly end?: EndDelta },
): object {
  const { status, items, end } = state;
  return {
    id: context.id,
    object: 'response',
    created_at: context.createdSeconds,
    status,
    error: null,
    incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
    model: context.model,
    ...echo,
    output: items.all.map((item, i) => itemBody(item, i === items.all.length - 1 ? status : 'completed')),
    usage: end === undefined ? null : usageBody(end, items.reasoningTokens),
  };
}

function usageBody({ usage }: EndDelta, reasoningTokens: number): object {
  return {
    input_tokens: usage.promptTokens,
    input_tokens_details: { cached_tokens: usage.cachedTokens },
    output_tokens: usage.generatedTokens,
    output_tokens_details: { reasoning_tokens: reasoningTokens },
    total_tokens: usage.promptTokens + usage.generatedTokens,
    ...(usage.drafts === undefined ? {} : { drafts: draftsDocument(usage.drafts) }),
  };
}

/**
 * A whole answer as one document.
 *
 * @param echo what of the request the response repeats
 * @example const body = responseDocument(deltas, context, echo);
 */
export function responseDocument(deltas: Iterable<Delta>, context: ResponseContext, echo: object): object {
  const items = new Items(context);
  let end: EndDelta | undefined;
  for (const delta of deltas) {
    if (delta.type === 'end') end = delta;
    else if (delta.type !== 'progress' && delta.type !== 'prompt') items.take(delta);
  }
  const status = end !== undefined && isCut(end) ? 'incomplete' : 'completed';
  return responseBody(context, echo, { status, items, ...(end === undefined ? {} : { end }) });
}

/**
 * The events of an answer, numbered: created, items with their parts and deltas, completed or incomplete.
 *
 * @example const encoder = responseStream(context, echo); for (const event of encoder.push(delta)) send(event);
 */
export function responseStream(context: ResponseContext, echo: object): StreamEncoder {
  const items = new Items(context);
  let sequence = 0;
  let open: Item | undefined;
  const event = (type: string, fields: object): StreamEvent => ({
    event: type,
    data: JSON.stringify({ type, sequence_number: sequence++, ...fields }),
  });
  const place = (item: Item) => ({ item_id: item.id, output_index: items.all.indexOf(item) });
  const start = (): StreamEvent[] => {
    if (sequence > 0) return [];
    const response = responseBody(context, echo, { status: 'in_progress', items });
    return [event('response.created', { response }), event('response.in_progress', { response })];
  };
  const close = (status: string): StreamEvent[] => {
    if (open === undefined) return [];
    const item = open;
    open = undefined;
    const events: StreamEvent[] = [];
    for (const [type, fields] of doneEvents(item)) events.push(event(type, { ...place(item), ...fields }));
    const done = { output_index: items.all.indexOf(item), item: itemBody(item, status) };
    return [...events, event('response.output_item.done', done)];
  };
  return {
    push(delta) {
      const events = start();
      if (delta.type === 'progress' || delta.type === 'prompt') return events;
      if (delta.type === 'end') {
        const status = isCut(delta) ? 'incomplete' : 'completed';
        events.push(...close(status));
        const response = responseBody(context, echo, { status, items, end: delta });
        return [...events, event(`response.${status}`, { response })];
      }
      const { item, began } = items.take(delta);
      if (began) {
        events.push(...close('completed'));
        open = item;
        const added = { output_index: items.all.indexOf(item), item: itemBody(item, 'in_progress', true) };
        events.push(event('response.output_item.added', added));
        const part = emptyPart(delta);
        if (part !== undefined) {
          events.push(event('response.content_part.added', { ...place(item), content_index: 0, part }));
        }
      }
      const [type, fields] = deltaEvent(delta);
      return [...events, event(type, { ...place(item), ...fields })];
    },
    end: () => [],
  };
}

function emptyPart(delta: PartDelta): object | undefined {
  switch (delta.type) {
    case 'reasoning':
      return { type: 'reasoning_text', text: '' };
    case 'content':
      return { type: 'output_text', text: '', annotations: [], logprobs: [] };
    case 'tool-call':
      return undefined;
  }
}

function deltaEvent(delta: PartDelta): [type: string, fields: object] {
  switch (delta.type) {
    case 'reasoning':
      return ['response.reasoning_text.delta', { content_index: 0, delta: delta.text }];
    case 'content':
      return ['response.output_text.delta', { content_index: 0, delta: delta.text, logprobs: [] }];
    case 'tool-call':
      return ['response.function_call_arguments.delta', { delta: delta.arguments }];
  }
}

function doneEvents({ delta, text }: Item): [type: string, fields: object][] {
  switch (delta.type) {
    case 'reasoning':
      return [
        ['response.reasoning_text.done', { content_index: 0, text }],
        ['response.content_part.done', { content_index: 0, part: { type: 'reasoning_text', text } }],
      ];
    case 'content': {
      const part = { type: 'output_text', text, annotations: [], logprobs: [] };
      return [
        ['response.output_text.done', { content_index: 0, text, logprobs: [] }],
        ['response.content_part.done', { content_index: 0, part }],
      ];
    }
    case 'tool-call':
      return [['response.function_call_arguments.done', { name: delta.name ?? '', arguments: text }]];
  }
}
