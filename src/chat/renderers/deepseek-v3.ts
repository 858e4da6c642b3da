/**
 * Owns: the format of V2.5, V3, R1 and the models distilled from R1: `<｜User｜>…<｜Assistant｜>…`.
 * Refuses to know: other families, ids, files.
 */
import {
  ASSISTANT,
  BOS,
  CALL,
  CALL_END,
  CALL_SEP,
  CALLS,
  CALLS_END,
  EOS,
  MARKS,
  OUTPUT,
  OUTPUT_END,
  OUTPUTS,
  OUTPUTS_END,
  THINK,
  THINK_END,
  USER,
} from '../deepseek-tokens.ts';
import type { Message, ToolDefinition } from '../delta.ts';
import type { ChatFamily, RenderedPrompt } from '../format.ts';
import { tokenCallParser } from '../parsers/token-calls.ts';
import { controlId } from '../prompt.ts';
import { type ChatSupport, checkAsked, offered, type RenderOptions } from '../support.ts';
import { tokenCallGrammar } from './call-grammar.ts';
import { toolJson } from './tool-text.ts';
import { PromptWriter } from './writer.ts';

/** What differs between models of this format, as their templates say. */
export interface DeepseekV3Variant {
  readonly family: 'deepseek-v3' | 'deepseek-r1';
  /** Of several system messages: all of them, or the last alone (V2.5, the first R1, its distills). */
  readonly systems: 'joined' | 'last';
  /** Where `<｜Assistant｜>` stands: at the end of the user's turn (from V3-0324 and R1-0528 on), or before the answer. */
  readonly assistant: 'after-user' | 'before-answer';
  /** Whether the prompt opens the thinking, with `<think>` and a newline; otherwise the model does. */
  readonly opensThinking: boolean;
}

/** V2.5, V3 and V3-0324; R1 and R1-0528; the distills on Qwen and Llama. */
export const deepseekV3: ChatFamily = {
  family: 'deepseek-v3',
  title: 'DeepSeek-V3, R1 and its distills',
  recognise({ template, tokenizer }) {
    const variant = deepseekV3Variant(template);
    if (variant === undefined) return undefined;
    const supports = deepseekV3Support(variant, tokenizer.idOf(CALLS) !== undefined);
    for (const token of [USER, ASSISTANT]) controlId(tokenizer, token);
    return {
      family: variant.family,
      supports,
      render: (messages, options) => deepseekV3Prompt(messages, variant, supports, options),
      parser: tokenCallParser('fenced', { thinks: variant.family === 'deepseek-r1' }),
      callGrammar: tokenCallGrammar('fenced', tokenizer),
      endIds: [...new Set([controlId(tokenizer, EOS), ...tokenizer.endIds])],
      marks: MARKS,
      ...(variant.family === 'deepseek-r1' ? { thinkingEnd: THINK_END } : {}),
    };
  },
};

/**
 * The variant that a template writes, or undefined when it is of another format.
 *
 * @example deepseekV3Variant(metadata.get('tokenizer.chat_template'))?.family; // 'deepseek-r1'
 */
export function deepseekV3Variant(template: string): DeepseekV3Variant | undefined {
  if (!template.includes(USER) || !template.includes(ASSISTANT)) return undefined;
  // The later formats, whose templates hold a bare </think> or a markup language.
  if (/DSML|<｜Assistant｜>(?:<think>)?<\/think>|'<\/think>'\s*\}\}/.test(template)) return undefined;
  const thinks = template.includes(THINK) || template.includes(THINK_END);
  return {
    family: thinks ? 'deepseek-r1' : 'deepseek-v3',
    systems: /system_prompt \+ (?:'\\n\\n'|'\n\n')/.test(template) ? 'joined' : 'last',
    assistant: /content(?:'\])? \+ '<｜Assistant｜>'/.test(template) ? 'after-user' : 'before-answer',
    opensThinking: template.includes(`${ASSISTANT}${THINK}`),
  };
}

/**
 * What a variant has a place for.
 *
 * @param hasToolTokens the distills keep the vocabulary of Qwen or Llama, which has no tokens for calls
 */
export function deepseekV3Support({ family }: DeepseekV3Variant, hasToolTokens: boolean): ChatSupport {
  return {
    tools: hasToolTokens,
    toolsWhileThinking: hasToolTokens,
    thinking: family === 'deepseek-r1' ? 'always' : 'never',
    effort: [],
    prefill: true,
  };
}

/**
 * A conversation as V3 and R1 read it. Thinking of earlier answers is left out.
 *
 * Sources: chat_template in tokenizer_config.json of DeepSeek-V3, V3-0324, R1 and R1-0528. The first templates of V3 and
 * R1 leave the block of a single call open; calls are written here as the later ones write them. The list of tools is
 * worded as in tool_chat_template_deepseekr1.jinja of vLLM and SGLang.
 *
 * @example renderPrompt(deepseekV3Prompt([{ role: 'user', content: 'Hi' }], variant, supports).parts);
 */
