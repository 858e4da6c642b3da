/**
 * Owns: the format of models that no family of ours knows: their template, run as it is, within bounds.
 * Refuses to know: any one template. The template language's interpreter reaches no file and no network.
 */
import { createContext, Script } from 'node:vm';
import { Template } from '@huggingface/jinja';
import { HadalError } from '../../error.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { MARKS, THINK, THINK_END } from '../deepseek-tokens.ts';
import type { Message } from '../delta.ts';
import type { ChatFormat, RenderedPrompt } from '../format.ts';
import { jsonCallSyntax } from '../parsers/json-calls.ts';
import { taggedParser } from '../parsers/tagged.ts';
import type { PromptPart } from '../prompt.ts';
import { type ChatSupport, checkAsked, offered, type RenderOptions } from '../support.ts';

const FAMILY = 'template';
/** Templates take a millisecond or so; one that does not end within this is broken or hostile. */
const MOST_MS = 1_000;
const MOST_RANGE = 100_000;
const TOOL_CALL = '<tool_call>';
/** Stand for texts of messages that spell special tokens: characters that no template can write or look for. */
const STAND_IN = '\u{f0000}';
const STAND_INS = /\u{f0000}(\d+)\u{f0000}/u;

/**
 * The format that a template describes.
 *
 * What messages say does not become special tokens here either: such texts are kept out of the template, and put into
 * their place in what it wrote. So a template that looks for a special token in a message does not find it.
 *
 * @throws HadalError `chat-template-broken` where it cannot be read or fails on a greeting, `chat-template-unknown` where
 *   it does not write what messages say
 * @example jinjaFormat(metadata.get('tokenizer.chat_template'), tokenizer);
 */
export function jinjaFormat(template: string, tokenizer: Tokenizer): ChatFormat {
  // The interpreter trims one newline behind a block.
  const bounded = `{% set range = bounded_range %}${template.startsWith('\n') ? '\n' : ''}${template}`;
  const parsed = guarded(() => new Template(bounded));
  const run = (variables: Readonly<Record<string, unknown>>) =>
    guarded(() => withinTime(() => parsed.render({ ...variables })));
  const write = (messages: readonly Message[], options: RenderOptions) =>
    run(variablesOf(messages, options, tokenizer));
  const supports = supportOf(template, write);
  return {
    family: FAMILY,
    supports,
    render: (messages, options = {}) => rendered(messages, options, { supports, tokenizer, write }),
    parser: taggedParser(supports.tools ? jsonCallSyntax : undefined, {
      thinks: template.includes(THINK_END),
    }),
    endIds: [...tokenizer.endIds],
    marks: MARKS,
    ...(template.includes(THINK_END) ? { thinkingEnd: THINK_END } : {}),
  };
}

type Write = (messages: readonly Message[], options: RenderOptions) => string;

/** What the template has a place for, as far as it can be seen from outside. */
function supportOf(template: string, write: Write): ChatSupport {
  const greeting: Message[] = [{ role: 'user', content: 'Hello, model!' }];
  if (!write(greeting, {}).includes('Hello, model!')) {
    throw new HadalError('chat-template-unknown', {
      what: "this model's chat template",
      expected: 'one that writes what messages say',
      got: `one that begins with ${JSON.stringify(template.slice(0, 60))}`,
      next: 'complete plain text instead (--raw)',
    });
  }
  const opens = (options: RenderOptions) => opensThinking(write(greeting, options));
  const chooses = write(greeting, { thinking: true }) !== write(greeting, { thinking: false });
  const tools = template.includes(TOOL_CALL) && /\btools\b/.test(template);
  return {
    tools,
    toolsWhileThinking: tools,
    thinking: chooses
      ? write(greeting, {}) === write(greeting, { thinking: true })
        ? 'on'
        : 'off'
      : opens({})
        ? 'always'
        : 'never',
    effort: [],
    prefill: true,
  };
}

function rendered(
  messages: readonly Message[],
  options: RenderOptions,
  { supports, tokenizer, write }: { supports: ChatSupport; tokenizer: Tokenizer; write: Write },
): RenderedPrompt {
  checkAsked(FAMILY, supports, messages, options);
  const choice = options.toolChoice;
  if (choice === 'required' || typeof choice === 'object') {
    throw new HadalError('tool-choice-unsupported', {
      what: 'the chat format of this model (its own template)',
      expected: 'a choice of tools that is left to the model',
      got: choice === 'required' ? 'one required' : JSON.stringify(choice.name),
      next: 'send "auto", or one tool alone and ask for it in the message',
    });
  }
  const last = messages.at(-1);
  const prefix = last?.prefix === true ? last : undefined;
  const held: string[] = [];
  const safe = messages
    .slice(0, prefix === undefined ? undefined : -1)
    .map((message) => holdBack(message, tokenizer, held));
  const text = write(safe, options);
  const parts = partsOf(text, held);
  const opens = opensThinking(text) ? 'reasoning' : 'content';
  if (prefix === undefined) return { parts, opens };
  return prefilled(parts, prefix, opens);
}

