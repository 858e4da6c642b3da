/**
 * Owns: what calls look like as a grammar, for the formats with tokens around calls and for DeepSeek's markup language:
 * the arguments of strict tools obey their schemas, those of others are JSON.
 * Refuses to know: how grammars are compiled, prompts, answers being read.
 */
import { HadalError } from '../../error.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { CALL, CALL_END, CALL_SEP, CALLS, CALLS_END, DSML } from '../deepseek-tokens.ts';
import type { ToolChoice, ToolDefinition } from '../delta.ts';
import type { AnswerStart } from '../format.ts';
import { either, type GrammarForm, inOrder, json, text, times, token } from '../grammar/form.ts';
import type { TokenCallForm } from '../parsers/token-calls.ts';
import { offered, type RenderOptions } from '../support.ts';
import type { DsmlNames } from './dsml.ts';

/** A grammar of calls: see `ChatFormat.callGrammar`. */
export type CallGrammar = (asked: RenderOptions, opens: AnswerStart) => CallsHeld | undefined;

/** What an answer is held to, and the tokens that are no text in it. */
export interface CallsHeld {
  readonly form: GrammarForm;
  readonly marks: readonly number[];
}

/** How a format writes calls, in parts. */
interface CallParts {
  /** What begins the block of calls, and ends it. */
  readonly begin: GrammarForm;
  readonly end: GrammarForm;
  /** The beginning of a call up to the name of its tool. */
  readonly open: GrammarForm;
  readonly separator?: GrammarForm;
  /** From the name to the arguments; the rest of the call. */
  readonly name: (tool: ToolDefinition) => GrammarForm;
  readonly rest: (tool: ToolDefinition) => GrammarForm;
  /** What of a call the prompt has written where one is required. */
  readonly opened: 'block' | 'call';
  readonly marks: readonly string[];
}

/**
 * The grammar of V3, R1 (`fenced`) and V3.1 (`bare`).
 *
 * @example tokenCallGrammar('bare', tokenizer)({ tools, toolChoice: 'required' }, 'tool-calls');
 */
export function tokenCallGrammar(form: TokenCallForm, tokenizer: Tokenizer): CallGrammar {
  const mark = marker(tokenizer);
  const separator = mark(CALL_SEP);
  const close = mark(CALL_END);
  const shared = { begin: mark(CALLS), end: mark(CALLS_END), opened: 'call' } as const;
  const marks = [CALLS, CALLS_END, CALL, CALL_END, CALL_SEP];
  if (form === 'bare') {
    return grammarOf(tokenizer, {
      ...shared,
      marks,
      open: mark(CALL),
      name: ({ name }) => inOrder(text(name), separator),
      rest: (tool) => inOrder(argumentsOf(tool), close),
    });
  }
  return grammarOf(tokenizer, {
    ...shared,
    marks,
    open: inOrder(mark(CALL), text('function'), separator),
    separator: text('\n'),
    name: ({ name }) => text(`${name}\n\`\`\`json\n`),
    rest: (tool) => inOrder(argumentsOf(tool), text('\n```'), close),
  });
}

/**
 * The grammar of V3.2, V4 and V4.1. Parameters of strict tools come in the order of their schema. One whose type is
 * `string` alone is written as it is, all others as JSON.
 *
 * @example dsmlCallGrammar(DSML_V4, tokenizer)({ tools, toolChoice: 'required' }, 'tool-calls');
 */
