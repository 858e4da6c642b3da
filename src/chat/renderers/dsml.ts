/**
 * Owns: DeepSeek's markup language in prompts: how calls are written, and the names that differ between models.
 * Refuses to know: turns, system messages, answers being read (parsers/dsml.ts).
 */
import { DSML } from '../deepseek-tokens.ts';
import type { ToolCall, ToolChoice } from '../delta.ts';
import { readJson, writeJson } from '../python-json.ts';
import { PromptWriter } from './writer.ts';

/** The names of the tags, which every model of the language spells in its own way. */
export interface DsmlNames {
  readonly block: string;
  readonly invoke: string;
  readonly parameter: string;
  /** Whether a call without arguments keeps an empty line. */
  readonly emptyLine: boolean;
}

export const DSML_V32: DsmlNames = {
  block: 'function_calls',
  invoke: 'invoke',
  parameter: 'parameter',
  emptyLine: true,
};
export const DSML_V4: DsmlNames = {
  block: 'tool_calls',
  invoke: 'invoke',
  parameter: 'parameter',
  emptyLine: false,
};
/** The space belongs to the names. */
export const DSML_V41: DsmlNames = {
  block: ' calls',
  invoke: ' invoke',
  parameter: ' parameter',
  emptyLine: true,
};

/**
 * The block of an answer's calls. Arguments that are no JSON object become one parameter `arguments`, as in
 * DeepSeek's encoder, so that a call which a client hands back broken is still shown.
 *
 * @example writer.add(dsmlCalls(DSML_V4, [{ id: '1', name: 'f', arguments: '{"x": 1}' }]));
 */
export function dsmlCalls(names: DsmlNames, calls: readonly ToolCall[]): PromptWriter {
  const writer = new PromptWriter();
  tag(writer.text('\n\n'), '<', names.block).text('>\n');
  for (const call of calls) {
    tag(writer, '<', names.invoke).text(` name="${call.name}">\n`);
    const parameters = parametersOf(call);
    for (const { name, isText, text } of parameters) {
      tag(writer, '<', names.parameter).text(` name="${name}" string="${isText}">${text}`);
      tag(writer, '</', names.parameter).text('>\n');
    }
    if (parameters.length === 0 && names.emptyLine) writer.text('\n');
    tag(writer, '</', names.invoke).text('>\n');
  }
  return tag(writer, '</', names.block).text('>');
}

/**
 * The opening of a block, for an answer that has to call: DeepSeek's recipe for `tool_choice: required`. A named tool
 * opens its call as well.
 *
 * @example dsmlOpening(DSML_V4, 'required').parts; // '\n\n<｜DSML｜tool_calls>\n'
 */
export function dsmlOpening(names: DsmlNames, choice: Exclude<ToolChoice, 'auto' | 'none'>): PromptWriter {
  const writer = tag(new PromptWriter().text('\n\n'), '<', names.block).text('>\n');
  return choice === 'required' ? writer : tag(writer, '<', names.invoke).text(` name="${choice.name}">\n`);
}

function tag(writer: PromptWriter, bracket: '<' | '</', name: string): PromptWriter {
  return writer.text(bracket).control(DSML).text(name);
}

function parametersOf({ arguments: json }: ToolCall): { name: string; isText: boolean; text: string }[] {
  const tree = readJson(json);
  if (tree?.kind !== 'object') return [{ name: 'arguments', isText: true, text: json }];
  return tree.entries.map(([name, value]) =>
    value.kind === 'string'
      ? { name, isText: true, text: value.text }
      : { name, isText: false, text: writeJson(value) },
  );
}
