/**
 * Owns: the formats of V4 and V4.1, which differ in little: where system messages stand, effort, the names of tags.
 * Refuses to know: other families, ids, files.
 */
import { ASSISTANT, BOS, DSML, EOS, MARKS, SYSTEM, THINK, THINK_END, USER } from '../deepseek-tokens.ts';
import type { Effort, Message, ToolCall } from '../delta.ts';
import type { ChatFamily, RenderedPrompt } from '../format.ts';
import { dsmlParser } from '../parsers/dsml.ts';
import { controlId } from '../prompt.ts';
import { pythonJson } from '../python-json.ts';
import { type ChatSupport, checkAsked, offered, type RenderOptions } from '../support.ts';
import { dsmlCallGrammar } from './call-grammar.ts';
import { DSML_V4, DSML_V41, type DsmlNames, dsmlCalls, dsmlOpening } from './dsml.ts';
import { functionJson } from './tool-text.ts';
import { PromptWriter } from './writer.ts';

/** Which of the two. */
export type DeepseekV4Version = 'v4' | 'v4.1';

const NAMES: Readonly<Record<DeepseekV4Version, DsmlNames>> = { v4: DSML_V4, 'v4.1': DSML_V41 };

const SUPPORTS: ChatSupport = {
  tools: true,
  toolsWhileThinking: true,
  thinking: 'on',
  effort: ['low', 'high', 'max'],
  prefill: true,
};

/** V4-Flash and V4-Pro. */
export const deepseekV4: ChatFamily = family('v4', 'DeepSeek-V4', ({ template, architecture, tokenizer }) =>
  template === ''
    ? architecture === 'deepseek4' && tokenizer.idOf(SYSTEM) === undefined
    : template.includes('DSML') && template.includes('tool_calls>'),
);

/** V4.1-Flash. */
export const deepseekV41: ChatFamily = family(
  'v4.1',
  'DeepSeek-V4.1',
  ({ template, architecture, tokenizer }) =>
    template === ''
      ? architecture === 'deepseek4' && tokenizer.idOf(SYSTEM) !== undefined
      : template.includes('DSML') && template.includes(SYSTEM) && template.includes(' calls>'),
);

function family(
  version: DeepseekV4Version,
  title: string,
  matches: (found: Parameters<ChatFamily['recognise']>[0]) => boolean,
): ChatFamily {
  const name = `deepseek-${version}`;
  return {
    family: name,
    title,
    recognise(found) {
      if (!matches(found)) return undefined;
      const { tokenizer } = found;
      const tokens = [USER, ASSISTANT, THINK, THINK_END, DSML, ...(version === 'v4.1' ? [SYSTEM] : [])];
      for (const token of tokens) controlId(tokenizer, token);
      return {
        family: name,
        supports: SUPPORTS,
        render: (messages, options) => deepseekV4Prompt(messages, version, options),
        parser: dsmlParser(NAMES[version]),
        callGrammar: dsmlCallGrammar(NAMES[version], tokenizer),
        endIds: [...new Set([controlId(tokenizer, EOS), ...tokenizer.endIds])],
        thinkingEnd: THINK_END,
        marks: MARKS,
      };
    },
  };
}

/**
 * A conversation as V4 and V4.1 read it. Thinking of earlier answers is kept where tools are offered, and left out
 * elsewhere.
 *
 * Source: deepseek-recipe 0.2.0, DeepseekV4Encoding and DeepseekV41Encoding.
 *
 * @example renderPrompt(deepseekV4Prompt([{ role: 'user', content: 'Hi' }], 'v4', { thinking: false }).parts); // '<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜></think>'
 */
