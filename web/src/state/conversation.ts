/**
 * Owns: a conversation as a tree of turns, of which one path is shown; what is sent to the server of it.
 * Refuses to know: how turns are kept, shown or answered.
 */

/** A text file that was attached. */
export interface AttachedFile {
  readonly name: string;
  readonly text: string;
}

/** A call of a tool, as the model wrote it. */
export interface Call {
  readonly id: string;
  readonly name: string;
  /** JSON text. */
  readonly arguments: string;
}

/** What an answer took. */
export interface Figures {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly answerTokens: number;
  /** From the first token to the last. */
  readonly seconds: number;
  /** From sending to the first token. */
  readonly firstSeconds: number;
}

/** A token that might have been. */
export interface Pick {
  readonly token: string;
  readonly logprob: number;
}

/** A token of an answer and what might have stood in its place. */
export interface TokenChoice extends Pick {
  readonly top: readonly Pick[];
}

/** One turn. */
export interface Turn {
  readonly id: string;
  readonly parent: string | undefined;
  readonly role: 'user' | 'assistant' | 'tool';
  readonly content: string;
  readonly atMs: number;
  readonly files?: readonly AttachedFile[];
  /** Of a tool's result: the call it answers. */
  readonly callId?: string;
  readonly model?: string;
  readonly reasoning?: string;
  readonly thoughtSeconds?: number;
  readonly calls?: readonly Call[];
  readonly tokens?: readonly TokenChoice[];
  readonly figures?: Figures;
  /** How an answer ended; absent while it is written. */
  readonly end?: 'stop' | 'length' | 'calls' | 'stopped' | 'failed';
  /** Of a failed one. */
  readonly error?: string;
}

/** How answers are asked for; what is absent is left to the model. */
export interface Settings {
  readonly system?: string;
  readonly temperature?: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly maxTokens?: number;
  readonly seed?: number;
  readonly thinking?: 'off' | 'low' | 'high' | 'max';
  /** JSON Schema text that the answer is to obey. */
  readonly schema?: string;
  /** JSON text: a list of functions that may be called. */
  readonly tools?: string;
  /** Whether log-probabilities are asked for. */
  readonly tokens?: boolean;
}

/** A conversation. */
export interface Conversation {
  readonly id: string;
  readonly title: string;
  readonly updatedMs: number;
  readonly settings: Settings;
  readonly turns: readonly Turn[];
  /** Which turn follows another one, by its id; `''` for the first. */
  readonly chosen: Readonly<Record<string, string>>;
}

/** An id like no other; `randomUUID` is there only where the page came over TLS or from this very machine. */
export function newId(): string {
  return crypto
    .getRandomValues(new Uint8Array(16))
    .reduce((id, byte) => id + byte.toString(16).padStart(2, '0'), '');
}

/** An empty conversation. */
export function newConversation(settings: Settings = {}): Conversation {
  return { id: newId(), title: '', updatedMs: Date.now(), settings, turns: [], chosen: {} };
}

/** The turns that are shown, in order. Example: `shownPath(conversation).at(-1)` */
export function shownPath({ turns, chosen }: Conversation): readonly Turn[] {
  const byId = new Map(turns.map((turn) => [turn.id, turn]));
  const path: Turn[] = [];
  for (let next = byId.get(chosen[''] ?? ''); next; next = byId.get(chosen[next.id] ?? '')) path.push(next);
  return path;
}

/** The turns that might stand where this one stands, itself among them. */
export function siblings({ turns }: Conversation, { parent }: Turn): readonly Turn[] {
  return turns.filter((turn) => turn.parent === parent);
}

/** With a further turn, which is shown. */
export function withTurn(conversation: Conversation, turn: Turn): Conversation {
  return {
    ...conversation,
    updatedMs: turn.atMs,
    title: conversation.title || titleOf(turn),
    turns: [...conversation.turns, turn],
    chosen: { ...conversation.chosen, [turn.parent ?? '']: turn.id },
  };
}

/** With one turn changed. */
export function changed(conversation: Conversation, id: string, change: Partial<Turn>): Conversation {
  const turns = conversation.turns.map((turn) => (turn.id === id ? { ...turn, ...change } : turn));
  return { ...conversation, turns };
}

/** With another of the turns at one place shown. */
export function choosing(conversation: Conversation, turn: Turn): Conversation {
  return { ...conversation, chosen: { ...conversation.chosen, [turn.parent ?? '']: turn.id } };
}

/** What a person says, with the files that belong to it. */
export function userTurn(
  parent: string | undefined,
  content: string,
  files: readonly AttachedFile[] = [],
): Turn {
  return {
    id: newId(),
    parent,
    role: 'user',
    content,
    atMs: Date.now(),
    ...(files.length > 0 ? { files } : {}),
  };
}

const TITLE_CHARACTERS = 60;

function titleOf({ content, files = [] }: Turn): string {
  const line = content.trim().split('\n', 1)[0] ?? '';
  const text = line || (files[0]?.name ?? 'Conversation');
  return text.length > TITLE_CHARACTERS ? `${text.slice(0, TITLE_CHARACTERS - 1)}…` : text;
}

/** A message of the API. */
export type ApiMessage = Readonly<Record<string, unknown>>;

/** What of a path is sent: answers without their thinking, which no model of these wants back but with its own calls. */
export function messagesOf(path: readonly Turn[], { system }: Settings): readonly ApiMessage[] {
  const opening = system?.trim() ? [{ role: 'system', content: system }] : [];
  return [...opening, ...path.filter(isSaid).map(messageOf)];
}

/** An answer that failed before it began says nothing. */
const isSaid = ({ role, content, calls = [] }: Turn) =>
  role !== 'assistant' || content !== '' || calls.length > 0;

function messageOf({ role, content, files = [], calls = [], callId, reasoning }: Turn): ApiMessage {
  if (role === 'user')
    return { role, content: [content, ...files.map(fileText)].filter(Boolean).join('\n\n') };
  if (role === 'tool') return { role, content, tool_call_id: callId };
  if (calls.length === 0) return { role, content };
  return {
    role,
    content,
    ...(reasoning ? { reasoning_content: reasoning } : {}),
    tool_calls: calls.map(({ id, name, arguments: args }) => ({
      id,
      type: 'function',
      function: { name, arguments: args },
    })),
  };
}

function fileText({ name, text }: AttachedFile): string {
  // A fence longer than any in the file, so that nothing of it ends the block.
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length));
  const fence = '`'.repeat(longest + 1);
  return `File ${name}:\n${fence}\n${text}\n${fence}`;
}
