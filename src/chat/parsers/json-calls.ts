/**
 * Owns: reading calls as Hermes, Qwen and many others write them: `<tool_call>`, a JSON object, `</tool_call>`.
 * Refuses to know: thinking and content before them, prompts.
 */
import { readJson, writeJson } from '../python-json.ts';
import type { Routine } from './source.ts';
import type { CallSyntax, Reading } from './tagged.ts';

const BEGIN = '<tool_call>';
const END = '</tool_call>';

/**
 * `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, any number of times. What is no such object is shown as
 * content.
 *
 * @example taggedParser(jsonCallSyntax, { thinks: true });
 */
export const jsonCallSyntax: CallSyntax = { marks: [BEGIN, END], begin: BEGIN, read: readCalls };

function* readCalls({ source, writer, marked }: Reading): Routine {
  const [begin, end] = [marked.pattern(BEGIN), marked.pattern(END)];
  let next: string | undefined = begin;
  while (next !== undefined) {
    let json = '';
    const stop: string | undefined = yield* source.until([end], (text) => {
      json += text;
    });
    const call = callOf(json);
    if (call === undefined) writer.content(json);
    else {
      writer.call(call.name);
      writer.arguments(call.arguments);
    }
    next = stop === undefined ? undefined : yield* source.until([begin], () => undefined);
  }
}

function callOf(json: string): { readonly name: string; readonly arguments: string } | undefined {
  const tree = readJson(json);
  if (tree?.kind !== 'object') return undefined;
  const entries = new Map(tree.entries);
  const name = entries.get('name');
  const given = entries.get('arguments') ?? entries.get('parameters');
  if (name?.kind !== 'string') return undefined;
  // Some models write the object as a string.
  if (given?.kind === 'string') return { name: name.text, arguments: given.text };
  return { name: name.text, arguments: given === undefined ? '{}' : writeJson(given) };
}
