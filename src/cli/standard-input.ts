/**
 * Owns: reading a prompt from standard input, and when to.
 * Refuses to know: what the prompt is for.
 */
import { fstatSync } from 'node:fs';
import { HadalError } from '../error.ts';
import type { Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';

/** More than any context holds; keeps a wrong redirect from filling the memory. */
const LONGEST_INPUT_BYTES = 64 << 20;

/**
 * The prompt of a command: its words, standard input, or both with an empty line between.
 *
 * Without words, anything but a terminal is read. With words, only a pipe or a redirected file is: other kinds (a
 * socket, /dev/null) may never end and were hardly meant. Undefined when there are no words and no input to read.
 *
 * @throws HadalError `usage` for empty input without words, `input-invalid` for bytes that are not UTF-8.
 */
export async function promptFrom(
  words: readonly string[],
  { stdin, terminal, interruption }: Pick<Surroundings, 'stdin' | 'terminal' | 'interruption'>,
): Promise<string | undefined> {
  const typed = words.join(' ');
  if (words.length === 0 && terminal.inIsTerminal) return undefined;
  const reads = !terminal.inIsTerminal && (words.length === 0 || isPipeOrFile(stdin.fd ?? 0));
  const piped = reads ? (await readAll(stdin, interruption.signal)).replace(/\r?\n$/, '') : '';
  if (typed === '' && piped === '') {
    throw usageError({
      what: 'the prompt',
      expected: 'words after the model, or text on standard input',
      got: 'neither',
    });
  }
  return [typed, piped].filter((text) => text !== '').join('\n\n');
}

function isPipeOrFile(descriptor: number): boolean {
  try {
    const facts = fstatSync(descriptor);
    return facts.isFIFO() || facts.isFile();
  } catch {
    return false;
  }
}

async function readAll(stdin: Surroundings['stdin'], signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const stop = () => stdin.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    for await (const chunk of stdin) {
      chunks.push(chunk as Buffer);
      bytes += (chunk as Buffer).length;
      if (bytes > LONGEST_INPUT_BYTES) throw invalid('at most 64 MB of text', 'more');
    }
  } finally {
    signal.removeEventListener('abort', stop);
  }
  signal.throwIfAborted();
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw invalid('UTF-8 text', 'other bytes');
  }
}

function invalid(expected: string, got: string): HadalError {
  return new HadalError('input-invalid', { what: 'standard input', expected, got });
}
