/**
 * Owns: the format of DeepSeek-LLM, DeepSeek-MoE, V2 and Coder-V2, chat and instruct: `User: …`, `Assistant: …`.
 * Refuses to know: other families, ids, files.
 */
import { BOS, EOS } from '../deepseek-tokens.ts';
import type { Message } from '../delta.ts';
import type { ChatFamily, RenderedPrompt } from '../format.ts';
import { plainParser } from '../parsers/plain.ts';
import { controlId } from '../prompt.ts';
import { type ChatSupport, checkAsked, type RenderOptions } from '../support.ts';
import { PromptWriter } from './writer.ts';

const FAMILY = 'deepseek-llm';

const SUPPORTS: ChatSupport = {
  tools: false,
  toolsWhileThinking: false,
  thinking: 'never',
  effort: [],
  prefill: true,
};

/** DeepSeek-LLM and what followed up to V2. No text about tools was published for these models. */
export const deepseekLlm: ChatFamily = {
  family: FAMILY,
  title: 'DeepSeek-LLM, V2 and Coder-V2',
  recognise({ template, tokenizer }) {
    if (!template.includes("'User: '") || !template.includes("'Assistant:'")) return undefined;
    return {
      family: FAMILY,
      supports: SUPPORTS,
      render: deepseekLlmPrompt,
      parser: (options) => plainParser(options, { spaceFirst: true }),
      endIds: [...new Set([controlId(tokenizer, EOS), ...tokenizer.endIds])],
    };
  },
};

/**
 * A conversation as DeepSeek-LLM reads it. Source: chat_template in tokenizer_config.json of deepseek-llm-7b-chat.
 *
 * @example renderPrompt(deepseekLlmPrompt([{ role: 'user', content: 'Hi' }]).parts); // '<｜begin▁of▁sentence｜>User: Hi\n\nAssistant:'
 */
export function deepseekLlmPrompt(messages: readonly Message[], options: RenderOptions = {}): RenderedPrompt {
  checkAsked(FAMILY, SUPPORTS, messages, options);
  const writer = new PromptWriter().control(BOS);
  for (const { role, content, prefix } of messages) {
    if (prefix)
      return { parts: writer.text(`Assistant: ${content}`).parts, opens: 'content', continues: true };
    if (role === 'system') writer.text(`${content}\n\n`);
    else if (role === 'user') writer.text(`User: ${content}\n\n`);
    else writer.text(`Assistant: ${content}`).control(EOS);
  }
  if (options.addGenerationPrompt !== false) writer.text('Assistant:');
  return { parts: writer.parts, opens: 'content' };
}
