/**
 * Owns: earlier answers with calls, token by token, so that a conversation which a client has rendered anew is read as
 * it was written; and where a conversation no longer begins as its last request did.
 * Refuses to know: prompts' wording, engines, protocols.
 *
 * Agents send calls back with their JSON in another order, without the thinking, or with blanks cut off. Every such
 * change would make all that follows new to the cache. A call's id says which answer it was; where it still says the
 * same, the tokens of that answer are written instead.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Delta, Message, SampledText, ToolCall, ToolDefinition } from '../chat/delta.ts';
import type { AnswerParser } from '../chat/format.ts';
import { type JsonTree, readJson } from '../chat/python-json.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

/** Why a prompt no longer begins as the last one of its conversation did. */
export type BreakReason =
  /** The list of tools is another. */
  | 'tools'
  /** A system message is another. */
  | 'system'
  /** A message of the user, or a result of a tool, is another or gone. */
  | 'message'
  /** An answer was sent back saying something else. */
  | 'answer'
  /** It says the same, written otherwise: thinking left out, or an answer that is not known here rendered anew. */
  | 'rendering';

/** What became of the beginning of a prompt. */
export interface PrefixReport {
  /** Earlier answers that were written token by token as they were sampled. */
  readonly replayed: number;
  /** Earlier answers with calls that were not, since they say something else now or were not made here. */
  readonly rendered: number;
  /** Where the prompt leaves that of the last request; absent where it goes on from it, or none is known. */
  readonly broke?: {
    readonly why: BreakReason;
    /** Index of the message; absent for tools and renderings. */
    readonly message?: number;
    /** Tokens that are still the same, and that the last prompt had. */
    readonly sameTokens: number;
    readonly lastTokens: number;
  };
}

/** An answer that is being made. */
export interface TurnRecorder {
  /** A parser that also notes the tokens that it is given. */
  follow(parser: AnswerParser): AnswerParser;
  /** Its deltas, whose calls get an id where the model gave none. */
  delta(delta: Delta): Delta;
}

/** What of a prompt the book needs to know. */
export interface BookedPrompt {
  readonly messages: readonly Message[];
  readonly tools: readonly ToolDefinition[];
  readonly salt: string;
  readonly promptIds: Int32Array;
  /** What ends thinking, where the answer begins with it. */
  readonly thinkingEnd: string | undefined;
  /** Whether a part of the answer is in the prompt: such an answer cannot be told from its tokens. */
  readonly begun: boolean;
}

/** Remembers answers and conversations. */
export interface ReplayBook {
  /** The same conversation, with the tokens of earlier answers where they are known and still say the same. */
  restore(messages: readonly Message[], salt: string): readonly Message[];
  /** Notes a prompt, says where it leaves the last one of its conversation, and follows its answer. */
  begin(prompt: BookedPrompt): { readonly report: PrefixReport; readonly turn: TurnRecorder };
}

interface Answer {
  readonly content: string;
  readonly reasoning: string;
  readonly calls: readonly ToolCall[];
  readonly sampled: { readonly reasoning?: SampledText; readonly answer: SampledText };
  readonly tokens: number;
}

/** A conversation as its last request had it. */
interface Trail {
  tools: string;
  messages: readonly string[];
  roles: readonly Message['role'][];
  ids: Int32Array;
}

/** Older answers and conversations are forgotten beyond so much. */
const MOST_ANSWER_TOKENS = 4_000_000;
const MOST_TRAILS = 32;

/**
 * An empty book for one model.
 *
 * @example const book = createReplayBook(tokenizer); const messages = book.restore(request.messages, salt);
 */
export function createReplayBook(tokenizer: Tokenizer): ReplayBook {
  /** By salt and id of a call; the oldest first. */
  const answers = new Map<string, Answer>();
  const trails: { readonly salt: string; readonly trail: Trail }[] = [];
  let heldTokens = 0;
  const keep = (salt: string, answer: Answer) => {
    for (const { id } of answer.calls) answers.set(keyOf(salt, id), answer);
    heldTokens += answer.tokens;
    for (const [key, oldest] of answers) {
      if (heldTokens <= MOST_ANSWER_TOKENS) break;
      answers.delete(key);
      heldTokens -= oldest.tokens / oldest.calls.length;
    }
  };
  const restored = (message: Message, salt: string): Message => {
    const [call] = message.toolCalls ?? [];
    const answer = call && answers.get(keyOf(salt, call.id));
    if (answer === undefined || !saysTheSame(message, answer)) return message;
    const { content, calls, sampled, reasoning } = answer;
    // An answer without thinking is none with empty thinking: formats write the two otherwise.
    const { reasoning: _given, ...rest } = message;
    const thought = sampled.reasoning === undefined ? {} : { reasoning };
    return { ...rest, content, ...thought, toolCalls: calls, sampled };
  };
  return {
    restore: (messages, salt) =>
      messages.map((message) => (message.role === 'assistant' ? restored(message, salt) : message)),
    begin(prompt) {
      const next: Trail = {
        tools: digest(prompt.tools),
        messages: prompt.messages.map(digestOf),
        roles: prompt.messages.map(({ role }) => role),
        ids: prompt.promptIds,
      };
      const at = trails.findLastIndex(({ salt, trail }) => salt === prompt.salt && sameStart(trail, next));
      const [last] = at < 0 ? [] : trails.splice(at, 1);
      trails.push({ salt: prompt.salt, trail: next });
      if (trails.length > MOST_TRAILS) trails.shift();
      const broke = last && breakBetween(last.trail, next);
      const called = prompt.messages.filter(({ toolCalls = [] }) => toolCalls.length > 0);
      const replayed = called.filter(({ sampled }) => sampled !== undefined).length;
      return {
        report: {
          replayed,
          rendered: called.length - replayed,
          ...(broke === undefined ? {} : { broke }),
        },
        turn: recorder(tokenizer, prompt, (answer) => keep(prompt.salt, answer)),
      };
    },
  };
}

