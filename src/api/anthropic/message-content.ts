/**
 * Owns: Anthropic's messages: their blocks, and what each becomes among neutral messages.
 * Refuses to know: the rest of a request, responses.
 */
import { z } from 'zod';
import type { Message, ToolCall } from '../../chat/delta.ts';
import { HadalError } from '../../error.ts';
import { anyObject } from '../fields.ts';

const MOST_BLOCKS = 4096;

const textBlock = z.looseObject({ type: z.literal('text'), text: z.string() });
/** Blocks that hold something else than text: known, so that the refusal can name them. */
const otherBlock = z.looseObject({
  type: z.string().refine((type) => !KNOWN.has(type), 'a block of its kind needs its fields'),
});
const documentBlock = z.looseObject({
  type: z.literal('document'),
  source: z.looseObject({ type: z.string(), data: z.string().optional() }),
  title: z.string().nullish(),
});
const KNOWN: ReadonlySet<string> = new Set([
  'text',
  'document',
  'tool_result',
  'tool_use',
  'thinking',
  'redacted_thinking',
]);

const resultContent = z.union([
  z.string(),
  z.array(z.union([textBlock, documentBlock, otherBlock])).max(MOST_BLOCKS),
]);
const toolResult = z.looseObject({
  type: z.literal('tool_result'),
  tool_use_id: z.string().max(256),
  content: resultContent.nullish(),
  is_error: z.boolean().nullish(),
});
const toolUse = z.looseObject({
  type: z.literal('tool_use'),
  id: z.string().max(256),
  name: z.string().max(256),
  input: anyObject,
});
const thinkingBlock = z.looseObject({
  type: z.literal('thinking'),
  thinking: z.string(),
  signature: z.string().nullish(),
});
const redacted = z.looseObject({ type: z.literal('redacted_thinking') });

/** `system` of a request. */
export const systemField = z.union([z.string(), z.array(textBlock).max(MOST_BLOCKS)]);

/** One message of a request. */
export const messageSchema = z.discriminatedUnion('role', [
  z.looseObject({ role: z.literal('system'), content: systemField }),
  z.looseObject({
    role: z.literal('user'),
    content: z.union([
      z.string(),
      z.array(z.union([textBlock, toolResult, documentBlock, otherBlock])).max(MOST_BLOCKS),
    ]),
  }),
  z.looseObject({
    role: z.literal('assistant'),
    content: z.union([
      z.string(),
      z.array(z.union([textBlock, toolUse, thinkingBlock, redacted, otherBlock])).max(MOST_BLOCKS),
    ]),
  }),
]);

type MessageFields = z.output<typeof messageSchema>;
type Blocks = Exclude<MessageFields['content'], string>;

/** What Claude Code writes before its instructions, for Anthropic's accounts: it changes from request to request. */
const BILLING = /^x-anthropic-billing-header:[^\n]*\n*/;

/**
 * The text of `system`, without Claude Code's line for billing: no model is meant to read it, and nothing of a prompt that
 * begins otherwise every time would be in the cache.
 *
 * @example systemText([{ type: 'text', text: 'Be brief.' }]); // 'Be brief.'
 */
export function systemText(system: z.output<typeof systemField>): string {
  if (typeof system === 'string') return system.replace(BILLING, '');
  return system
    .map(({ text }) => text.replace(BILLING, ''))
    .filter((text, i) => text !== '' || system[i]!.text === '')
    .join('\n\n');
}

/** Whether {@link systemText} leaves the line for billing out. */
export function hasBilling(system: z.output<typeof systemField>): boolean {
  return (typeof system === 'string' ? [system] : system.map(({ text }) => text)).some((text) =>
    BILLING.test(text),
  );
}

/**
 * Messages in neutral terms: results of tools become messages of their own, in order. A last message of the assistant
 * is one that the answer continues, as Anthropic has it.
 *
 * @throws HadalError `content-unsupported`, naming the block
 * @example neutralMessages([{ role: 'user', content: 'Hi' }]); // [{ role: 'user', content: 'Hi' }]
 */
export function neutralMessages(given: readonly MessageFields[]): Message[] {
  return given.flatMap((message, index) =>
    messagesOf(message, `messages[${index}].content`, index === given.length - 1),
  );
}

function messagesOf({ role, content }: MessageFields, at: string, last: boolean): Message[] {
  switch (role) {
    case 'system':
      return [{ role, content: systemText(content) }];
    case 'user':
      return typeof content === 'string' ? [{ role, content }] : userMessages(content, at);
    case 'assistant':
      return [assistantMessage(content, at, last)];
  }
}

function userMessages(blocks: Blocks, at: string): Message[] {
  const messages: Message[] = [];
  let text: string[] = [];
  const flush = () => {
    if (text.length > 0) messages.push({ role: 'user', content: text.join('\n') });
    text = [];
  };
  for (const [i, block] of blocks.entries()) {
    if (block.type !== 'tool_result') {
      text.push(textOf(block, `${at}[${i}]`));
      continue;
    }
    const result = block as z.output<typeof toolResult>;
    flush();
    messages.push({
      role: 'tool',
      toolCallId: result.tool_use_id,
      content: resultText(result.content ?? '', `${at}[${i}].content`),
    });
  }
  flush();
  return messages;
}

function resultText(content: z.output<typeof resultContent>, at: string): string {
  if (typeof content === 'string') return content;
  return content.map((block, i) => textOf(block, `${at}[${i}]`)).join('\n');
}

function assistantMessage(
  content: Extract<MessageFields, { role: 'assistant' }>['content'],
  at: string,
  last: boolean,
): Message {
  if (typeof content === 'string') return { role: 'assistant', content, ...(last ? { prefix: true } : {}) };
  const text: string[] = [];
  const reasoning: string[] = [];
  const toolCalls: ToolCall[] = [];
  for (const [i, block] of content.entries()) {
    switch (block.type) {
      case 'thinking':
        reasoning.push((block as z.output<typeof thinkingBlock>).thinking);
        break;
      case 'redacted_thinking':
        // Another server's secret: nobody here could read it.
        break;
      case 'tool_use': {
        const { id, name, input } = block as z.output<typeof toolUse>;
        toolCalls.push({ id, name, arguments: JSON.stringify(input) });
        break;
      }
      default:
        text.push(textOf(block, `${at}[${i}]`));
    }
  }
  return {
    role: 'assistant',
    content: text.join(''),
    ...(reasoning.length === 0 ? {} : { reasoning: reasoning.join('\n') }),
    ...(toolCalls.length === 0 ? {} : { toolCalls }),
    ...(last && toolCalls.length === 0 ? { prefix: true } : {}),
  };
}

/** The text of a block that is text, or a document of text. */
function textOf(block: Blocks[number], at: string): string {
  if (block.type === 'text') return block.text as string;
  if (block.type === 'document') {
    const { source, title } = block as z.output<typeof documentBlock>;
    if (source.type === 'text' && source.data !== undefined) {
      return title ? `${title}\n\n${source.data}` : source.data;
    }
  }
  throw new HadalError('content-unsupported', {
    what: at,
    expected: 'text',
    got: `${block.type}`.slice(0, 64),
    next: 'these models read text only: leave it out',
  });
}
