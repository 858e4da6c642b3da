/**
 * Owns: writing to standard output and standard error: colours, JSON documents, a line of progress, closed pipes.
 * Refuses to know: what is written.
 */
import type { WriteStream } from 'node:tty';

/** What a command writes with. */
export interface Terminal {
  /** Results. */
  out(text: string): void;
  /** Everything else. */
  err(text: string): void;
  /** Exactly one document on standard output. */
  json(document: unknown): void;
  dim(text: string): string;
  bold(text: string): string;
  /** Whether a person sees standard error. */
  readonly errIsTerminal: boolean;
  readonly outIsTerminal: boolean;
  readonly inIsTerminal: boolean;
  /** A line of progress that replaces itself; empty text removes it. Nothing unless a person sees it. */
  progress(text: string): void;
}

/**
 * The terminal of this process. When the reader of standard output goes away, the process ends quietly with 0.
 *
 * @example const terminal = openTerminal(process); terminal.out('done\n');
 */
export function openTerminal(of: NodeJS.Process): Terminal {
  const { stdout, stderr, env } = of;
  const errIsTerminal = stderr.isTTY === true;
  const colour = errIsTerminal && !env.NO_COLOR && env.TERM !== 'dumb';
  let progressShown = false;
  const clear = () => {
    if (progressShown) stderr.write(env.TERM === 'dumb' ? '\n' : '\r\u001b[2K');
    progressShown = false;
  };
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') {
      of.exit(0);
      return;
    }
    // No exception: nothing could catch it here, and standard output can take no document any more.
    stderr.write(
      `hadal: standard output: expected it to take the text, got ${error.code ?? error.message}\n`,
    );
    of.exit(1);
  });
  stderr.on('error', () => undefined);
  return {
    out(text) {
      clear();
      stdout.write(text);
    },
    err(text) {
      clear();
      stderr.write(text);
    },
    json(document) {
      clear();
      stdout.write(`${JSON.stringify(document, withoutBigint, 2)}\n`);
    },
    dim: (text) => (colour ? `\u001b[2m${text}\u001b[22m` : text),
    bold: (text) => (colour ? `\u001b[1m${text}\u001b[22m` : text),
    errIsTerminal,
    outIsTerminal: stdout.isTTY === true,
    inIsTerminal: of.stdin.isTTY === true,
    progress(text) {
      if (!errIsTerminal) return;
      if (text === '') {
        clear();
        return;
      }
      if (env.TERM === 'dumb') return;
      const width = (stderr as WriteStream).columns || 80;
      stderr.write(`\r\u001b[2K${text.slice(0, width - 1)}`);
      progressShown = true;
    },
  };
}

/** Integers beyond the safe range are written as text, so that no digit is lost. */
function withoutBigint(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return Array.from(value as Uint8Array);
  return value;
}

/**
 * Shows how far something is, but only once it has taken a second, and at most ten times a second.
 *
 * @example
 * const show = slowProgress(terminal);
 * show(() => `loading 40 %`);
 */
export function slowProgress(terminal: Terminal, quietMs = 1_000): (text: () => string) => void {
  const startedMs = performance.now();
  let shownMs = 0;
  return (text) => {
    const nowMs = performance.now();
    if (nowMs - startedMs < quietMs || nowMs - shownMs < 100) return;
    shownMs = nowMs;
    terminal.progress(text());
  };
}
