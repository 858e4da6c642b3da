/**
 * Owns: the flags of every command that answers: how long, until when, in which context, and, for chats, thinking and
 * tools, and the form that it is held to.
 * Refuses to know: engines, terminals, how anything is answered.
 */
import { readFile } from 'node:fs/promises';
import type { ArgsDef } from 'citty';
import type { Effort, ToolDefinition } from '../chat/delta.ts';
import { HadalError } from '../error.ts';
import type { AnswerOptions } from '../runtime/answerer.ts';
import type { Arguments } from './arguments.ts';
import { usageError } from './exit-codes.ts';
import type { OpeningOptions } from './opening.ts';
import { SAMPLING_FLAGS, samplingOf } from './sampling-flags.ts';

/** The definitions of the flags that every answer has. */
export const ANSWER_FLAGS = {
  'max-tokens': { type: 'string', alias: 'n', valueHint: 'N', description: 'longest answer in tokens' },
  ...SAMPLING_FLAGS,
  stop: {
    type: 'string',
    valueHint: 'TEXT',
    description: 'end the answer before this text; may be repeated',
  },
  context: {
    type: 'string',
    alias: 'c',
    valueHint: 'N',
    description: 'tokens of context; what fits otherwise',
  },
  threads: { type: 'string', valueHint: 'N', description: 'threads; all that may be used otherwise' },
} as const satisfies ArgsDef;

/** The definitions of the flags that hold an answer to a form. */
export const CONSTRAINT_FLAGS = {
  'json-schema': { type: 'string', valueHint: 'FILE', description: 'the answer is JSON of this schema' },
  regex: { type: 'string', valueHint: 'PATTERN', description: 'the whole answer fits this pattern' },
} as const satisfies ArgsDef;

/** The definitions of the flags of a chat. */
export const CHAT_FLAGS = {
  think: { type: 'boolean', description: 'think first, where there is a choice' },
  'no-think': { type: 'boolean', description: 'answer at once, where there is a choice' },
  effort: {
    type: 'string',
    valueHint: 'low|high|max',
    description: 'how much to think',
  },
  tools: { type: 'string', valueHint: 'FILE', description: 'functions that the model may call, as JSON' },
} as const satisfies ArgsDef;

/**
 * The answer options of a command line.
 *
 * @throws HadalError `usage`
 * @example const options = answerOptionsOf(given);
 */
export function answerOptionsOf(given: Arguments): AnswerOptions {
  const maxTokens = given.number('max-tokens', { min: 1, whole: true });
  const stop = given.texts('stop');
  if (stop.includes('')) {
    throw usageError({ what: '--stop', expected: 'at least one character', got: 'an empty text' });
  }
  return {
    sampling: samplingOf(given),
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(stop.length === 0 ? {} : { stop }),
  };
}

/**
 * How a model is opened for a command line. Throws a usage error.
 *
 * @example const opened = await openShown(model, surroundings, openingOf(given));
 */
export function openingOf(given: Arguments): OpeningOptions {
  const contextTokens = given.number('context', { min: 1, whole: true });
  const threads = given.number('threads', { min: 1, max: 1024, whole: true });
  return {
    ...(contextTokens === undefined ? {} : { contextTokens }),
    ...(threads === undefined ? {} : { threads }),
    ...(given.has('experts') ? { countExperts: true } : {}),
  };
}

/**
 * The options of a chat: thinking, effort, tools.
 *
 * @throws HadalError `usage`, `file-unreadable`, `tools-invalid`
 * @example const options = { ...answerOptionsOf(given), ...(await chatOptionsOf(given)) };
 */
export async function chatOptionsOf(
  given: Arguments,
): Promise<Pick<AnswerOptions, 'thinking' | 'effort' | 'tools'>> {
  if (given.has('think') && given.has('no-think')) {
    throw usageError({ what: '--think', expected: 'one of --think and --no-think', got: 'both' });
  }
  const effort = given.text('effort');
  if (effort !== undefined && !isEffort(effort)) {
    throw usageError({ what: '--effort', expected: EFFORTS.join(', '), got: JSON.stringify(effort) });
  }
  const file = given.text('tools');
  return {
    ...(given.has('think') ? { thinking: true } : given.has('no-think') ? { thinking: false } : {}),
    ...(effort === undefined ? {} : { effort }),
    ...(file === undefined ? {} : { tools: await readTools(file) }),
  };
}

/**
 * What the answer is held to.
 *
 * @throws HadalError `usage`, `file-unreadable`, `schema-invalid` where the file is no JSON
 * @example const options = { ...answerOptionsOf(given), ...(await constraintOf(given)) };
 */
export async function constraintOf(given: Arguments): Promise<Pick<AnswerOptions, 'constraint'>> {
  const file = given.text('json-schema');
  const pattern = given.text('regex');
  if (file !== undefined && pattern !== undefined) {
    throw usageError({ what: '--regex', expected: 'one of --json-schema and --regex', got: 'both' });
  }
  if (pattern !== undefined) return { constraint: { kind: 'regex', pattern } };
  if (file === undefined) return {};
  const text = await readText(file, 'a JSON Schema');
  try {
    return { constraint: { kind: 'json-schema', schema: JSON.parse(text) as unknown } };
  } catch {
    throw new HadalError('schema-invalid', { what: file, expected: 'a JSON Schema', got: 'no JSON' });
  }
}

const EFFORTS: readonly Effort[] = ['low', 'high', 'max'];

const isEffort = (text: string): text is Effort => (EFFORTS as readonly string[]).includes(text);

async function readText(path: string, expected: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new HadalError('file-unreadable', { what: path, expected, got: `${error.code}` });
  });
}

async function readTools(path: string): Promise<readonly ToolDefinition[]> {
  const text = await readText(path, 'a list of tools');
  const invalid = (got: string) =>
    new HadalError('tools-invalid', {
      what: path,
      expected: 'a JSON list of {"name", "description", "parameters"}, or of tools as OpenAI writes them',
      got,
    });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw invalid('no JSON');
  }
  if (!Array.isArray(json)) throw invalid('no list');
  return json.map((item: unknown, index) => toolOf(item) ?? fail(invalid(`something else at ${index + 1}`)));
}

function fail(error: Error): never {
  throw error;
}

function toolOf(item: unknown): ToolDefinition | undefined {
  const outer = (item ?? {}) as { readonly function?: unknown };
  const { name, description, parameters } = (outer.function ?? outer) as Record<string, unknown>;
  if (typeof name !== 'string') return undefined;
  if (description !== undefined && typeof description !== 'string') return undefined;
  if (parameters !== undefined && (typeof parameters !== 'object' || parameters === null)) return undefined;
  return {
    name,
    ...(description === undefined ? {} : { description }),
    ...(parameters === undefined ? {} : { parameters: { ...parameters } }),
  };
}
