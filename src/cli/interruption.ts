/**
 * Owns: what Ctrl-C and SIGTERM do to a running command.
 * Refuses to know: what the command is doing.
 */
import { HadalError } from '../error.ts';

/** How long a command may take to stop by itself, unless it asks for more. */
const GRACE_MS = 3_000;

/** The way a command learns that it is to stop. */
export interface Interruption {
  /** Aborted with a HadalError `interrupted` or `terminated`. */
  readonly signal: AbortSignal;
  /** Handles Ctrl-C itself until the returned function is called (the chat does). */
  capture(onInterrupt: () => void): () => void;
  /** Lets the command take longer to stop by itself. */
  allow(ms: number): void;
}

/**
 * Listens to the process's signals. The first Ctrl-C asks the command to stop; a second one, or three seconds (or what the command asked for), ends it.
 *
 * @example const interruption = listen(process); work({ signal: interruption.signal });
 */
export function listen(of: NodeJS.Process): Interruption {
  const controller = new AbortController();
  const captured: (() => void)[] = [];
  let graceMs = GRACE_MS;
  const stop = (code: 'interrupted' | 'terminated', exitCode: number) => {
    if (controller.signal.aborted) of.exit(exitCode);
    controller.abort(new HadalError(code, { what: code }));
    setTimeout(() => of.exit(exitCode), graceMs).unref();
  };
  of.on('SIGINT', () => {
    const handler = captured.at(-1);
    if (handler === undefined) stop('interrupted', 130);
    else handler();
  });
  of.on('SIGTERM', () => stop('terminated', 143));
  return {
    signal: controller.signal,
    allow(ms) {
      graceMs = ms;
    },
    capture(onInterrupt) {
      captured.push(onInterrupt);
      return () => {
        const at = captured.lastIndexOf(onInterrupt);
        if (at >= 0) captured.splice(at, 1);
      };
    },
  };
}
