/**
 * Owns: the items that OpenAI's `responses` takes: messages, thinking, calls and their outputs, as neutral messages.
 * Refuses to know: the rest of a request, responses.
 */
import { z } from 'zod';
import type { Message, ToolCall } from '../../chat/delta.ts';
import { HadalError } from '../../error.ts';

const MOST_ITEMS = 8192;

const part = z.looseObject({ type: z.string().max(64), text: z.string().optional() });
const content = z.union([z.string(), z.array(part).max(1024)]);
const message = z.looseObject({
  type: z.literal('message').nullish(),
  role: z.enum(['system', 'developer', 'user', 'assistant']),
  content,
});
const reasoning = z.looseObject({
  type: z.literal('reasoning'),
  summary: z.array(part).max(1024).nullish(),
  content: z.array(part).max(1024).nullish(),
});
const call = z.looseObject({
  type: z.literal('function_call'),
  call_id: z.string().max(256),
  name: z.string().max(256),
  arguments: z.string(),
});
const output = z.looseObject({
  type: z.literal('function_call_output'),
  call_id: z.string().max(256),
  output: content,
});
/** Items of other kinds: known, so that the refusal can name them. */
const other = z.looseObject({
  type: z
    .string()
    .max(64)
    .refine(
      (type) => !['message', 'reasoning', 'function_call', 'function_call_output'].includes(type),
      'an item of its kind needs its fields',
    ),
});

/** `input` of a request. */
export const itemsSchema = z.union([
  z.string(),
  z
    .array(z.union([message, reasoning, call, output, other]))
    .min(1)
    .max(MOST_ITEMS),
]);

type Items = Exclude<z.output<typeof itemsSchema>, string>;

/** A turn of the assistant while its items are read. */
interface Turn {
  content: string;
  reasoning: string;
  readonly calls: ToolCall[];
}

/**
 * Items as messages: thinking, text and calls of one turn become one message.
 *
 * @throws HadalError `content-unsupported`, naming the item
 * @example messagesOfItems('Hi'); // [{ role: 'user', content: 'Hi' }]
 */
export function messagesOfItems(input: string | Items): Message[] {
  if (typeof input === 'string') return [{ role: 'user', content: input }];
  const messages: Message[] = [];
  let turn: Turn | undefined;
  const close = () => {
    if (turn !== undefined) messages.push(turnMessage(turn));
    turn = undefined;
  };
  const open = (): Turn => {
    turn ??= { content: '', reasoning: '', calls: [] };
    return turn;
  };
  for (const [i, item] of input.entries()) {
    const at = `input[${i}]`;
    if (isReasoning(item)) {
      // Thinking begins a turn; thinking of another server that only it can read is no text.
      if (turn !== undefined && (turn.content !== '' || turn.calls.length > 0)) close();
      open().reasoning += partsText(item.content ?? item.summary ?? [], `${at}.content`);
    } else if (isCall(item)) {
      open().calls.push({ id: item.call_id, name: item.name, arguments: item.arguments });
    } else if (isOutput(item)) {
      close();
      const text = partsText(item.output, `${at}.output`);
      messages.push({ role: 'tool', toolCallId: item.call_id, content: text });
    } else if (isMessage(item)) {
      const text = partsText(item.content, `${at}.content`);
      if (item.role === 'assistant') {
        if (turn !== undefined && turn.calls.length > 0) close();
        open().content += text;
      } else {
        close();
        messages.push({ role: item.role === 'user' ? 'user' : 'system', content: text });
      }
    } else throw unsupported(at, item.type);
  }
  close();
  return messages;
}

type Item = Items[number];
const isReasoning = (item: Item): item is z.output<typeof reasoning> => item.type === 'reasoning';
const isCall = (item: Item): item is z.output<typeof call> => item.type === 'function_call';
const isOutput = (item: Item): item is z.output<typeof output> => item.type === 'function_call_output';
const isMessage = (item: Item): item is z.output<typeof message> =>
  item.type == null || item.type === 'message';

function turnMessage({ content: text, reasoning: thought, calls }: Turn): Message {
  return {
    role: 'assistant',
    content: text,
    ...(thought === '' ? {} : { reasoning: thought }),
    ...(calls.length === 0 ? {} : { toolCalls: calls }),
  };
}

const TEXT_PARTS: ReadonlySet<string> = new Set([
  'input_text',
  'output_text',
  'text',
  'reasoning_text',
  'summary_text',
]);

function partsText(given: z.output<typeof content>, at: string): string {
  if (typeof given === 'string') return given;
  return given
    .map(({ type, text }, i) => {
      if (TEXT_PARTS.has(type) && text !== undefined) return text;
      throw unsupported(`${at}[${i}]`, type);
    })
    .join('');
}

function unsupported(what: string, got: unknown): HadalError {
  return new HadalError('content-unsupported', {
    what,
    expected: 'text, thinking, calls of functions and their outputs',
    got: `${got}`,
    next: 'leave it out',
  });
}
