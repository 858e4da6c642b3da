/**
 * Owns: what the page knows, as signals, and what may be done with it: conversations, models, the key, the theme.
 * Refuses to know: how anything is shown.
 */
import { batch, computed, signal } from '@preact/signals';
import { ask, type ServerError } from '../server/client.ts';
import type { ModelDocument, ModelsDocument } from '../server/documents.ts';
import { type Answering, beginAnswer } from './answering.ts';
import {
  type AttachedFile,
  type Conversation,
  changed,
  choosing,
  messagesOf,
  newConversation,
  newId,
  type Settings,
  shownPath,
  type Turn,
  userTurn,
  withTurn,
} from './conversation.ts';
import { type History, openHistory, type Summary } from './history.ts';
import { recall, remember } from './preferences.ts';

export const conversation = signal<Conversation>(newConversation());
export const summaries = signal<readonly Summary[]>([]);
export const answering = signal<Answering | undefined>(undefined);
export const models = signal<readonly ModelDocument[]>([]);
export const modelName = signal(recall('model') ?? '');
export const key = signal(recall('key') ?? '');
/** Why the server lets nobody in, or that it is not there; empty when all is well. */
export const trouble = signal<'' | 'key' | 'gone'>('');
/** Said to whoever cannot see what has changed. */
export const announcement = signal('');
/** Whether this browser keeps conversations; undefined while that is not known. */
export const keeps = signal<boolean | undefined>(undefined);

export const path = computed(() => shownPath(conversation.value));
export const model = computed(() => models.value.find(({ id }) => id === modelName.value));
/** Whether something may be said: the kept conversation is shown, and there is a model to answer. */
export const ready = computed(() => keeps.value !== undefined && model.value !== undefined);

let history: History | undefined;
/** As it was last written, for what has changed since. */
let kept: Conversation | undefined;
/** Conversations that an answer which still ends must not bring back. */
const forgotten = new Set<string>();
let retry: number | undefined;

/** Reads the history and the models. */
export async function start(): Promise<void> {
  history = await openHistory().catch(() => undefined);
  if (history !== undefined) {
    summaries.value = await history.list();
    const last = recall('conversation');
    const loaded = last === undefined ? undefined : await history.load(last);
    if (loaded) show(loaded);
  }
  keeps.value = history !== undefined;
  await refreshModels();
  setInterval(() => {
    if (!document.hidden && trouble.value === '') void refreshModels();
  }, LOOK_MS);
}

/** Models come and go by themselves, and servers too. */
const LOOK_MS = 5000;
const RETRY_MS = 1000;

/** Asks which models there are; again and again while the server is away. */
export async function refreshModels(): Promise<void> {
  try {
    const { data } = await ask<ModelsDocument>('/v1/models', { key: key.value });
    batch(() => {
      models.value = data;
      trouble.value = '';
      if (!data.some(({ id }) => id === modelName.value)) modelName.value = data[0]?.id ?? '';
    });
  } catch (error) {
    const { status } = error as ServerError;
    if (status === 401) trouble.value = 'key';
    else {
      trouble.value = 'gone';
      clearTimeout(retry);
      retry = window.setTimeout(() => void refreshModels(), RETRY_MS);
    }
  }
}

/** Takes a key, and keeps it for this window, or in this browser. */
export async function useKey(secret: string, stays: boolean): Promise<void> {
  key.value = secret.trim();
  remember('key', key.value, stays);
  await refreshModels();
}

export function chooseModel(name: string): void {
  modelName.value = name;
  remember('model', name);
}

function show(next: Conversation): void {
  conversation.value = next;
  kept = next;
  remember('conversation', next.id);
}

/** Shows another conversation. */
export async function open(id: string): Promise<void> {
  const next = await history?.load(id);
  if (next === undefined) return;
  const running = answering.value;
  // What is being written is newer than what was kept of it.
  show(running?.conversationId === id ? reopened(next, running) : next);
}

function reopened(next: Conversation, { turnId }: Answering): Conversation {
  const unended = ({ end: _end, ...turn }: Turn): Turn => turn;
  return { ...next, turns: next.turns.map((turn) => (turn.id === turnId ? unended(turn) : turn)) };
}

/** Begins an empty conversation with the settings of this one. */
export function startOver(): void {
  const { settings } = conversation.value;
  conversation.value = newConversation(settings);
  kept = undefined;
  remember('conversation', '');
}

/** Changes the conversation and writes it. */
async function update(next: Conversation): Promise<void> {
  const before = kept?.id === next.id ? kept : undefined;
  if (conversation.value.id === next.id) {
    conversation.value = next;
    kept = next;
  }
  if (next.turns.length === 0) return;
  remember('conversation', conversation.value.id);
  await history?.save(next, before);
  summaries.value = (await history?.list()) ?? [];
}