export function deepseekV4Prompt(
  messages: readonly Message[],
  version: DeepseekV4Version,
  options: RenderOptions = {},
): RenderedPrompt {
  checkAsked(`deepseek-${version}`, SUPPORTS, messages, options);
  const thinking = options.thinking !== false;
  const tools = offered(options);
  const writer = new PromptWriter().control(BOS);
  if (version === 'v4') systemFirst(writer, messages, options);
  else systemInPlace(writer, messages, options);
  for (const turn of turnsOf(messages, version)) {
    if (turn.kind === 'system') writer.control(SYSTEM).text(turn.message.content);
    else if (turn.kind === 'asked') {
      const texts = turn.messages.map(({ role, content }) => told(role, content));
      // V4 leaves out what is empty, V4.1 does not.
      const kept = version === 'v4' ? texts.filter((text) => text !== '') : texts;
      writer.control(USER).text(kept.join('\n\n'));
    } else {
      const { message } = turn;
      const keeps = thought(message, version, thinking, tools.length > 0 || message.prefix === true);
      writer.control(ASSISTANT);
      if (message.prefix) return prefilled(writer, message, keeps, version, options);
      if (keeps) {
        writer.control(THINK);
        writer.sampled(message.sampled?.reasoning, () => writer.text(message.reasoning ?? ''));
      }
      writer.control(THINK_END);
      writer.sampled(message.sampled?.answer, () => {
        writer.text(message.content);
        if (message.toolCalls?.length) writer.add(dsmlCalls(NAMES[version], message.toolCalls).parts);
      });
      writer.control(EOS);
    }
  }
  if (options.addGenerationPrompt === false) return { parts: writer.parts, opens: 'content' };
  writer.control(ASSISTANT).control(thinking ? THINK : THINK_END);
  return opening(writer, version, { parts: [], opens: thinking ? 'reasoning' : 'content' }, options);
}

type Turn =
  | { readonly kind: 'system' | 'answer'; readonly message: Message }
  | { readonly kind: 'asked'; readonly messages: readonly Message[] };

/** What the user says and what tools answer make one turn, results in the order of their calls. */
function turnsOf(messages: readonly Message[], version: DeepseekV4Version): Turn[] {
  const turns: Turn[] = [];
  let asked: Message[] = [];
  let calls: readonly ToolCall[] = [];
  const close = () => {
    if (asked.length > 0) turns.push({ kind: 'asked', messages: inCallOrder(asked, calls) });
    asked = [];
  };
  for (const [index, message] of messages.entries()) {
    if (message.role === 'system') {
      // V4 has them all at the start; V4.1 has only the first there.
      if (version === 'v4' || index === 0) continue;
      close();
      turns.push({ kind: 'system', message });
    } else if (message.role === 'assistant') {
      close();
      turns.push({ kind: 'answer', message });
      calls = message.toolCalls ?? calls;
    } else {
      // In V4, results that follow the user's own words begin a new turn.
      if (version === 'v4' && message.role === 'tool' && asked.at(-1)?.role === 'user') close();
      asked.push(message);
    }
  }
  close();
  return turns;
}

/** The same messages with the results among them sorted as they were called; what stands between keeps its place. */
function inCallOrder(messages: readonly Message[], calls: readonly ToolCall[]): Message[] {
  const order = ({ toolCallId }: Message) => {
    const at = calls.findIndex(({ id }) => id === toolCallId);
    return at < 0 ? 0 : at;
  };
  const sorted = messages.filter(({ role }) => role === 'tool').sort((a, b) => order(a) - order(b));
  return messages.map((message) => (message.role === 'tool' ? (sorted.shift() ?? message) : message));
}

const told = (role: Message['role'], content: string): string =>
  role === 'tool' ? `<tool_result>${content}</tool_result>` : content;

/** Whether an answer is written with its thinking. V4 keeps what was thought even for an answer without thinking. */
function thought(message: Message, version: DeepseekV4Version, thinking: boolean, kept: boolean): boolean {
  if (!kept) return false;
  return version === 'v4' ? message.reasoning !== undefined : thinking;
}

function prefilled(
  writer: PromptWriter,
  { content, reasoning }: Message,
  keeps: boolean,
  version: DeepseekV4Version,
  options: RenderOptions,
): RenderedPrompt {
  const start: RenderedPrompt = { parts: [], opens: 'content', continues: true };
  const thinksOn = content === '' && options.thinking !== false;
  if (keeps || thinksOn) writer.control(THINK).text(reasoning ?? '');
  if (thinksOn) return opening(writer, version, { ...start, opens: 'reasoning' }, options);
  writer.control(THINK_END).text(content);
  return opening(writer, version, start, options);
}

/** The end of the prompt: `start`, or the block of calls where one has to come. */
function opening(
  writer: PromptWriter,
  version: DeepseekV4Version,
  start: RenderedPrompt,
  options: RenderOptions,
): RenderedPrompt {
  const choice = options.toolChoice;
  if (offered(options).length > 0 && (choice === 'required' || typeof choice === 'object')) {
    const opened = dsmlOpening(NAMES[version], choice).parts;
    return { parts: writer.add(opened).parts, opens: 'tool-calls', opened };
  }
  return { ...start, parts: writer.parts };
}

