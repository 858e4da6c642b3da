/**
 * Owns: the format of the first DeepSeek-Coder, instruct: `### Instruction:`, `### Response:`.
 * Refuses to know: other families, ids, files.
 */
import { BOS } from '../deepseek-tokens.ts';
import type { Message } from '../delta.ts';
import type { ChatFamily, RenderedPrompt } from '../format.ts';
import { plainParser } from '../parsers/plain.ts';
import { controlId } from '../prompt.ts';
import { type ChatSupport, checkAsked, type RenderOptions } from '../support.ts';
import { PromptWriter } from './writer.ts';

const FAMILY = 'deepseek-coder';
const EOT = '<|EOT|>';

const SUPPORTS: ChatSupport = {
  tools: false,
  toolsWhileThinking: false,
  thinking: 'never',
  effort: [],
  prefill: true,
};

/** DeepSeek-Coder instruct. No text about tools was published for these models. */
export const deepseekCoder: ChatFamily = {
  family: FAMILY,
  title: 'DeepSeek-Coder',
  recognise({ template, tokenizer }) {
    if (!template.includes('### Instruction:') || !template.includes(EOT)) return undefined;
    const system = /'(You are [^'{}]*?)(?:\\n|\n)' ?\}\}/.exec(template)?.[1];
    return {
      family: FAMILY,
      supports: SUPPORTS,
      render: (messages, options) => deepseekCoderPrompt(messages, system, options),
      parser: plainParser,
      endIds: [...new Set([controlId(tokenizer, EOT), ...tokenizer.endIds])],
      ...(system === undefined ? {} : { defaultSystem: system }),
    };
  },
};

/**
 * A conversation as DeepSeek-Coder reads it. Source: chat_template in tokenizer_config.json of
 * deepseek-coder-6.7b-instruct, as Jinja with trimmed blocks renders it.
 *
 * @param defaultSystem put first, with a newline, when the conversation has no system message
 * @example renderPrompt(deepseekCoderPrompt([{ role: 'user', content: 'Hi' }], undefined).parts);
 */
export function deepseekCoderPrompt(
  messages: readonly Message[],
  defaultSystem: string | undefined,
  options: RenderOptions = {},
): RenderedPrompt {
  checkAsked(FAMILY, SUPPORTS, messages, options);
  const writer = new PromptWriter().control(BOS);
  const hasSystem = messages.some(({ role }) => role === 'system');
  if (!hasSystem && defaultSystem !== undefined) writer.text(`${defaultSystem}\n`);
  for (const { role, content, prefix } of messages) {
    if (prefix) {
      return { parts: writer.text(`### Response:\n${content}`).parts, opens: 'content', continues: true };
    }
    if (role === 'system') writer.text(content);
    else if (role === 'user') writer.text(`### Instruction:\n${content}\n`);
    else writer.text(`### Response:\n${content}\n`).control(EOT).text('\n');
  }
  if (options.addGenerationPrompt !== false) writer.text('### Response:\n');
  return { parts: writer.parts, opens: 'content' };
}
