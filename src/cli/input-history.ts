/**
 * Owns: the file that keeps what was typed in chats.
 * Refuses to know: line editing.
 */
import { closeSync, fchmodSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

const MOST_LINES = 1_000;

/** Lines that were typed before, newest first. */
export interface InputHistory {
  readonly lines: readonly string[];
  /** Keeps these lines, newest first. A folder that cannot be written keeps nothing, without complaint. */
  save(lines: readonly string[]): void;
}

/**
 * The history of `$XDG_STATE_HOME/hadal/history`, readable by its owner alone.
 *
 * @example const history = openHistory(process.env);
 */
export function openHistory(env: Readonly<Record<string, string | undefined>>): InputHistory {
  const path = join(env.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'hadal', 'history');
  return {
    lines: readLines(path),
    save(lines) {
      try {
        mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
        const file = openSync(path, 'w', 0o600);
        try {
          // The mode above counts only for a new file.
          fchmodSync(file, 0o600);
          writeFileSync(file, `${lines.slice(0, MOST_LINES).toReversed().join('\n')}\n`);
        } finally {
          closeSync(file);
        }
      } catch {
        // A history is a convenience: the chat goes on without it.
      }
    },
  };
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter(Boolean).toReversed().slice(0, MOST_LINES);
  } catch {
    return [];
  }
}
