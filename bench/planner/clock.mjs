/**
 * Owns: how the kernels are timed, so that what others do on the machine counts as little as can be.
 * Refuses to know: formats, what the figures are for.
 *
 * Arithmetic is timed on one thread by the time that the processor gave it: while others are at work that stays what it
 * is. What depends on memory or on several threads is timed by the clock on the wall, beside a probe of the same.
 */
import { createMachineProbe } from '../../dist/backend/native/probe.node.js';
import { someIds } from '../engine/child.mjs';

/** Times what backends do, and what the machine gives beside it. */
export class Clock {
  #alone = createMachineProbe({ threads: 1 });
  #all = createMachineProbe();
  #rounds;
  /** Rates of reading, of all rounds. */
  #reads = [];
  /** What the probe of the registers does, which is always the same, and the least time of the processor that it took. */
  #probed = { operations: Infinity, seconds: Infinity };

  constructor(rounds) {
    this.#rounds = rounds;
  }

  get threads() {
    return this.#all.threads;
  }

  get isa() {
    return this.#all.isa;
  }

  /** What was found of the machine so far, for people. */
  found() {
    return `${(this.#operations / 1e9).toFixed(0)} GOP/s of a thread, ${(median(this.#reads) / 1e9).toFixed(1)} GB/s`;
  }

  /** What all threads did at once over what they could do, and the usual over the best rate of reading. */
  quiet() {
    const together = Math.max(...Array.from({ length: 3 }, () => this.#all.multiplyRate()));
    return {
      arithmetic: together / (this.#operations * this.threads),
      reading: median(this.#reads) / Math.max(...this.#reads),
    };
  }

  /** Bytes that memory gives for each 8-bit operation of all threads. */
  get bytesPerOperation() {
    return median(this.#reads) / (this.#operations * this.threads);
  }

  /** 8-bit operations of one thread in a second of the processor: the registers give what they give. */
  get #operations() {
    return this.#probed.operations / this.#probed.seconds;
  }

  /** 8-bit operations that the processor would have done in the time that each of `measured` took of it, at best. */
  async operationsOf(measured) {
    const seconds = {};
    for (let round = 0; round <= this.#rounds; round++) {
      const [before, startMs] = [process.cpuUsage(), performance.now()];
      const rate = this.#alone.multiplyRate();
      const took = processorSeconds(before);
      this.#probed = {
        operations: Math.min(this.#probed.operations, (rate * (performance.now() - startMs)) / 1e3),
        seconds: Math.min(this.#probed.seconds, took),
      };
      for (const [what, measure] of Object.entries(measured)) {
        const { processor } = await measure(round);
        // The first round warms up.
        if (round > 0) seconds[what] = Math.min(seconds[what] ?? Infinity, processor);
      }
    }
    return Object.fromEntries(
      Object.entries(seconds).map(([what, least]) => [what, least * this.#operations]),
    );
  }

  /** Bytes that memory would have given in the time that each of `measured` took; the median of rounds. */
  async bytesOf(measured) {
    const bytes = Object.fromEntries(Object.keys(measured).map((what) => [what, []]));
    for (let round = 0; round <= this.#rounds; round++)
      for (const [what, measure] of Object.entries(measured)) {
        const before = this.#all.readRate();
        const { wall } = await measure(round);
        const rate = 2 / (1 / before + 1 / this.#all.readRate());
        this.#reads.push(rate);
        if (round > 0) bytes[what].push(wall * rate);
      }
    return Object.fromEntries(Object.entries(bytes).map(([what, all]) => [what, median(all)]));
  }

  /** Seconds that `whole` took beyond `part` right before and after it; the median of rounds. */
  async secondsBeyond(whole, part) {
    const beyond = [];
    for (let round = 0; round <= this.#rounds; round++) {
      const before = (await part()).wall;
      const { wall } = await whole();
      if (round > 0) beyond.push(wall - (before + (await part()).wall) / 2);
    }
    const seconds = median(beyond);
    if (seconds <= 0)
      throw new Error('the whole took less than a part of it: measure again when it is quiet');
    return seconds;
  }

  /** Seconds that each of `measured` took, at best. */
  async secondsOf(measured) {
    const seconds = {};
    for (let round = 0; round <= this.#rounds; round++)
      for (const [what, measure] of Object.entries(measured)) {
        const { wall } = await measure(round);
        if (round > 0) seconds[what] = Math.min(seconds[what] ?? Infinity, wall);
      }
    return seconds;
  }
}

/** What a backend takes for what `record` records, `times` over: seconds of the wall and of the processor, for one. */
export async function timeOf(backend, out, record, times = 1) {
  const [before, startMs] = [process.cpuUsage(), performance.now()];
  for (let i = 0; i < times; i++) record();
  await backend.read(out, 1);
  return { processor: processorSeconds(before) / times, wall: (performance.now() - startMs) / 1e3 / times };
}

function processorSeconds(before) {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

function median(values) {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

/** A tensor of numbers between -1 and 1. */
export function someNumbers(backend, rows, cols) {
  const tensor = backend.tensor('F32', rows, cols);
  backend.write(
    tensor,
    Float32Array.from(someIds(rows * cols, 30_000, 7), (id) => id / 15_000 - 1),
  );
  return tensor;
}

/** Rows of x times every one of the weights, each a region of its own. */
export function products(backend, rows, x, out, weights) {
  const span = { rows, decodeRows: rows === 1 ? 1 : 0 };
  const views = new Map();
  return () => {
    for (const weight of weights) {
      const view = views.get(weight.rows) ?? backend.columns(out, 0, weight.rows);
      views.set(weight.rows, view);
      backend.matmul(span, x, [{ weight, out: view }]);
    }
  };
}

/** Three digits are as many as are known. */
export function rounded(value) {
  return Number(value.toPrecision(3));
}
