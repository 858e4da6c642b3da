/**
 * Owns: talking with an engine in a process of its own: one question at a time, one answer each.
 * Refuses to know: which engine it is, what is asked.
 */
import { fork } from 'node:child_process';
import { readFileSync } from 'node:fs';

/**
 * Answers the questions of the parent process with the handler of the question's name.
 *
 * @param {Record<string, (question: any) => Promise<object | undefined> | object | undefined>} handlers
 * @example answerParent({ open: ({ model }) => load(model) });
 */
export function answerParent(handlers) {
  process.on('message', async ({ ask, ...question }) => {
    try {
      process.send?.({ answer: (await handlers[ask]?.(question)) ?? {} });
    } catch (error) {
      process.send?.({ problem: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    }
  });
  process.on('disconnect', () => process.exit(0));
}

/**
 * Starts the process of an engine.
 *
 * @param {URL} file its main file, which calls {@link answerParent}
 * @returns {{ ask(name: string, question?: object): Promise<any>, close(): Promise<void> }}
 * @example const child = startChild(new URL('./drive-hadal.mjs', import.meta.url)); await child.ask('open', { model });
 */
export function startChild(file) {
  const child = fork(file, [], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  let words = '';
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    words = (words + text).slice(-2000);
  });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  return {
    ask(name, question = {}) {
      return new Promise((resolve, reject) => {
        const ended = (code) => reject(new Error(`the engine's process ended with ${code}: ${words.trim()}`));
        child.once('exit', ended);
        child.once('message', (message) => {
          child.off('exit', ended);
          if ('problem' in message) reject(new Error(message.problem));
          else resolve(message.answer);
        });
        child.send({ ask: name, ...question });
      });
    },
    async close() {
      if (child.exitCode === null && child.signalCode === null) child.kill();
      await gone;
    },
  };
}

/** The most memory that a process, this one otherwise, ever had, in bytes; undefined where the system does not say. */
export function peakBytes(pid = 'self') {
  try {
    const found = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return found ? Number(found[1]) * 1024 : undefined;
  } catch {
    return undefined;
  }
}

/** Token ids that look random, the same for a seed, none of them among the first (which are often special). */
export function someIds(count, vocab, seed) {
  let state = (seed * 2654435761) >>> 0 || 1;
  return Int32Array.from({ length: count }, () => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return 300 + (state % (Math.min(vocab, 30_000) - 300));
  });
}