export function dsmlCallGrammar(names: DsmlNames, tokenizer: Tokenizer): CallGrammar {
  const mark = marker(tokenizer)(DSML);
  const tag = (bracket: '<' | '</', rest: string) => inOrder(text(bracket), mark, text(rest));
  const parameter = (head: GrammarForm, value: GrammarForm) =>
    inOrder(tag('<', `${names.parameter} name="`), head, value, tag('</', `${names.parameter}>\n`));
  const strict = (tool: ToolDefinition) => {
    const { properties = {}, $defs, definitions } = objectOf(tool);
    const shared = { ...($defs ? { $defs } : {}), ...(definitions ? { definitions } : {}) };
    return Object.entries(properties).map(([name, schema]) => {
      const fields: Readonly<Record<string, unknown>> = typeof schema === 'object' ? { ...schema } : {};
      const says = Object.keys(fields).filter((keyword) => !PLAIN_KEYWORDS.includes(keyword));
      const plain = fields.type === 'string' && says.length === 0;
      const head = text(`${name}" string="${plain}">`);
      const value = typeof schema === 'object' ? { ...shared, ...fields } : schema;
      return parameter(head, plain ? ANY_TEXT : json(value));
    });
  };
  const free = parameter(
    inOrder({ kind: 'regex', pattern: '[^"<>\\n]{1,64}' }, text('" string="')),
    either(inOrder(text('true">'), ANY_TEXT), inOrder(text('false">'), json({}))),
  );
  const none = text(names.emptyLine ? '\n' : '');
  return grammarOf(tokenizer, {
    begin: tag('<', `${names.block}>\n`),
    end: tag('</', `${names.block}>`),
    open: tag('<', `${names.invoke} name="`),
    opened: 'block',
    name: ({ name }) => text(`${name}">\n`),
    rest: (tool) => {
      const parameters = tool.strict ? strict(tool) : undefined;
      const all = parameters === undefined ? either(none, times(free, { min: 1 })) : inOrder(...parameters);
      return inOrder(parameters?.length === 0 ? none : all, tag('</', `${names.invoke}>\n`));
    },
    marks: [DSML],
  });
}

/** With these alone, a string may be any text. */
const PLAIN_KEYWORDS = ['type', 'title', 'description', 'default', 'examples'];

/** The schema of arguments, where its properties can be written one by one. */
function objectOf({ name, parameters = {} }: ToolDefinition): ObjectSchema {
  const keyword = ['$ref', 'anyOf', 'oneOf', 'allOf', 'enum', 'const'].find((one) => one in parameters);
  if (keyword === undefined) return parameters as ObjectSchema;
  throw new HadalError('constraint-unsupported', {
    what: `the parameters of the tool ${JSON.stringify(name)}`,
    expected: 'an object of properties, as this model writes arguments one by one',
    got: `one with ${keyword}`,
    next: 'move it into a property, or leave out strict',
  });
}

interface ObjectSchema {
  readonly properties?: Readonly<Record<string, unknown>>;
  readonly $defs?: object;
  readonly definitions?: object;
}

const ANY_TEXT: GrammarForm = { kind: 'regex', pattern: '[^]*' };

const argumentsOf = ({ strict, parameters }: ToolDefinition): GrammarForm =>
  strict ? json(parameters ?? { type: 'object', additionalProperties: false }) : { kind: 'json' };

function marker(tokenizer: Tokenizer): (mark: string) => GrammarForm {
  return (mark) => {
    const id = tokenizer.idOf(mark);
    return id === undefined ? text(mark) : token(id);
  };
}

function grammarOf(tokenizer: Tokenizer, parts: CallParts): CallGrammar {
  const { begin, end, open, separator, name, rest } = parts;
  const marks = parts.marks.map((mark) => tokenizer.idOf(mark)).filter((id) => id !== undefined);
  return (asked, opens) => {
    const tools = offered(asked);
    const choice = asked.toolChoice ?? 'auto';
    if (opens !== 'tool-calls' && !tools.some(({ strict }) => strict)) return undefined;
    const named = (tool: ToolDefinition) => inOrder(name(tool), rest(tool));
    const any = either(...tools.map(named));
    const call = inOrder(open, any);
    const counted = separator === undefined ? {} : { separator };
    if (opens !== 'tool-calls') {
      const block = inOrder(begin, times(call, { min: 1, ...counted }), end);
      return { form: inOrder(ANY_TEXT, either(text(''), block)), marks };
    }
    return { form: inOrder(first(choice), end), marks };

    /** From where the prompt leaves off to the end of the last call. */
    function first(chosen: ToolChoice): GrammarForm {
      if (typeof chosen === 'object') {
        const tool = tools.find((one) => one.name === chosen.name)!;
        return rest(tool);
      }
      const more = separator === undefined ? call : inOrder(separator, call);
      const start = parts.opened === 'call' ? any : call;
      return inOrder(start, times(more, { min: 0 }));
    }
  };
}