export function changeSettings(
  change: Partial<Record<keyof Settings, Settings[keyof Settings] | undefined>>,
): void {
  const { settings } = conversation.value;
  const next = Object.entries({ ...settings, ...change }).filter(
    ([, value]) => value !== undefined && value !== '',
  );
  void update({ ...conversation.value, settings: Object.fromEntries(next) as Settings });
}

/** Says something at the end of the shown path, and asks for an answer. */
export async function send(content: string, files: readonly AttachedFile[]): Promise<void> {
  await say(userTurn(path.value.at(-1)?.id, content, files));
}

/** Says it differently: a branch beside the turn. */
export async function edit(turn: Turn, content: string): Promise<void> {
  await say(userTurn(turn.parent, content, turn.files));
}

/** Gives the results of a tool's calls back. */
export async function giveResults(answer: Turn, results: readonly string[]): Promise<void> {
  let parent = answer.id;
  let next = conversation.value;
  for (const [i, call] of (answer.calls ?? []).entries()) {
    const content = results[i] ?? '';
    const turn: Turn = { ...userTurn(parent, content), role: 'tool', callId: call.id };
    next = withTurn(next, turn);
    parent = turn.id;
  }
  await update(next);
  await answerAfter(parent);
}

/** Asks again for an answer: a branch beside the turn. */
export async function regenerate(turn: Turn, settings: Settings = {}): Promise<void> {
  if (turn.parent !== undefined) await answerAfter(turn.parent, settings);
}

export async function chooseTurn(turn: Turn): Promise<void> {
  await update(choosing(conversation.value, turn));
}

async function say(turn: Turn): Promise<void> {
  await update(withTurn(conversation.value, turn));
  await answerAfter(turn.id);
}

/** How often what has been written is kept while it is written. */
const KEEP_MS = 1000;

async function answerAfter(parent: string, more: Settings = {}): Promise<void> {
  if (answering.value !== undefined) return;
  const before = shownUpTo(conversation.value, parent);
  const turn: Turn = {
    id: newId(),
    parent,
    role: 'assistant',
    content: '',
    atMs: Date.now(),
    model: modelName.value,
  };
  const settings = { ...conversation.value.settings, ...more };
  // The turn is there before its answer begins: whoever looks for the answer finds its place.
  const next = withTurn(conversation.value, turn);
  const running = beginAnswer({
    turnId: turn.id,
    conversationId: next.id,
    key: key.value,
    model: modelName.value,
    messages: messagesOf(before, settings),
    settings,
  });
  answering.value = running;
  announcement.value = 'The answer is being written.';
  await update(next);
  const keeping = setInterval(() => void keepPart(turn, running), KEEP_MS);
  const end = await running.ended;
  clearInterval(keeping);
  await finish(next, running, end);
}

/** The path from the first turn to this one. */
function shownUpTo({ turns }: Conversation, id: string): readonly Turn[] {
  const byId = new Map(turns.map((turn) => [turn.id, turn]));
  const up: Turn[] = [];
  for (let turn = byId.get(id); turn; turn = byId.get(turn.parent ?? '')) up.unshift(turn);
  return up;
}

/** Writes what has come so far, so that a reload loses no more than a second of it. */
async function keepPart(turn: Turn, { conversationId, progress }: Answering): Promise<void> {
  const { content, reasoning } = progress.peek();
  if (!forgotten.has(conversationId))
    await history?.keepTurn(conversationId, { ...turn, content, reasoning });
}

async function finish(before: Conversation, running: Answering, end: Partial<Turn>): Promise<void> {
  // Whoever looks at another conversation meanwhile goes on looking at it.
  const here = conversation.value.id === running.conversationId;
  const current = here ? conversation.value : ((await history?.load(running.conversationId)) ?? before);
  const next = { ...changed(current, running.turnId, end), updatedMs: Date.now() };
  batch(() => {
    answering.value = undefined;
    if (here) conversation.value = next;
  });
  if (forgotten.has(running.conversationId)) return;
  announcement.value = end.end === 'failed' ? `The answer failed: ${end.error}` : 'The answer is complete.';
  await update(next);
  await refreshModels();
}

/** Ends the answer that is being written; what was said stays. */
export function stop(): void {
  answering.value?.stop();
}

/** Forgets a conversation. */
export async function forget(id: string): Promise<void> {
  forgotten.add(id);
  if (answering.value?.conversationId === id) stop();
  await history?.remove(id);
  if (conversation.value.id === id) startOver();
  summaries.value = (await history?.list()) ?? [];
}

/** Forgets all of them. */
export async function forgetAll(): Promise<void> {
  for (const { id } of summaries.value) forgotten.add(id);
  stop();
  await history?.clear();
  startOver();
  summaries.value = [];
}

/** Ids of conversations that hold the words; undefined for no words. */
export async function found(words: string): Promise<ReadonlySet<string> | undefined> {
  return words.trim() === '' ? undefined : await history?.search(words);
}

/** A conversation in full, for exporting. */
export async function whole(id: string): Promise<Conversation | undefined> {
  return await history?.load(id);
}
