/**
 * Owns: what may be asked of a chat format, what a format says it has a place for, and the refusal where they differ.
 * Refuses to know: how any format writes it.
 */
import { HadalError } from '../error.ts';
import type { ConstraintSpec } from './constraint.ts';
import type { Effort, Message, ToolChoice, ToolDefinition } from './delta.ts';

/** Options of {@link ChatFormat.render}. What a format cannot express it refuses with a sentence. */
export interface RenderOptions {
  /** End with the opening of an assistant's turn. On unless false; without effect where the last message is a prefix. */
  readonly addGenerationPrompt?: boolean;
  readonly tools?: readonly ToolDefinition[];
  /** `auto` when absent. */
  readonly toolChoice?: ToolChoice;
  /** Think before answering; as {@link ChatSupport.thinking} says when absent. */
  readonly thinking?: boolean;
  readonly effort?: Effort;
  /** What the content must be, for formats that tell the model so; enforcing it is another's business. */
  readonly constraint?: ConstraintSpec;
}

/** What a format has a place for. */
export interface ChatSupport {
  /** Tools, their calls and their results. */
  readonly tools: boolean;
  /** Tools together with thinking. */
  readonly toolsWhileThinking: boolean;
  /** `off` and `on` can be chosen and say what happens when nothing is; `always` thinks, whatever is asked. */
  readonly thinking: 'never' | 'off' | 'on' | 'always';
  /** Degrees that make a difference; none where empty. */
  readonly effort: readonly Effort[];
  /** A last message of the assistant that the answer continues. */
  readonly prefill: boolean;
}

/**
 * The tools that the model is told about: none where the choice is `none`.
 *
 * @example offered({ tools, toolChoice: 'none' }); // []
 */
export function offered({ tools = [], toolChoice }: RenderOptions): readonly ToolDefinition[] {
  return toolChoice === 'none' ? [] : tools;
}

/**
 * The same options, where thinking and effort are wishes: what the format has no place for is left out.
 *
 * @example granted(supports, { effort: 'high' }); // {} for a format without degrees
 */
export function granted<T extends RenderOptions>(supports: ChatSupport, options: T): T {
  const { thinking, effort, ...rest } = options;
  const impossible =
    thinking === true
      ? supports.thinking === 'never' || (offered(options).length > 0 && !supports.toolsWhileThinking)
      : supports.thinking === 'always';
  return {
    ...(rest as T),
    ...(thinking === undefined || impossible ? {} : { thinking }),
    ...(effort === undefined || !supports.effort.includes(effort) ? {} : { effort }),
  };
}

/**
 * Refuses what a format cannot express.
 *
 * @param family as {@link ChatFormat.family}, for the sentence
 * @throws HadalError `tools-unsupported`, `tool-choice-invalid`, `thinking-unsupported`, `effort-unsupported`,
 *   `prefill-unsupported`, `conversation-invalid`
 * @example checkAsked('chatml', supports, messages, { tools });
 */
export function checkAsked(
  family: string,
  supports: ChatSupport,
  messages: readonly Message[],
  options: RenderOptions = {},
): void {
  checkOptions(family, supports, options);
  for (const [index, { role, prefix, toolCalls = [] }] of messages.entries()) {
    if (!supports.tools && (role === 'tool' || toolCalls.length > 0)) {
      const got = role === 'tool' ? 'a tool result' : 'a tool call';
      throw refusal('tools-unsupported', family, 'no tools', got, WITHOUT_TOOLS);
    }
    if (prefix !== true) continue;
    if (!supports.prefill) {
      const next = 'end the conversation with a message of the user';
      throw refusal('prefill-unsupported', family, 'no answer that is continued', 'a prefix', next);
    }
    if (role !== 'assistant' || index !== messages.length - 1 || toolCalls.length > 0) {
      throw new HadalError('conversation-invalid', {
        what: `message ${index + 1} of the conversation`,
        expected: 'a prefix only as the last message, of the assistant, and without tool calls',
        got: `one of ${role}, ${index + 1} of ${messages.length}`,
        next: 'leave out "prefix", or move the message to the end',
      });
    }
  }
}

function checkOptions(family: string, supports: ChatSupport, options: RenderOptions): void {
  const { thinking, effort } = options;
  const tools = offered(options);
  checkChoice(options);
  if (tools.length > 0 && !supports.tools) {
    throw refusal('tools-unsupported', family, 'no tools', `${tools.length}`, WITHOUT_TOOLS);
  }
  if (thinking === true && supports.thinking === 'never') {
    const next = 'leave the choice out, or take a model that thinks';
    throw refusal('thinking-unsupported', family, 'no thinking', 'thinking asked for', next);
  }
  if (thinking === false && supports.thinking === 'always') {
    const next = 'leave the choice out, or take a model that can answer at once';
    throw refusal('thinking-unsupported', family, 'thinking, which always comes', 'none asked for', next);
  }
  if (tools.length > 0 && thinking === true && !supports.toolsWhileThinking) {
    const next = 'turn thinking off, or leave tools out';
    throw refusal('tools-unsupported', family, 'tools without thinking', 'both', next);
  }
  if (effort !== undefined && !supports.effort.includes(effort)) {
    const known = supports.effort.length === 0 ? 'no effort' : `an effort of ${supports.effort.join(', ')}`;
    throw refusal('effort-unsupported', family, known, effort, 'leave it out');
  }
}

function checkChoice({ tools = [], toolChoice = 'auto' }: RenderOptions): void {
  if (toolChoice === 'auto' || toolChoice === 'none') return;
  const known = tools.map(({ name }) => name);
  const next = 'name one of the tools that are sent along, or leave the choice to the model';
  if (toolChoice === 'required' && known.length === 0) {
    throw new HadalError('tool-choice-invalid', {
      what: 'the choice of a tool',
      expected: 'tools to choose from, as one is required',
      got: 'none',
      next,
    });
  }
  if (typeof toolChoice === 'object' && !known.includes(toolChoice.name)) {
    throw new HadalError('tool-choice-invalid', {
      what: 'the choice of a tool',
      expected: known.length === 0 ? 'tools to choose from' : `one of ${known.join(', ')}`,
      got: JSON.stringify(toolChoice.name),
      next,
    });
  }
}

const WITHOUT_TOOLS = 'leave tools out, or take a model that was trained with them';

function refusal(code: string, family: string, expected: string, got: string, next: string): HadalError {
  return new HadalError(code, { what: `the chat format of this model (${family})`, expected, got, next });
}
