/**
 * Owns: reading a person's messages from a terminal: line editing, several lines, history, Ctrl-C and Ctrl-D.
 * Refuses to know: what is done with a message.
 */
import { createInterface, type Interface } from 'node:readline';
import type { ReadStream, WriteStream } from 'node:tty';

/** What came of asking for a message. */
export type Input =
  | { readonly kind: 'message'; readonly text: string }
  /** Ctrl-C at the prompt: whatever was typed is gone. `empty` when nothing had been typed. */
  | { readonly kind: 'interrupt'; readonly empty: boolean }
  /** Ctrl-D, or the terminal went away. */
  | { readonly kind: 'end' };

/** What a chat's input needs. */
export interface ChatInputOptions {
  readonly stdin: ReadStream;
  readonly stdout: WriteStream;
  /** Earlier lines, newest first. */
  readonly history: readonly string[];
  /** Told all lines, newest first, after each one. */
  readonly onHistory?: (lines: readonly string[]) => void;
}

const FENCE = '"""';
const PASTE_ON = '\u001b[?2004h';
const PASTE_OFF = '\u001b[?2004l';

/**
 * Lines become one message here: a backslash at the end of a line, a fence of three double quotes, or a paste.
 *
 * @example
 * const assembler = new MessageAssembler();
 * assembler.line('one \\'); // undefined: more to come
 * assembler.line('two');    // 'one \ntwo'
 */
export class MessageAssembler {
  #lines: string[] = [];
  #fenced = false;

  /** Whether a message has been begun and not ended. */
  get open(): boolean {
    return this.#lines.length > 0 || this.#fenced;
  }

  /** Takes a line; the message when it ends one. `pasting` lines never do. */
  line(line: string, pasting = false): string | undefined {
    if (this.#fenced) {
      const end = line.trimEnd().endsWith(FENCE);
      if (!end) {
        this.#lines.push(line);
        return undefined;
      }
      const rest = line.trimEnd().slice(0, -FENCE.length);
      return this.#finish(rest === '' ? [] : [rest]);
    }
    if (!this.open && line.trimStart().startsWith(FENCE)) {
      const rest = line.trimStart().slice(FENCE.length);
      if (rest.trimEnd().endsWith(FENCE)) return this.#finish([rest.trimEnd().slice(0, -FENCE.length)]);
      this.#fenced = true;
      if (rest !== '') this.#lines.push(rest);
      return undefined;
    }
    if (pasting || line.endsWith('\\')) {
      this.#lines.push(pasting ? line : line.slice(0, -1));
      return undefined;
    }
    return this.#finish([line]);
  }

  /** Forgets what was begun. */
  clear(): void {
    this.#lines = [];
    this.#fenced = false;
  }

  #finish(last: readonly string[]): string {
    const text = [...this.#lines, ...last].join('\n');
    this.clear();
    return text;
  }
}

/**
 * A person's side of a chat.
 *
 * @example
 * const input = new ChatInput({ stdin, stdout, history: [] });
 * const said = await input.ask('> ');
 */
export class ChatInput {
  readonly #reader: Interface;
  readonly #stdin: ReadStream;
  readonly #stdout: WriteStream;
  readonly #assembler = new MessageAssembler();
  readonly #waiting: string[] = [];
  #pasting = false;
  #ended = false;
  #closed = false;
  #prompt = '> ';
  #settle: ((input: Input) => void) | undefined;

  constructor(options: ChatInputOptions) {
    const { stdin, stdout, history, onHistory } = options;
    this.#stdin = stdin;
    this.#stdout = stdout;
    this.#reader = createInterface({
      input: stdin,
      output: stdout,
      terminal: true,
      history: [...history],
      historySize: 1_000,
      removeHistoryDuplicates: true,
    });
    stdin.on('keypress', this.#onKey);
    this.#reader.on('history', (lines) => onHistory?.(lines));
    this.#reader.on('line', (line) => this.#onLine(line));
    this.#reader.on('SIGINT', () => this.#onInterrupt());
    this.#reader.on('close', () => {
      this.#ended = true;
      this.#give({ kind: 'end' });
    });
    stdout.write(PASTE_ON);
    this.pause();
  }

  /** The next message. What was typed ahead comes first. */
  async ask(prompt: string): Promise<Input> {
    this.#prompt = prompt;
    const ahead = this.#waiting.shift();
    if (ahead !== undefined) {
      this.#stdout.write(`${prompt}${ahead}\n`);
      return { kind: 'message', text: ahead };
    }
    if (this.#ended) return { kind: 'end' };
    const asked = new Promise<Input>((resolve) => {
      this.#settle = resolve;
    });
    this.#stdin.setRawMode(true);
    this.#reader.setPrompt(this.#assembler.open ? this.#continuation() : prompt);
    this.#reader.prompt();
    const input = await asked;
    this.pause();
    return input;
  }

  /** Gives the terminal back while an answer is written: Ctrl-C is a signal then. */
  pause(): void {
    if (this.#ended) return;
    this.#reader.pause();
    this.#stdin.setRawMode(false);
  }

  /** Gives the terminal back for good; whoever waits for a message gets `end`. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stdin.off('keypress', this.#onKey);
    this.#stdout.write(PASTE_OFF);
    this.#reader.close();
  }

  readonly #onKey = (_text: string | undefined, key: { name?: string } | undefined): void => {
    if (key?.name === 'paste-start') this.#pasting = true;
    if (key?.name === 'paste-end') this.#pasting = false;
  };

  #onLine(line: string): void {
    const text = this.#assembler.line(line, this.#pasting);
    if (text !== undefined) {
      if (this.#settle === undefined) this.#waiting.push(text);
      else this.#give({ kind: 'message', text });
      return;
    }
    this.#reader.setPrompt(this.#pasting ? '' : this.#continuation());
    if (!this.#pasting) this.#reader.prompt();
  }

  #onInterrupt(): void {
    const empty = this.#reader.line === '' && !this.#assembler.open;
    this.#assembler.clear();
    this.#pasting = false;
    this.#stdout.write('\n');
    // The way to empty the line that the reader is editing.
    this.#reader.write(null, { ctrl: true, name: 'e' });
    this.#reader.write(null, { ctrl: true, name: 'u' });
    this.#give({ kind: 'interrupt', empty });
  }

  #give(input: Input): void {
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.(input);
  }

  #continuation(): string {
    return '.'.repeat(Math.max(1, this.#prompt.trimEnd().length)).padEnd(this.#prompt.length);
  }
}