/** V4: effort, then the text of all system messages. */
function systemFirst(writer: PromptWriter, messages: readonly Message[], options: RenderOptions): void {
  if (options.thinking !== false) writer.text(EFFORT_V4[options.effort ?? 'high']);
  const systems = messages.filter(({ role }) => role === 'system').map(({ content }) => content);
  writer.text(systems.filter((content) => content !== '').join('\n\n'));
  describeTools(writer, 'v4', options);
  const { constraint } = options;
  if (constraint?.kind === 'json') writer.text(JSON_V4);
  else if (constraint?.kind === 'json-schema') writer.text(`${FORM}${pythonJson(constraint.schema)}`);
}

/** V4.1: a token before every system message, and for the effort and the tools where there is none. */
function systemInPlace(writer: PromptWriter, messages: readonly Message[], options: RenderOptions): void {
  const { constraint } = options;
  const thinking = options.thinking !== false;
  const first = messages[0]?.role === 'system' ? messages[0] : undefined;
  const form = constraint !== undefined && constraint.kind !== 'regex';
  if (first === undefined && !thinking && offered(options).length === 0 && !form) return;
  writer.control(SYSTEM);
  if (thinking) {
    const budget = EFFORT_V41[options.effort ?? 'high'];
    writer.text(
      `Reasoning Effort: ${budget} (range 1-100, the higher the value, the more thorough the reasoning)\n\n`,
    );
  }
  writer.text(first?.content ?? '');
  describeTools(writer, 'v4.1', options);
  if (constraint?.kind === 'json') writer.text(`${FORM}${pythonJson({ type: 'json_object' })}`);
  else if (constraint?.kind === 'json-schema') writer.text(`${FORM}${pythonJson(constraint.schema)}`);
}

function describeTools(writer: PromptWriter, version: DeepseekV4Version, options: RenderOptions): void {
  const tools = offered(options);
  if (tools.length === 0) return;
  writer.text('\n\n').wording(toolsText(NAMES[version]), [DSML, THINK, THINK_END]);
  writer.text(tools.map((tool) => functionJson(tool, 'null')).join('\n'));
  writer.text(
    '\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n',
  );
}

const FORM = '\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n';

const JSON_V4 =
  '\n\nYou are a helpful assistant designed to output JSON.\n## Response Format:\n\nReply with JSON object ONLY.';

const EFFORT_V41: Readonly<Record<Effort, number>> = { low: 50, high: 75, max: 100 };

const EFFORT_V4: Readonly<Record<Effort, string>> = {
  low: '',
  high: `Reasoning Effort: Absolute maximum with no shortcuts permitted.
You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, rigorously stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.
Explicitly write out your entire deliberation process, documenting every intermediate step, considered alternative, and rejected hypothesis to ensure absolutely no assumption is left unchecked.

`,
  max: `Reasoning Effort: Beyond maximum — exhaustive, relentless, and uncompromising.
You MUST reason with the utmost depth and rigor, leaving absolutely nothing to chance: exhaustively decompose the problem into its most fundamental components, trace every causal chain to its root, and resolve the underlying cause rather than any surface symptom.
Do not stop reasoning until you have independently verified the solution from multiple angles and are certain that no assumption remains unchecked and no error remains undiscovered.

`,
};

function toolsText({ block, invoke, parameter }: DsmlNames): string {
  return `## Tools

You have access to a set of tools to help answer the user's question. You can invoke tools by writing a "<${DSML}${block}>" block like the following:

<${DSML}${block}>
<${DSML}${invoke} name="$TOOL_NAME">
<${DSML}${parameter} name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</${DSML}${parameter}>
...
</${DSML}${invoke}>
<${DSML}${invoke} name="$TOOL_NAME2">
...
</${DSML}${invoke}>
</${DSML}${block}>

String parameters should be specified as is and set \`string="true"\`. For all other types (numbers, booleans, arrays, objects), pass the value in JSON format and set \`string="false"\`.

If thinking_mode is enabled (triggered by ${THINK}), you MUST output your complete reasoning inside ${THINK}...${THINK_END} BEFORE any tool calls or final response.

Otherwise, output directly after ${THINK_END} with tool calls or final response.

### Available Tool Schemas

`;
}
