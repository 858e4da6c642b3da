/**
 * Owns: running a network over bytes and tokens: all the places where a text may be at once.
 * Refuses to know: vocabularies, masks, JSON.
 *
 * Calls of one rule from the same position share one frame with several returns (a graph-structured stack), so that
 * alternatives which begin alike do not multiply.
 */
import { HadalError } from '../../error.ts';
import { DEAD, stepByte } from './automaton.ts';
import { MOST_DEPTH, type Network, type Place, type Span } from './network.ts';

/** A call that is going on. */
export interface Frame {
  readonly id: number;
  readonly depth: number;
  readonly returns: { readonly next: number; readonly frame: Frame }[];
  /** Of a loop: its place, and how many parts are done when this one is. */
  readonly loop?: number;
  readonly count: number;
}

type TextPlace = Extract<Place, { kind: 'text' }>;
type TokenPlace = Extract<Place, { kind: 'token' }>;

/** One of the places where a text may be: inside of a text place, or before a token. */
export interface Thread {
  readonly place: number;
  readonly at: TextPlace | TokenPlace;
  /** Of the automaton. */
  readonly state: number;
  /** Characters of the JSON string so far. */
  readonly count: number;
  readonly frame: Frame;
}

/** Most threads at once. */
const MOST_THREADS = 20_000;

/** A network that is being run. */
interface Run {
  readonly network: Network;
  /** Given to frames so far. */
  lastFrameId: number;
}

/** All the places where a text may be. What follows them is worked out when it is asked for, and kept. */
export class Threads {
  readonly #run: Run;
  readonly list: readonly Thread[];
  /** Whether the text may end here. */
  readonly whole: boolean;
  readonly #afterByte = new Map<number, Threads>();
  readonly #afterPlace: (Threads | undefined)[] = [];

  constructor(run: Run, list: readonly Thread[], whole: boolean) {
    this.#run = run;
    this.list = list;
    this.whole = whole;
  }

  /** Whether no text leads on from here, and none ends. */
  get dead(): boolean {
    return this.list.length === 0 && !this.whole;
  }

  /** After one more byte. */
  byte(byte: number): Threads {
    let after = this.#afterByte.get(byte);
    if (after === undefined) {
      after = this.#step(byte);
      this.#afterByte.set(byte, after);
    }
    return after;
  }

  /** Whether a token is asked for by its id. */
  awaits(id: number): boolean {
    return this.list.some(({ at }) => at.kind === 'token' && at.id === id);
  }

