/**
 * Owns: a tool as models are shown it: the function object of an OpenAI request, in Python's JSON.
 * Refuses to know: the words around it.
 */
import { HadalError } from '../../error.ts';
import type { ToolDefinition } from '../delta.ts';
import { pythonJson } from '../python-json.ts';

/**
 * `{"name": …, "description": …, "parameters": …}`.
 *
 * @param missing what is not given is left out, or written as `""` and `null`
 * @throws HadalError `tool-invalid` where the schema cannot be written as JSON
 * @example functionJson({ name: 'now' }); // '{"name": "now"}'
 */
export function functionJson(tool: ToolDefinition, missing: 'left-out' | 'null' = 'left-out'): string {
  const { name, description = '', parameters = null } = tool;
  return json(tool, missing === 'null' ? { name, description, parameters } : functionOf(tool));
}

/**
 * `{"type": "function", "function": {…}}`. Throws as {@link functionJson}.
 *
 * @example toolJson({ name: 'now' }); // '{"type": "function", "function": {"name": "now"}}'
 */
export function toolJson(tool: ToolDefinition): string {
  return json(tool, { type: 'function', function: functionOf(tool) });
}

/**
 * The schema of the arguments alone. Throws as {@link functionJson}.
 *
 * @example parametersJson({ name: 'now', parameters: { type: 'object' } }); // '{"type": "object"}'
 */
export function parametersJson(tool: ToolDefinition): string {
  return json(tool, tool.parameters ?? {});
}

function functionOf({ name, description, parameters }: ToolDefinition): object {
  return {
    name,
    ...(description === undefined ? {} : { description }),
    ...(parameters === undefined ? {} : { parameters }),
  };
}

function json({ name }: ToolDefinition, value: unknown): string {
  try {
    return pythonJson(value);
  } catch (error) {
    throw new HadalError('tool-invalid', {
      what: `the parameters of the tool ${JSON.stringify(name)}`,
      expected: 'a JSON Schema, nested at most 200 deep',
      got: error instanceof Error ? error.message : String(error),
      next: 'simplify it',
    });
  }
}