function prefilled(
  parts: readonly PromptPart[],
  { content, reasoning }: Message,
  opens: 'reasoning' | 'content',
): RenderedPrompt {
  const text = (said: string): PromptPart => ({ kind: 'text', text: said });
  if (opens === 'content') return { parts: [...parts, text(content)], opens, continues: true };
  const thought = [...parts, text(reasoning ?? '')];
  if (content === '') return { parts: thought, opens, continues: true };
  return {
    parts: [...thought, { kind: 'template', text: `\n${THINK_END}\n\n` }, text(content)],
    opens: 'content',
    continues: true,
  };
}

const opensThinking = (text: string): boolean => text.trimEnd().endsWith(THINK);

/** The message, with every text in it that would become special tokens held back. */
function holdBack(message: Message, tokenizer: Tokenizer, held: string[]): Message {
  const safe = (text: string): string => {
    const specials = new Set(
      [...tokenizer.encode(text, { special: true })]
        .filter((id) => tokenizer.isSpecial(id))
        .map((id) => tokenizer.tokenText(id)),
    );
    const written = [...specials].filter((special) => special !== '' && text.includes(special));
    if (written.length === 0 && !text.includes(STAND_IN)) return text;
    held.push(text);
    return `${STAND_IN}${held.length - 1}${STAND_IN}`;
  };
  const { content, reasoning } = message;
  return {
    ...message,
    content: safe(content),
    ...(reasoning === undefined ? {} : { reasoning: safe(reasoning) }),
  };
}

/** What the template wrote, with the texts that were held back in their places. */
function partsOf(written: string, held: readonly string[]): PromptPart[] {
  return written
    .split(STAND_INS)
    .map((text, index): PromptPart => {
      const own = held[Number(text)];
      return index % 2 === 1 && own !== undefined ? { kind: 'text', text: own } : { kind: 'template', text };
    })
    .filter(({ text }) => text !== '');
}

function variablesOf(
  messages: readonly Message[],
  options: RenderOptions,
  tokenizer: Tokenizer,
): Record<string, unknown> {
  const { thinking } = options;
  const tools = offered(options).map(({ name, description, parameters }) => ({
    type: 'function',
    function: { name, description: description ?? '', parameters: parameters ?? {} },
  }));
  const text = (id: number | undefined) => (id === undefined ? '' : tokenizer.tokenText(id));
  return {
    messages: messages.map(openaiMessage),
    add_generation_prompt: options.addGenerationPrompt !== false,
    bos_token: text(tokenizer.bosId),
    eos_token: text(tokenizer.eosId),
    bounded_range: boundedRange,
    ...(tools.length === 0 ? {} : { tools }),
    ...(thinking === undefined ? {} : { enable_thinking: thinking, thinking }),
  };
}

/** A message as templates expect it; arguments as an object where they are one. */
function openaiMessage({ role, content, reasoning, toolCalls = [], toolCallId }: Message): object {
  return {
    role,
    content,
    ...(reasoning === undefined ? {} : { reasoning_content: reasoning }),
    ...(toolCallId === undefined ? {} : { tool_call_id: toolCallId }),
    ...(toolCalls.length === 0
      ? {}
      : {
          tool_calls: toolCalls.map(({ id, name, arguments: json }) => ({
            id,
            type: 'function',
            function: { name, arguments: objectOf(json) },
          })),
        }),
  };
}

function objectOf(json: string): unknown {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null ? value : json;
  } catch {
    return json;
  }
}

function boundedRange(from: number, to?: number, step = 1): number[] {
  const [first, end] = to === undefined ? [0, from] : [from, to];
  const length = Math.max(0, Math.ceil((end - first) / step));
  if (!(length <= MOST_RANGE)) throw new Error(`range() of more than ${MOST_RANGE} numbers`);
  return Array.from({ length }, (_, i) => first + i * step);
}

/** Runs something that might not end. */
function withinTime<T>(work: () => T): T {
  const context = createContext({ work });
  return new Script('work()').runInContext(context, { timeout: MOST_MS }) as T;
}

function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    const { message = String(error), code } = (error ?? {}) as { message?: string; code?: string };
    throw new HadalError('chat-template-broken', {
      what: "this model's chat template",
      expected: 'a template that writes this conversation',
      got:
        code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
          ? `one that takes longer than ${MOST_MS / 1_000} s`
          : `"${message.slice(0, 200)}"`,
      next: 'change the conversation if the sentence says so; else complete plain text (--raw) or take another file',
    });
  }
}
