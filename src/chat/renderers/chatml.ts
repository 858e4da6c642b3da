/**
 * Owns: ChatML: which templates are of its plain form, and how a conversation is written in it.
 * Refuses to know: other families, ids, files.
 */
import type { Message } from '../delta.ts';
import type { ChatFamily } from '../format.ts';
import { plainParser } from '../parsers/plain.ts';
import { controlId, type PromptPart } from '../prompt.ts';
import { type ChatSupport, checkAsked, type RenderOptions } from '../support.ts';

const START = '<|im_start|>';
const END = '<|im_end|>';

/** What differs between models of the plain form. */
export interface ChatmlVariant {
  /** Put first when the conversation does not begin with a system message. */
  readonly defaultSystem?: string;
}

const SUPPORTS: ChatSupport = {
  tools: false,
  toolsWhileThinking: false,
  thinking: 'never',
  effort: [],
  prefill: true,
};

/**
 * ChatML as SmolLM2, Qwen 1.5 and others publish it: every message as `<|im_start|>role\ncontent<|im_end|>\n`, with or
 * without a system message of the model's own. Templates that do more (tools, thinking) are not of this form.
 */
export const chatml: ChatFamily = {
  family: 'chatml',
  title: 'plain ChatML, as in SmolLM2',
  recognise({ template, tokenizer }) {
    const variant = chatmlVariant(template);
    if (variant === undefined) return undefined;
    controlId(tokenizer, START);
    const endIds = [...new Set([controlId(tokenizer, END), ...tokenizer.endIds])];
    return {
      family: 'chatml',
      supports: SUPPORTS,
      render(messages, options) {
        checkAsked('chatml', SUPPORTS, messages, options);
        const continues = messages.at(-1)?.prefix === true;
        return { parts: chatmlParts(messages, variant, options), opens: 'content', continues };
      },
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
  const prefix = messages.at(-1)?.prefix === true ? messages.at(-1) : undefined;
  for (const message of messages) {
    if (message !== prefix) turn(message.role, message.content);
  }
  if (prefix !== undefined) {
    parts.push({ kind: 'control', text: START }, { kind: 'text', text: `${prefix.role}\n${prefix.content}` });
  } else if (options.addGenerationPrompt !== false) {
    parts.push({ kind: 'control', text: START }, { kind: 'text', text: 'assistant\n' });
  }
  return parts;
}
