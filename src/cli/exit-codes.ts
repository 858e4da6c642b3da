/**
 * Owns: the exit codes of the command and which failure has which.
 * Refuses to know: what failed.
 */
import { type Complaint, HadalError } from '../error.ts';

/** Exit codes and what they mean, as the help and the guide list them. */
export const EXIT_CODES = [
  { code: 0, means: 'done; also when the reader of a pipe went away' },
  { code: 1, means: 'it failed; the sentence on standard error says why' },
  { code: 2, means: 'the command line is wrong' },
  { code: 3, means: '`audit`: look at the file before you load it' },
  { code: 4, means: '`audit`: do not load the file' },
  { code: 130, means: 'interrupted by Ctrl-C' },
  { code: 143, means: 'ended by SIGTERM' },
] as const;

/**
 * An error of the person at the keyboard: exit code 2.
 *
 * @example throw usageError({ what: '--seed', expected: 'a whole number', got: '"x"' });
 */
export function usageError(complaint: Complaint): HadalError {
  return new HadalError('usage', complaint);
}

/**
 * The exit code of a failure.
 *
 * @example process.exitCode = exitCodeOf(error);
 */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof HadalError)) return 1;
  if (error.code === 'usage') return 2;
  if (error.code === 'interrupted') return 130;
  return error.code === 'terminated' ? 143 : 1;
}
