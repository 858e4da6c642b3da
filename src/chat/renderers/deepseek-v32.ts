/**
 * Owns: the format of V3.2: one renderer for what its Python encoder writes.
 * Refuses to know: other families, ids, files.
 */
import { HadalError } from '../../error.ts';
import { ASSISTANT, BOS, DSML, EOS, MARKS, THINK, THINK_END, USER } from '../deepseek-tokens.ts';
import type { Message } from '../delta.ts';
import type { ChatFamily, RenderedPrompt } from '../format.ts';
import { dsmlParser } from '../parsers/dsml.ts';
import { controlId } from '../prompt.ts';
import { pythonJson } from '../python-json.ts';
import { type ChatSupport, checkAsked, offered, type RenderOptions } from '../support.ts';
import { dsmlCallGrammar } from './call-grammar.ts';
import { DSML_V32, dsmlCalls, dsmlOpening } from './dsml.ts';
import { functionJson } from './tool-text.ts';
import { PromptWriter } from './writer.ts';

const FAMILY = 'deepseek-v3.2';

const SUPPORTS: ChatSupport = {
  tools: true,
  toolsWhileThinking: true,
  thinking: 'on',
  effort: [],
  prefill: true,
};

/** V3.2. Published without a Jinja template; files carry one of llama.cpp's, or none. */
export const deepseekV32: ChatFamily = {
  family: FAMILY,
  title: 'DeepSeek-V3.2',
  recognise({ template, architecture, tokenizer }) {
    const named = template === '' && architecture === 'deepseek32';
    if (!named && !(template.includes('DSML') && template.includes('function_calls'))) return undefined;
    for (const token of [USER, ASSISTANT]) controlId(tokenizer, token);
    return {
      family: FAMILY,
      supports: SUPPORTS,
      render: deepseekV32Prompt,
      parser: dsmlParser(DSML_V32),
      callGrammar: dsmlCallGrammar(DSML_V32, tokenizer),
      endIds: [...new Set([controlId(tokenizer, EOS), ...tokenizer.endIds])],
      thinkingEnd: THINK_END,
      marks: MARKS,
    };
  },
};

/**
 * A conversation as V3.2 reads it. Thinking is kept after the last message of the user, where calls and their results
 * go back and forth, and left out before it.
 *
 * Source: encoding/encoding_dsv32.py of DeepSeek-V3.2. Results are put in the order of their calls, which the encoder
 * takes for granted.
 *
 * @throws HadalError `conversation-invalid` where calls have no results, or results no calls
 * @example renderPrompt(deepseekV32Prompt([{ role: 'user', content: 'Hi' }]).parts); // '…Hi<｜Assistant｜><think>'
 */
export function deepseekV32Prompt(messages: readonly Message[], options: RenderOptions = {}): RenderedPrompt {
  checkAsked(FAMILY, SUPPORTS, messages, options);
  const thinking = options.thinking !== false;
  const writer = new PromptWriter().control(BOS);
  const system = messages[0]?.role === 'system' ? messages[0].content : '';
  writer.text(system);
  describeTools(writer, options);
  describeForm(writer, options);
  const lastUser = messages.findLastIndex(({ role }) => role === 'user');
  let before: Message['role'] | undefined;
  for (const [index, message] of messages.entries()) {
    if (index === 0 && message.role === 'system') continue;
    switch (message.role) {
      case 'system':
        writer.text(message.content);
        break;
      case 'user': {
        writer.control(USER).text(message.content);
        if (index === messages.length - 1 && options.addGenerationPrompt === false) break;
        writer.control(ASSISTANT);
        if (messages[index + 1]?.prefix) break;
        writer.control(thinking && index === lastUser ? THINK : THINK_END);
        break;
      }
      case 'tool':
        if (before !== 'tool') results(writer, messages, index, thinking && index >= lastUser);
        break;
      case 'assistant':
        if (message.prefix) return prefilled(writer, message, before, thinking);
        if (thinking && index > lastUser) {
          writer.sampled(message.sampled?.reasoning, () => writer.text(message.reasoning ?? ''));
          writer.control(THINK_END);
        }
        writer.sampled(message.sampled?.answer, () => {
          writer.text(message.content);
          if (message.toolCalls?.length) writer.add(dsmlCalls(DSML_V32, message.toolCalls).parts);
        });
        writer.control(EOS);
        break;
    }
    before = message.role;
  }
  if (options.addGenerationPrompt === false) return { parts: writer.parts, opens: 'content' };
  if (before !== 'user' && before !== 'tool') writer.control(ASSISTANT).control(thinking ? THINK : THINK_END);
  const choice = options.toolChoice;
  if (offered(options).length > 0 && (choice === 'required' || typeof choice === 'object')) {
    const opened = dsmlOpening(DSML_V32, choice).parts;
    return { parts: writer.add(opened).parts, opens: 'tool-calls', opened };
  }
  return { parts: writer.parts, opens: thinking ? 'reasoning' : 'content' };
}

