/**
 * Owns: the format of V3.1 and V3.1-Terminus: thinking or not by one token, tools as text of the system message.
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
import { parametersJson } from './tool-text.ts';
import { PromptWriter } from './writer.ts';

const FAMILY = 'deepseek-v3.1';

/** Calls are for answers without thinking: the model card, section "Chat Template". */
const SUPPORTS: ChatSupport = {
  tools: true,
  toolsWhileThinking: false,
  thinking: 'off',
  effort: [],
  prefill: true,
};

/** V3.1 and V3.1-Terminus. */
export const deepseekV31: ChatFamily = {
  family: FAMILY,
  title: 'DeepSeek-V3.1',
  recognise({ template, tokenizer }) {
    const known =
      template.includes(ASSISTANT) &&
      template.includes(OUTPUT) &&
      /'(?:<think>)?<\/think>'\s*\}\}/.test(template);
    if (!known || template.includes('DSML') || !/\bthinking\b/.test(template)) return undefined;
    for (const token of [USER, ASSISTANT, CALLS, OUTPUT]) controlId(tokenizer, token);
    return {
      family: FAMILY,
      supports: SUPPORTS,
      render: deepseekV31Prompt,
      parser: tokenCallParser('bare', { thinks: true }),
      callGrammar: tokenCallGrammar('bare', tokenizer),
      endIds: [...new Set([controlId(tokenizer, EOS), ...tokenizer.endIds])],
      thinkingEnd: THINK_END,
      marks: MARKS,
    };
  },
};

/**
 * A conversation as V3.1 reads it. Thinking of earlier answers is left out.
 *
 * Sources: chat_template in tokenizer_config.json and the section "ToolCall" of the card of DeepSeek-V3.1. Where a
 * conversation ends with a whole answer, the template opens no further one; here one is opened, or the model would go on
 * after the end of a text.
 *
 * @example renderPrompt(deepseekV31Prompt([{ role: 'user', content: 'Hi' }], { thinking: true }).parts); // '…Hi<｜Assistant｜><think>'
 */
export function deepseekV31Prompt(messages: readonly Message[], options: RenderOptions = {}): RenderedPrompt {
  checkAsked(FAMILY, SUPPORTS, messages, options);
  const thinking = options.thinking === true;
  const tools = offered(options);
  const systems = messages.filter(({ role }) => role === 'system').map(({ content }) => content);
  const writer = new PromptWriter().control(BOS).text(systems.join('\n\n'));
  if (tools.length > 0) {
    writer.wording(`\n\n## Tools\nYou have access to the following tools:\n`, []);
    for (const tool of tools) writer.text(listed(tool));
    writer.wording(CALLING, [CALLS, CALLS_END, CALL, CALL_END, CALL_SEP]);
  }
  let before: Message['role'] | undefined;
  for (const message of messages) {
    const { role, content } = message;
    if (role === 'system') continue;
    if (role === 'user') writer.control(USER).text(content);
    else if (role === 'tool') writer.control(OUTPUT).text(content).control(OUTPUT_END);
    else if (message.prefix) return prefilled(writer, message, before === 'user', thinking);
    else answer(writer, message, before);
    before = role;
  }
  if (options.addGenerationPrompt === false) return { parts: writer.parts, opens: 'content' };
  return opening(writer, before === 'tool', thinking, options);
}

function answer(
  writer: PromptWriter,
  { content, toolCalls = [], sampled }: Message,
  before: Message['role'] | undefined,
): void {
  if (before === 'user') writer.control(ASSISTANT).control(THINK_END);
  if (toolCalls.length === 0) {
    const end = before === 'tool' ? -1 : content.indexOf(THINK_END);
    writer.text(end < 0 ? content : content.slice(end + THINK_END.length)).control(EOS);
    return;
  }
  writer.sampled(sampled?.answer, () => {
    writer.text(content).control(CALLS);
    for (const { name, arguments: json } of toolCalls) {
      writer.control(CALL).text(name).control(CALL_SEP).text(json).control(CALL_END);
    }
    writer.control(CALLS_END);
  });
  writer.control(EOS);
}

function prefilled(
  writer: PromptWriter,
  message: Message,
  afterUser: boolean,
  thinking: boolean,
): RenderedPrompt {
  const { content, reasoning } = message;
  if (afterUser) writer.control(ASSISTANT);
  if (afterUser && thinking && reasoning !== undefined) {
    writer.control(THINK).text(reasoning);
    if (content === '') return { parts: writer.parts, opens: 'reasoning', continues: true };
    writer.control(THINK_END);
  } else if (afterUser) writer.control(THINK_END);
  return { parts: writer.text(content).parts, opens: 'content', continues: true };
}

/** After results of tools the answer goes on at once; nothing stands between. */
function opening(
  writer: PromptWriter,
  afterTools: boolean,
  thinking: boolean,
  options: RenderOptions,
): RenderedPrompt {
  if (!afterTools) writer.control(ASSISTANT).control(thinking ? THINK : THINK_END);
  const choice = options.toolChoice;
  if (offered(options).length > 0 && (choice === 'required' || typeof choice === 'object')) {
    const call = new PromptWriter().control(CALLS).control(CALL);
    if (typeof choice === 'object') call.text(choice.name).control(CALL_SEP);
    return { parts: writer.add(call.parts).parts, opens: 'tool-calls', opened: call.parts };
  }
  return { parts: writer.parts, opens: thinking && !afterTools ? 'reasoning' : 'content' };
}

const listed = (tool: ToolDefinition): string =>
  `\n### ${tool.name}\nDescription: ${tool.description ?? ''}\n\nParameters: ${parametersJson(tool)}\n`;

const CALLING = [
  '\nIMPORTANT: ALWAYS adhere to this exact format for tool use:\n',
  `${CALLS}${CALL}tool_call_name${CALL_SEP}tool_call_arguments${CALL_END}{{additional_tool_calls}}${CALLS_END}\n\n`,
  'Where:\n\n',
  '- `tool_call_name` must be an exact match to one of the available tools\n',
  "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n",
  '- For multiple tool calls, chain them directly without separators or spaces\n',
].join('');