export function deepseekV3Prompt(
  messages: readonly Message[],
  variant: DeepseekV3Variant,
  supports: ChatSupport,
  options: RenderOptions = {},
): RenderedPrompt {
  checkAsked(variant.family, supports, messages, options);
  const tools = offered(options);
  const writer = new PromptWriter().control(BOS).text(systemOf(messages, variant));
  if (tools.length > 0) writer.wording(`\n\n${TOOLS}${tools.map(listed).join('')}`, LISTED_TOKENS);
  let before: Message['role'] | undefined;
  for (const message of messages) {
    const { role, content } = message;
    if (role === 'system') continue;
    if (before === 'tool' && role !== 'tool') writer.control(OUTPUTS_END);
    if (role === 'user') {
      writer.control(USER).text(content);
      if (variant.assistant === 'after-user') writer.control(ASSISTANT);
    } else if (role === 'tool') {
      if (before === 'tool') writer.text('\n');
      else writer.control(OUTPUTS);
      writer.control(OUTPUT).text(content).control(OUTPUT_END);
    } else {
      if (before !== 'tool' && variant.assistant === 'before-answer') writer.control(ASSISTANT);
      if (message.prefix) return prefilled(writer, message, variant);
      answer(writer, message, variant);
    }
    before = role;
  }
  if (before === 'tool') writer.control(OUTPUTS_END);
  if (options.addGenerationPrompt === false) return { parts: writer.parts, opens: 'content' };
  const opened = variant.assistant === 'after-user' && before === 'user';
  if (before !== 'tool' && !opened) writer.control(ASSISTANT);
  return opening(writer, variant, before === 'tool', options);
}

function systemOf(messages: readonly Message[], { systems }: DeepseekV3Variant): string {
  const contents = messages.filter(({ role }) => role === 'system').map(({ content }) => content);
  return systems === 'joined' ? contents.join('\n\n') : (contents.at(-1) ?? '');
}

function answer(
  writer: PromptWriter,
  { content, toolCalls = [], sampled }: Message,
  variant: DeepseekV3Variant,
): void {
  const thinks = variant.family === 'deepseek-r1';
  writer.sampled(sampled?.answer, () => {
    writer.text(thinks ? (content.split(THINK_END).at(-1) ?? '') : content);
    for (const [index, { name, arguments: json }] of toolCalls.entries()) {
      if (index === 0) writer.control(CALLS);
      else writer.text('\n');
      writer.control(CALL).text('function').control(CALL_SEP).text(`${name}\n\`\`\`json\n${json}\n\`\`\``);
      writer.control(CALL_END);
    }
    if (toolCalls.length > 0) writer.control(CALLS_END);
  });
  writer.control(EOS);
}

function prefilled(writer: PromptWriter, message: Message, variant: DeepseekV3Variant): RenderedPrompt {
  const { content, reasoning } = message;
  if (variant.family === 'deepseek-r1' && reasoning !== undefined) {
    writer.control(THINK).text(`\n${reasoning}`);
    if (content === '') return { parts: writer.parts, opens: 'reasoning', continues: true };
    writer.text('\n').control(THINK_END).text('\n\n');
  }
  return { parts: writer.text(content).parts, opens: 'content', continues: true };
}

/** What stands between `<｜Assistant｜>` and the model's first token. */
function opening(
  writer: PromptWriter,
  variant: DeepseekV3Variant,
  afterTools: boolean,
  options: RenderOptions,
): RenderedPrompt {
  const choice = options.toolChoice;
  if (offered(options).length > 0 && (choice === 'required' || typeof choice === 'object')) {
    const call = new PromptWriter().control(CALLS).control(CALL).text('function').control(CALL_SEP);
    if (typeof choice === 'object') call.text(`${choice.name}\n\`\`\`json\n`);
    return { parts: writer.add(call.parts).parts, opens: 'tool-calls', opened: call.parts };
  }
  if (variant.opensThinking && !afterTools) {
    return { parts: writer.control(THINK).text('\n').parts, opens: 'reasoning' };
  }
  return { parts: writer.parts, opens: 'content' };
}

const LISTED_TOKENS = [CALLS, CALLS_END, CALL, CALL_END, CALL_SEP];

const TOOLS = [
  'You are a helpful assistant with tool calling capabilities. ',
  'When a tool call is needed, you MUST use the following format to issue the call:\n',
  `${CALLS}${CALL}function${CALL_SEP}FUNCTION_NAME\n`,
  `\`\`\`json\n{"param1": "value1", "param2": "value2"}\n\`\`\`${CALL_END}${CALLS_END}\n\n`,
  'Make sure the JSON is valid.## Tools\n\n### Function\n\nYou have the following functions available:\n\n',
].join('');

const listed = (tool: ToolDefinition): string => `\n\`\`\`json\n${toolJson(tool)}\n\`\`\`\n`;
