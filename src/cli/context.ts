/**
 * Owns: what every command gets from main: the terminal, the environment, the way to be interrupted.
 * Refuses to know: any one command.
 */
import type { Readable } from 'node:stream';
import type { Interruption } from './interruption.ts';
import type { Terminal } from './terminal.ts';

/** The surroundings of a command. */
export interface Surroundings {
  readonly terminal: Terminal;
  readonly interruption: Interruption;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: Readable & { readonly fd?: number };
}

/** What a command file exports beside its citty definition. */
export interface CommandText {
  /** The line after `usage:`, without `hadal`. */
  readonly usage: string;
  readonly examples: readonly string[];
}
