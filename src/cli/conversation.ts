/**
 * Owns: the messages of a chat and their form in a file.
 * Refuses to know: the terminal, how answers are made.
 */
import { readFile, writeFile } from 'node:fs/promises';
import type { Message } from '../chat/delta.ts';
import { HadalError } from '../error.ts';

/**
 * The messages of a chat, the system message apart.
 *
 * @example
 * const conversation = new Conversation('Be brief.');
 * conversation.say('Hi');
 * conversation.messages; // [{ role: 'system', … }, { role: 'user', … }]
 */
export class Conversation {
  #system: string | undefined;
  #turns: Message[] = [];

  constructor(system?: string) {
    this.#system = system;
  }

  get system(): string | undefined {
    return this.#system;
  }

  /** Changes the system message and forgets the rest. */
  restart(system: string | undefined): void {
    this.#system = system;
    this.#turns = [];
  }

  get messages(): readonly Message[] {
    return this.#system === undefined
      ? this.#turns
      : [{ role: 'system', content: this.#system }, ...this.#turns];
  }

  /** What was said last by the user, and the conversation taken back to before it; undefined when nothing was. */
  takeLastQuestion(): string | undefined {
    const at = this.#turns.findLastIndex(({ role }) => role === 'user');
    if (at < 0) return undefined;
    const question = this.#turns[at]?.content;
    this.#turns = this.#turns.slice(0, at);
    return question;
  }

  say(content: string): void {
    this.#turns.push({ role: 'user', content });
  }

  /** @param reasoning what was thought before it; formats that want it back get it back */
  answer(content: string, reasoning = ''): void {
    this.#turns.push({ role: 'assistant', content, ...(reasoning === '' ? {} : { reasoning }) });
  }

  /** @throws HadalError `file-exists` or `file-unwritable` */
  async save(path: string): Promise<void> {
    try {
      await writeFile(path, `${JSON.stringify(this.messages, null, 2)}\n`, { flag: 'wx' });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') {
        const next = 'choose another name';
        throw new HadalError('file-exists', {
          what: path,
          expected: 'a new file',
          got: 'one that exists',
          next,
        });
      }
      throw new HadalError('file-unwritable', {
        what: path,
        expected: 'a file that can be written',
        got: `${code}`,
      });
    }
  }

  /** Takes over the messages of a file. @throws HadalError `file-unreadable` or `conversation-invalid` */
  async load(path: string): Promise<void> {
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      throw new HadalError('file-unreadable', {
        what: path,
        expected: 'a saved conversation',
        got: `${error.code}`,
      });
    });
    const messages = parseMessages(text, path);
    const [first] = messages;
    this.#system = first?.role === 'system' ? first.content : undefined;
    this.#turns = first?.role === 'system' ? messages.slice(1) : messages;
  }
}

function parseMessages(text: string, path: string): Message[] {
  const invalid = (got: string) =>
    new HadalError('conversation-invalid', {
      what: path,
      expected: 'a JSON list of {"role": "system" | "user" | "assistant", "content": text}',
      got,
    });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw invalid('no JSON');
  }
  if (!Array.isArray(json)) throw invalid('no list');
  return json.map((item: unknown, index): Message => {
    const { role, content, reasoning } = (item ?? {}) as Record<string, unknown>;
    if ((role !== 'system' && role !== 'user' && role !== 'assistant') || typeof content !== 'string') {
      throw invalid(`something else at ${index + 1}`);
    }
    if (role === 'system' && index > 0) throw invalid(`a second system message at ${index + 1}`);
    return { role, content, ...(typeof reasoning === 'string' ? { reasoning } : {}) };
  });
}
