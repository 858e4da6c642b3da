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
  /** From now on signals are only handed on, to another process that runs the command; hanging up too. */
  pass(to: (signal: NodeJS.Signals) => void): void;
}

/** Signals by which a command is asked to stop. */
type Stop = 'SIGINT' | 'SIGTERM';

/**
 * Listens to the process's signals. The first Ctrl-C asks the command to stop; a second one, or three seconds (or what the command asked for), ends it.
 *
 * @param hear hears of signals that another process got and hands on. A terminal sends both of them the same one: of a kind
 *   there were as many as the one that got more of them says.
 * @example const interruption = listen(process); work({ signal: interruption.signal });
 */
export function listen(of: NodeJS.Process, hear?: (heard: (signal: Stop) => void) => void): Interruption {
  const controller = new AbortController();
  const captured: (() => void)[] = [];
  let graceMs = GRACE_MS;
  let handedTo: ((signal: NodeJS.Signals) => void) | undefined;
  const counts = { SIGINT: [0, 0], SIGTERM: [0, 0] } as Record<Stop, [own: number, handedOn: number]>;
  const stop = (code: 'interrupted' | 'terminated', exitCode: number) => {
    if (controller.signal.aborted) of.exit(exitCode);
    controller.abort(new HadalError(code, { what: code }));
    setTimeout(() => of.exit(exitCode), graceMs).unref();
  };
  const act: Record<Stop, () => void> = {
    SIGINT() {
      const handler = captured.at(-1);
      if (handler === undefined) stop('interrupted', 130);
      else handler();
    },
    SIGTERM: () => stop('terminated', 143),
  };
  const got = (signal: Stop, way: 0 | 1) => {
    const count = counts[signal];
    const before = Math.max(...count);
    count[way]++;
    if (handedTo !== undefined) handedTo(signal);
    else if (count[way] > before) act[signal]();
  };
  for (const signal of Object.keys(act) as Stop[]) of.on(signal, () => got(signal, 0));
  hear?.((signal) => got(signal, 1));
  return {
    signal: controller.signal,
    allow(ms) {
      graceMs = ms;
    },
    pass(to) {
      handedTo = to;
      of.on('SIGHUP', () => to('SIGHUP'));
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