/** All results that follow a message with calls, in the order of the calls. */
function results(writer: PromptWriter, messages: readonly Message[], from: number, thinking: boolean): void {
  const calls = messages[from - 1]?.toolCalls ?? [];
  const end = messages.findIndex(({ role }, index) => index > from && role !== 'tool');
  const given = messages.slice(from, end < 0 ? messages.length : end);
  if (given.length !== calls.length) {
    throw new HadalError('conversation-invalid', {
      what: `the results of tools from message ${from + 1} on`,
      expected: `one for each call before them, ${calls.length}`,
      got: `${given.length}`,
      next: 'send a result for every call, right after the message that holds the calls',
    });
  }
  const order = (message: Message) => calls.findIndex(({ id }) => id === message.toolCallId);
  const sorted = given.every((message) => order(message) >= 0)
    ? given.toSorted((a, b) => order(a) - order(b))
    : given;
  writer.text('\n\n<function_results>');
  for (const { content } of sorted) writer.text(`\n<result>${content}</result>`);
  writer.text('\n</function_results>\n\n').control(thinking ? THINK : THINK_END);
}

function prefilled(
  writer: PromptWriter,
  { content, reasoning }: Message,
  before: Message['role'] | undefined,
  thinking: boolean,
): RenderedPrompt {
  // After results the tag that opens or closes thinking is there already.
  const opened = before === 'tool';
  if (thinking && (reasoning !== undefined || opened)) {
    if (!opened) writer.control(THINK);
    writer.text(reasoning ?? '');
    if (content === '') return { parts: writer.parts, opens: 'reasoning', continues: true };
    writer.control(THINK_END);
  } else if (!opened) writer.control(THINK_END);
  return { parts: writer.text(content).parts, opens: 'content', continues: true };
}

function describeTools(writer: PromptWriter, options: RenderOptions): void {
  const tools = offered(options);
  if (tools.length === 0) return;
  writer.text('\n\n').wording(TOOLS, [DSML, THINK, THINK_END]);
  writer.text(`${tools.map((tool) => functionJson(tool)).join('\n')}\n</functions>\n`);
}

function describeForm(writer: PromptWriter, { constraint }: RenderOptions): void {
  if (constraint === undefined || constraint.kind === 'regex') return;
  const schema = constraint.kind === 'json' ? { type: 'json_object' } : constraint.schema;
  writer.text(
    `\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n${pythonJson(schema)}`,
  );
}

const TOOLS = `## Tools

You have access to a set of tools you can use to answer the user's question.
You can invoke functions by writing a "<${DSML}function_calls>" block like the following as part of your reply to the user:
<${DSML}function_calls>
<${DSML}invoke name="$FUNCTION_NAME">
<${DSML}parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</${DSML}parameter>
...
</${DSML}invoke>
<${DSML}invoke name="$FUNCTION_NAME2">
...
</${DSML}invoke>
</${DSML}function_calls>

String and scalar parameters should be specified as is without any escaping or quotes, while lists and objects should use JSON format. The "string" attribute should be set to "true" for string type parameters and "false" for other types (numbers, booleans, arrays, objects).

If the thinking_mode is enabled, then after function results you should strongly consider outputting a thinking block. Here is an example:

<${DSML}function_calls>
...
</${DSML}function_calls>

<function_results>
...
</function_results>

${THINK}...thinking about results${THINK_END}

Here are the functions available in JSONSchema format:
<functions>
`;
