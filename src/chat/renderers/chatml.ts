/**
 * Owns: ChatML: which templates are of its plain form, and how a conversation is written in it.
 * Refuses to know: other families, ids, files.
 */
import { HadalError } from '../../error.ts';
import type { Message } from '../delta.ts';
import type { ChatFamily, RenderOptions } from '../format.ts';
import { plainParser } from '../parsers/plain.ts';
import { controlId, type PromptPart } from '../prompt.ts';

const START = '<|im_start|>';
const END = '<|im_end|>';

/** What differs between models of the plain form. */
export interface ChatmlVariant {
  /** Put first when the conversation does not begin with a system message. */
  readonly defaultSystem?: string;
}

/**
 * ChatML as SmolLM2, Qwen 1.5 and others publish it: every message as `<|im_start|>role\ncontent<|im_end|>\n`, with or
 * without a system message of the model's own. Templates that do more (tools, thinking) are not of this form.
 */
export const chatml: ChatFamily = {
  family: 'chatml',
  title: 'plain ChatML, as in SmolLM2',
  recognise(template, tokenizer) {
    const variant = chatmlVariant(template);
    if (variant === undefined) return undefined;
    controlId(tokenizer, START);
    const endIds = [...new Set([controlId(tokenizer, END), ...tokenizer.endIds])];
    return {
      family: 'chatml',
      parts: (messages, options) => chatmlParts(messages, variant, options),
      parser: plainParser,
      endIds,
      ...variant,
    };
  },
};

const LINE = String.raw`(?:\n|\\n)`;
const PLAIN_TEMPLATE = new RegExp(
  [
    String.raw`^\{% for message in messages %\}`,
    String.raw`(?:\{% if loop\.first and messages\[0\]\['role'\] != 'system' %\}`,
    String.raw`\{\{ ?'<\|im_start\|>system${LINE}(?<system>[^'\\{}]*)<\|im_end\|>${LINE}' ?\}\}\{% endif %\})?`,
    String.raw`\{\{ ?'<\|im_start\|>' \+ message\['role'\] \+ '${LINE}' \+ message\['content'\] \+ `,
    String.raw`'<\|im_end\|>' \+ '${LINE}' ?\}\}\{% endfor %\}`,
    String.raw`\{% if add_generation_prompt %\}\{\{ ?'<\|im_start\|>assistant${LINE}' ?\}\}\{% endif %\}\s*$`,
  ].join(''),
);

/**
 * What a template of ChatML's plain form asks for, or undefined when it is anything else.
 *
 * @example chatmlVariant(metadata.get('tokenizer.chat_template')); // { defaultSystem: 'You are …' }
 */
export function chatmlVariant(template: string): ChatmlVariant | undefined {
  const match = PLAIN_TEMPLATE.exec(template);
  if (match === null) return undefined;
  const defaultSystem = match.groups?.system;
  return defaultSystem === undefined ? {} : { defaultSystem };
}

/**
 * A conversation in ChatML. Reasoning of earlier answers is left out, as the templates do.
 *
 * @throws HadalError `tools-unsupported` for tool calls or results: the form has no place for them.
 * @example chatmlParts([{ role: 'user', content: 'Hi' }], { defaultSystem: 'You are helpful.' });
 */
export function chatmlParts(
  messages: readonly Message[],
  variant: ChatmlVariant,
  options: RenderOptions = {},
): PromptPart[] {
  const parts: PromptPart[] = [];
  const turn = (role: string, content: string) => {
    parts.push({ kind: 'control', text: START }, { kind: 'text', text: `${role}\n${content}` });
    parts.push({ kind: 'control', text: END }, { kind: 'text', text: '\n' });
  };
  const [first] = messages;
  if (first !== undefined && first.role !== 'system' && variant.defaultSystem !== undefined) {
    turn('system', variant.defaultSystem);
  }
  for (const message of messages) {
    if (message.role === 'tool' || (message.toolCalls?.length ?? 0) > 0) {
      throw new HadalError('tools-unsupported', {
        what: 'this conversation',
        expected: "messages of system, user and assistant (the model's chat format has no tools)",
        got: message.role === 'tool' ? 'a tool result' : 'a tool call',
        next: 'leave tools out, or take a model that was trained with them',
      });
    }
    turn(message.role, message.content);
  }
  if (options.addGenerationPrompt !== false) {
    parts.push({ kind: 'control', text: START }, { kind: 'text', text: 'assistant\n' });
  }
  return parts;
}
