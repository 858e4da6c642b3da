/**
 * Owns: conversations in this browser's own database: kept, listed, searched, deleted.
 * Refuses to know: what is shown, the server. Nothing of it leaves the browser.
 */
import type { Conversation, Turn } from './conversation.ts';

/** A conversation without its turns. */
export type Summary = Omit<Conversation, 'turns'>;

type KeptTurn = Turn & { readonly conversation: string };

const NAME = 'hadal';
const VERSION = 1;

/** The history. */
export interface History {
  /** The last one first. */
  list(): Promise<readonly Summary[]>;
  load(id: string): Promise<Conversation | undefined>;
  /** Writes what has changed since `before`. */
  save(conversation: Conversation, before?: Conversation): Promise<void>;
  /** Writes one turn of a conversation that is kept already. */
  keepTurn(conversation: string, turn: Turn): Promise<void>;
  remove(id: string): Promise<void>;
  clear(): Promise<void>;
  /** Ids of the conversations that hold all the words, in their titles or turns. */
  search(words: string): Promise<ReadonlySet<string>>;
}

/** Opens the history. Rejects where the browser keeps nothing, as in some private windows. */
export async function openHistory(): Promise<History> {
  const opening = indexedDB.open(NAME, VERSION);
  opening.onupgradeneeded = () => {
    opening.result.createObjectStore('conversations', { keyPath: 'id' });
    const turns = opening.result.createObjectStore('turns', { keyPath: 'id' });
    turns.createIndex('conversation', 'conversation');
  };
  return historyOf(await settled(opening));
}

function historyOf(database: IDBDatabase): History {
  const change = (work: (conversations: IDBObjectStore, turns: IDBObjectStore) => void): Promise<void> => {
    const transaction = database.transaction(['conversations', 'turns'], 'readwrite');
    work(transaction.objectStore('conversations'), transaction.objectStore('turns'));
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
    });
  };
  const read = (store: string) => database.transaction(store).objectStore(store);
  return {
    async list() {
      const all: Summary[] = await settled(read('conversations').getAll());
      return all.toSorted((a, b) => b.updatedMs - a.updatedMs);
    },
    async load(id) {
      const summary: Summary | undefined = await settled(read('conversations').get(id));
      if (summary === undefined) return undefined;
      const turns: KeptTurn[] = await settled(read('turns').index('conversation').getAll(id));
      return { ...summary, turns: turns.toSorted((a, b) => a.atMs - b.atMs).map(unkept) };
    },
    save(conversation, before) {
      const { turns, ...summary } = conversation;
      const known = new Set(before?.turns);
      return change((conversations, kept) => {
        conversations.put(summary);
        for (const turn of turns) if (!known.has(turn)) kept.put({ ...turn, conversation: conversation.id });
      });
    },
    keepTurn: (conversation, turn) => change((_, turns) => void turns.put({ ...turn, conversation })),
    remove(id) {
      return change((conversations, turns) => {
        conversations.delete(id);
        const keys = turns.index('conversation').getAllKeys(id);
        keys.onsuccess = () => {
          for (const key of keys.result) turns.delete(key);
        };
      });
    },
    clear: () =>
      change((conversations, turns) => {
        conversations.clear();
        turns.clear();
      }),
    async search(words) {
      const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
      const missing = new Map<string, Set<string>>();
      const look = (id: string, text: string) => {
        const left = missing.get(id) ?? new Set(wanted);
        missing.set(id, left);
        for (const word of left) if (text.includes(word)) left.delete(word);
      };
      for (const { id, title } of (await settled(read('conversations').getAll())) as Summary[])
        look(id, title.toLowerCase());
      await walk<KeptTurn>(read('turns'), ({ conversation, content, files = [] }) => {
        look(conversation, content.toLowerCase());
        for (const { name, text } of files) look(conversation, `${name} ${text}`.toLowerCase());
      });
      return new Set([...missing].filter(([, left]) => left.size === 0).map(([id]) => id));
    },
  };
}

/** An answer that was being written when the page went away ended there. */
function unkept({ conversation: _conversation, ...turn }: KeptTurn): Turn {
  return turn.role === 'assistant' && turn.end === undefined ? { ...turn, end: 'stopped' } : turn;
}

/** One by one: a history may be larger than what one wants in memory at once. */
function walk<T>(store: IDBObjectStore, visit: (value: T) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const cursor = store.openCursor();
    cursor.onerror = () => reject(cursor.error);
    cursor.onsuccess = () => {
      if (cursor.result === null) return resolve();
      visit(cursor.result.value as T);
      cursor.result.continue();
    };
  });
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
