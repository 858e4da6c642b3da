/**
 * Owns: what a chat format is, and the table of the known ones.
 * Refuses to know: the wording of any one format (renderers/, parsers/), how a prompt becomes ids, the engine, terminals, protocols.
 */
import type { TokenLogprob } from '../engine/request.ts';
import { HadalError } from '../error.ts';
import type { MetaValue } from '../formats/tensor-info.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Delta, Message, ToolDefinition } from './delta.ts';
import type { PromptPart } from './prompt.ts';
import type { CallGrammar } from './renderers/call-grammar.ts';
import { chatml } from './renderers/chatml.ts';
import { deepseekCoder } from './renderers/deepseek-coder.ts';
import { deepseekLlm } from './renderers/deepseek-llm.ts';
import { deepseekV3 } from './renderers/deepseek-v3.ts';
import { deepseekV4, deepseekV41 } from './renderers/deepseek-v4.ts';
import { deepseekV31 } from './renderers/deepseek-v31.ts';
import { deepseekV32 } from './renderers/deepseek-v32.ts';
import type { ChatSupport, RenderOptions } from './support.ts';

/** Where the first token of an answer belongs. */
export type AnswerStart = 'reasoning' | 'content' | 'tool-calls';

/** A conversation as a prompt. */
export interface RenderedPrompt {
  readonly parts: readonly PromptPart[];
  /** What the prompt leaves open: thinking where it ends inside `<think>`, tool calls where it ends inside their block. */
  readonly opens: AnswerStart;
  /** Of `tool-calls`: the opening that the prompt wrote, which the parser reads first. */
  readonly opened?: readonly PromptPart[];
  /** Set where the answer goes on from a prefix, so that its first newlines are its own. */
  readonly continues?: boolean;
}

/** One generated token as the engine reports it. */
export interface AnswerToken {
  readonly id: number;
  readonly logprob?: number;
  readonly top?: readonly TokenLogprob[];
}

/** Options of {@link ChatFormat.parser}. */
export interface ParserOptions {
  readonly tokenizer: Tokenizer;
  /** Which of several parallel answers this is; 0 when absent. */
  readonly choice?: number;
  /** Strings that end the answer before they appear in it. */
  readonly stop?: readonly string[];
  /** As {@link RenderedPrompt.opens}; `content` when absent. */
  readonly opens?: AnswerStart;
  /** As {@link RenderedPrompt.opened}. */
  readonly opened?: readonly PromptPart[];
  /** As {@link RenderedPrompt.continues}. */
  readonly continues?: boolean;
  /** Those that were rendered: without any, nothing is taken for a call. */
  readonly tools?: readonly ToolDefinition[];
}

/** Turns the tokens of one answer into deltas: everything but the `end`, which the runtime adds. */
export interface AnswerParser {
  /** The deltas that became certain with this token. */
  push(token: AnswerToken): readonly Delta[];
  /** What was held back, when no more tokens come. */
  end(): readonly Delta[];
  /** Set once a stop string was met; nothing comes after it. */
  readonly stopText: string | undefined;
}

/** How a family of models wants conversations written, and how its answers are read. */
export interface ChatFormat {
  /** e.g. `chatml`. */
  readonly family: string;
  readonly supports: ChatSupport;
  /**
   * The prompt of a conversation.
   *
   * @throws HadalError `tools-unsupported`, `thinking-unsupported`, `effort-unsupported`, `prefill-unsupported`, `conversation-invalid`.
   */
  render(messages: readonly Message[], options?: RenderOptions): RenderedPrompt;
  parser(options: ParserOptions): AnswerParser;
  /** Ids that end an answer. */
  readonly endIds: readonly number[];
  /** Tokens with a meaning in this format that are ordinary ones in the vocabulary; text never becomes them. */
  readonly marks?: readonly string[];
  /** What ends thinking, where there is any: `</think>`. One token where the vocabulary has it, else text. */
  readonly thinkingEnd?: string;
  /**
   * What an answer is held to from where the prompt leaves off (`opens`; after the end of thinking where it opens that)
   * so that strict tools get arguments of their schemas, and a required call comes. Undefined where nothing is asked of
   * calls. Formats without it cannot hold calls to anything.
   */
  readonly callGrammar?: CallGrammar;
  /** The system message that the format puts first when a conversation has none. */
  readonly defaultSystem?: string;
}

/** What a file says about its format. */
export interface FoundFormat {
  /** `tokenizer.chat_template`; empty where there is none. */
  readonly template: string;
  /** `general.architecture`. */
  readonly architecture: string;
  readonly tokenizer: Tokenizer;
}

/** A family in the table: recognises its models, or returns undefined. */
export interface ChatFamily {
  readonly family: string;
  /** What the family is called in messages. */
  readonly title: string;
  recognise(found: FoundFormat): ChatFormat | undefined;
}

/** The known families, in the order in which they are tried. */
export const CHAT_FAMILIES: readonly ChatFamily[] = [
  deepseekV41,
  deepseekV4,
  deepseekV32,
  deepseekV31,
  deepseekV3,
  deepseekLlm,
  deepseekCoder,
  chatml,
];

/**
 * The chat format of a model, by the template in its metadata (`tokenizer.chat_template`).
 *
 * @throws HadalError `chat-template-missing` or `chat-template-unknown`; plain completion still works then.
 * @example const format = chatFormatFor(file.metadata, tokenizer);
 */
export function chatFormatFor(metadata: ReadonlyMap<string, MetaValue>, tokenizer: Tokenizer): ChatFormat {
  const written = metadata.get('tokenizer.chat_template');
  const template = typeof written === 'string' ? written.trim() : '';
  const architecture = String(metadata.get('general.architecture') ?? '');
  for (const family of CHAT_FAMILIES) {
    const format = family.recognise({ template, architecture, tokenizer });
    if (format !== undefined) return format;
  }
  const expected = `a chat template of a known family (${CHAT_FAMILIES.map(({ title }) => title).join(', ')})`;
  const next = 'complete plain text instead (--raw)';
  const start = template.replace(/\s+/g, ' ').slice(0, 60);
  throw template === ''
    ? new HadalError('chat-template-missing', { what: 'this model', expected, got: 'no template', next })
    : new HadalError('chat-template-unknown', {
        what: 'this model',
        expected,
        got: `one that begins with ${JSON.stringify(start)}`,
        next,
      });
}