  /** After a token that is asked for by its id. */
  token(id: number): Threads {
    const closure = new Closure(this.#run);
    for (const { at, frame } of this.list) {
      if (at.kind === 'token' && at.id === id) closure.visit(at.next, frame);
    }
    return closure.threads();
  }

  /** After the text of the place where thread `index` is. */
  afterPlace(index: number): Threads {
    let after = this.#afterPlace[index];
    if (after === undefined) {
      const { at, frame } = this.list[index]!;
      const closure = new Closure(this.#run);
      closure.visit(at.next, frame);
      after = closure.threads();
      this.#afterPlace[index] = after;
    }
    return after;
  }

  #step(byte: number): Threads {
    const closure = new Closure(this.#run);
    for (const { place, at, state, count, frame } of this.list) {
      if (at.kind !== 'text') continue;
      const next = stepByte(at.automaton, state, byte);
      if (next === DEAD) continue;
      const counted = at.span === undefined ? 0 : countAfter(at, at.span, state, next, count);
      if (counted < 0) continue;
      closure.add({ place, at, state: next, count: counted, frame });
      if (at.automaton.accepting[next] === 1) closure.visit(at.next, frame);
    }
    return closure.threads();
  }
}

/** The threads before anything is written. */
export function startThreads(network: Network): Threads {
  const closure = new Closure({ network, lastFrameId: 0 });
  closure.visit(network.start, { id: 0, depth: 0, returns: [], count: 0 });
  return closure.threads();
}

/**
 * Characters of a JSON string after its automaton went from one state to another, or -1 where its length forbids that.
 * A count beyond what matters stays there.
 */
export function countAfter(
  { automaton }: { readonly automaton: TextPlace['automaton'] },
  { min, max }: Span,
  from: number,
  to: number,
  count: number,
): number {
  if (automaton.accepting[to] === 1) return count >= min ? count : -1;
  // The state after the opening quote.
  if (from === 0) return count;
  const whole = automaton.accepting[stepOrDead(automaton, to, QUOTE)] === 1;
  if (count >= max) return -1;
  return whole ? Math.min(count + 1, max === Number.POSITIVE_INFINITY ? min : max) : count;
}

const QUOTE = 0x22;

function stepOrDead(automaton: TextPlace['automaton'], state: number, byte: number): number {
  const next = stepByte(automaton, state, byte);
  return next === DEAD ? 0 : next;
}

/** Everything that is reached from some places without writing anything. */
class Closure {
  readonly #run: Run;
  readonly #network: Network;
  readonly #threads: Thread[] = [];
  readonly #known = new Set<string>();
  readonly #frames = new Map<string, Frame>();
  #whole = false;

  constructor(run: Run) {
    this.#run = run;
    this.#network = run.network;
  }

  threads(): Threads {
    return new Threads(this.#run, this.#threads, this.#whole);
  }

  add(thread: Thread): void {
    const { place, at, state, count, frame } = thread;
    // Nothing more can be read here; what comes after is reached by itself.
    if (at.kind === 'text' && at.automaton.leading[state] === 0) return;
    if (!this.#isNew(`${place} ${state} ${count} ${frame.id}`)) return;
    if (this.#threads.push(thread) > MOST_THREADS) {
      throw new HadalError('grammar-ambiguous', {
        what: 'the schema or pattern',
        expected: `at most ${MOST_THREADS} ways to read a text`,
        got: 'more',
        next: 'use fewer alternatives that begin alike',
      });
    }
  }

  visit(place: number, frame: Frame): void {
    const stack: (readonly [place: number, frame: Frame])[] = [[place, frame]];
    for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
      const [number, here] = top;
      // Where calls could not nest deep enough to come to an end, a text must not go.
      if (here.depth + this.#network.depth[number]! > MOST_DEPTH) continue;
      if (!this.#isNew(`${number} ${here.id}`)) continue;
      const at = this.#network.places[number]!;
      switch (at.kind) {
        case 'text':
          this.add({ place: number, at, state: 0, count: 0, frame: here });
          if (at.automaton.accepting[0] === 1) stack.push([at.next, here]);
          break;
        case 'token':
          this.add({ place: number, at, state: 0, count: 0, frame: here });
          break;
        case 'fork':
          for (let i = at.options.length - 1; i >= 0; i--) stack.push([at.options[i]!, here]);
          break;
        case 'call': {
          const called = this.#frame(`${at.rule}`, here.depth + 1, {});
          addReturn(called, at.next, here);
          stack.push([this.#network.rules[at.rule]!, called]);
          break;
        }
        case 'loop': {
          if (at.min === 0) stack.push([at.next, here]);
          const round = this.#frame(`${number}/1`, here.depth + 1, { loop: number, count: 1 });
          addReturn(round, at.next, here);
          stack.push([at.body, round]);
          break;
        }
        case 'return':
          this.#return(here, stack);
      }
    }
  }

  #return(frame: Frame, stack: (readonly [place: number, frame: Frame])[]): void {
    if (frame.depth === 0) {
      this.#whole = true;
      return;
    }
    const loop = frame.loop === undefined ? undefined : this.#network.places[frame.loop];
    if (loop?.kind === 'loop') {
      if (frame.count < loop.max) {
        // Counts that make no difference are one, so that endless lists need no endless frames.
        const most = loop.max === Number.POSITIVE_INFINITY ? loop.min : loop.max;
        const count = Math.min(frame.count + 1, most);
        const round = this.#frame(`${frame.loop}/${count}`, frame.depth, { loop: frame.loop!, count });
        for (const { next, frame: outer } of frame.returns) addReturn(round, next, outer);
        stack.push([loop.again, round]);
      }
      if (frame.count < loop.min) return;
    }
    for (const { next, frame: outer } of frame.returns) stack.push([next, outer]);
  }

  /** The frame that all calls from this position share. */
  #frame(key: string, depth: number, loop: { readonly loop?: number; readonly count?: number }): Frame {
    const whole = `${key}@${depth}`;
    let frame = this.#frames.get(whole);
    if (frame === undefined) {
      frame = { id: ++this.#run.lastFrameId, depth, returns: [], count: 0, ...loop };
      this.#frames.set(whole, frame);
    }
    return frame;
  }

  #isNew(key: string): boolean {
    if (this.#known.has(key)) return false;
    this.#known.add(key);
    return true;
  }
}

function addReturn({ returns }: Frame, next: number, frame: Frame): void {
  if (!returns.some((known) => known.next === next && known.frame === frame)) returns.push({ next, frame });
}