const keyOf = (salt: string, id: string): string => `${salt}\n${id}`;

/** Whether a message that came back is the answer that was given, its JSON and the blanks around it apart. */
function saysTheSame(message: Message, answer: Answer): boolean {
  const { content, reasoning, toolCalls = [] } = message;
  return (
    content.trim() === answer.content.trim() &&
    (reasoning === undefined || reasoning.trim() === '' || reasoning.trim() === answer.reasoning.trim()) &&
    toolCalls.length === answer.calls.length &&
    toolCalls.every((call, i) => {
      const given = answer.calls[i]!;
      return call.id === given.id && call.name === given.name && sameJson(call.arguments, given.arguments);
    })
  );
}

/** Whether two JSON texts say the same, in whatever order. */
function sameJson(a: string, b: string): boolean {
  return a === b || canonical(a) === canonical(b);
}

function canonical(json: string): string {
  const tree = readJson(json);
  return tree === undefined ? json : JSON.stringify(ordered(tree));
}

function ordered(tree: JsonTree): unknown {
  switch (tree.kind) {
    case 'object':
      return ['object', tree.entries.map(([name, value]) => [name, ordered(value)]).sort(byName)];
    case 'array':
      return ['array', tree.items.map(ordered)];
    default:
      return tree;
  }
}

function byName([a]: readonly unknown[], [b]: readonly unknown[]): number {
  return String(a) < String(b) ? -1 : 1;
}

function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('base64');
}

/** What a message says, as far as a change of it would change a prompt; thinking comes and goes with the format. */
function digestOf({ role, content, toolCalls = [] }: Message): string {
  const calls = toolCalls.map(({ name, arguments: json }) => [name, canonical(json)]);
  return digest([role, role === 'assistant' ? content.trim() : content, calls]);
}

/** A conversation is known by what the user said first. */
function sameStart(a: Trail, b: Trail): boolean {
  const [first, second] = [firstOfUser(a), firstOfUser(b)];
  return first !== undefined && first === second;
}

function firstOfUser({ roles, messages }: Trail): string | undefined {
  return messages[roles.indexOf('user')];
}

function breakBetween(last: Trail, next: Trail): PrefixReport['broke'] {
  const sameTokens = commonStart(last.ids, next.ids);
  // The last tokens only opened an answer.
  const OPENING = 4;
  if (sameTokens + OPENING >= last.ids.length) return undefined;
  const counts = { sameTokens, lastTokens: last.ids.length };
  if (last.tools !== next.tools) return { why: 'tools', ...counts };
  const message = last.messages.findIndex((one, i) => one !== next.messages[i]);
  if (message < 0) return { why: 'rendering', ...counts };
  const role = last.roles[message]!;
  const why = role === 'system' ? 'system' : role === 'assistant' ? 'answer' : 'message';
  return { why, message, ...counts };
}

function commonStart(a: Int32Array, b: Int32Array): number {
  const end = Math.min(a.length, b.length);
  let at = 0;
  while (at < end && a[at] === b[at]) at++;
  return at;
}

/** Follows one answer; whole ones with calls are kept. */
function recorder(tokenizer: Tokenizer, prompt: BookedPrompt, keep: (answer: Answer) => void): TurnRecorder {
  const ids: number[] = [];
  const calls: { id: string; name: string; arguments: string }[] = [];
  let [content, reasoning] = ['', ''];
  return {
    follow: (parser) => ({
      push(token) {
        ids.push(token.id);
        return parser.push(token);
      },
      end: () => parser.end(),
      get stopText() {
        return parser.stopText;
      },
    }),
    delta(delta) {
      switch (delta.type) {
        case 'progress':
        case 'prompt':
          return delta;
        case 'content':
          content += delta.text;
          return delta;
        case 'reasoning':
          reasoning += delta.text;
          return delta;
        case 'tool-call': {
          const known = calls[delta.index];
          if (known !== undefined) {
            known.arguments += delta.arguments;
            return delta;
          }
          const id = delta.id ?? `call_${randomBytes(12).toString('hex')}`;
          calls[delta.index] = { id, name: delta.name ?? '', arguments: delta.arguments };
          return { ...delta, id };
        }
        case 'end':
          if (delta.reason === 'tool-calls' && !prompt.begun) {
            const sampled = sampledOf(tokenizer, ids, prompt.thinkingEnd);
            if (sampled !== undefined) keep({ content, reasoning, calls, sampled, tokens: ids.length });
          }
          return delta;
      }
    },
  };
}

function sampledOf(
  tokenizer: Tokenizer,
  ids: readonly number[],
  thinkingEnd: string | undefined,
): Answer['sampled'] | undefined {
  const text = (part: readonly number[]): SampledText => ({
    ids: part,
    text: tokenizer.decode(part, { special: true }),
  });
  if (thinkingEnd === undefined) return { answer: text(ids) };
  const end = ids.indexOf(tokenizer.idOf(thinkingEnd) ?? -1);
  return end < 0 ? undefined : { reasoning: text(ids.slice(0, end)), answer: text(ids.slice(end + 1)) };
}
