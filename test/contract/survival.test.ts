/**
 * Owns: what backends do when something goes wrong: one error with a code and a sentence, and then they work on.
 * Refuses to know: what operations compute.
 */
import { mkdtempSync, readFileSync, realpathSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Backend, Tensor, Weight } from '../../src/backend/backend.ts';
import { createReferenceBackend } from '../../src/backend/reference/reference.ts';
import { HadalError } from '../../src/error.ts';
import { openFile } from '../../src/formats/byte-source.node.ts';
import type { TensorInfo } from '../../src/formats/tensor-info.ts';
import { column, filled, needsNative, noise, noisyWeight, open, VARIANTS } from './backends.ts';

const span = { rows: 2, decodeRows: 0 };
const NATIVE = VARIANTS.filter(({ threads }) => threads !== 1);
const variantNames = NATIVE.map((variant) => ({ ...variant, title: `${variant.isa} x ${variant.threads}` }));

/** The error of a call that must fail: ours, of this code, one line long. */
async function faultOf(code: string, call: () => unknown): Promise<HadalError> {
  const error = await (async () => call())().then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(HadalError);
  const fault = error as HadalError;
  expect(fault.code).toBe(code);
  expect(fault.message).toMatch(/^\P{Cc}{10,}$/u);
  return fault;
}

/** That a backend still computes: x + x. */
async function expectWorks(backend: Backend): Promise<void> {
  const [out, x] = [filled(backend, 2, 3, noise(6, 1)), filled(backend, 2, 3, noise(6, 1))];
  backend.add(span, out, x);
  expect(await backend.read(out, 2)).toEqual(noise(6, 1).map((v) => v + v));
  backend.free(out);
  backend.free(x);
}

/** Many multiplications with a checkpoint after each. */
function step(backend: Backend, weight: Weight, layers: number) {
  const rows = 64;
  const x = filled(backend, rows, weight.cols, noise(rows * weight.cols, 2));
  const out = backend.tensor('F32', rows, weight.rows);
  for (let layer = 0; layer < layers; layer++) {
    backend.matmul({ rows, decodeRows: 0 }, x, [{ weight, out }]);
    backend.checkpoint();
  }
  return { out, rows };
}

/** Faults that every backend answers for. */
function everyBackend(create: () => Backend): void {
  test('an abort ends the next step, and only that', async () => {
    await using backend = create();
    const x = filled(backend, 2, 3, noise(6, 1));
    backend.abort();
    await faultOf('aborted', async () => {
      backend.checkpoint();
      await backend.read(x, 2);
    });
    await expectWorks(backend);
    backend.checkpoint();
    expect(await backend.read(x, 2)).toEqual(noise(6, 1));
  });

  test('what is recorded again computes with what was written since, and forgets what was freed', async () => {
    await using backend = create();
    const [mine, yours] = [{}, {}];
    const x = filled(backend, 2, 3, noise(6, 1));
    let calls = 0;
    const sum = (out: Tensor) => () => {
      calls++;
      backend.add(span, out, x);
      return out;
    };
    const outs = [backend.tensor('F32', 2, 3), backend.tensor('F32', 2, 3)] as const;
    const zeros = new Float32Array(6);
    for (const seed of [2, 3]) {
      backend.write(x, noise(6, seed));
      for (const out of outs) backend.write(out, zeros);
      const [a, b] = [backend.again(mine, 'sum', sum(outs[0])), backend.again(yours, 'sum', sum(outs[1]))];
      expect([a, b]).toEqual(outs);
      expect(await backend.read(outs[0], 2)).toEqual(noise(6, seed));
      expect(await backend.read(outs[1], 2)).toEqual(noise(6, seed));
    }
    // The native one records; what computes at once has to be called.
    expect(calls).toBe(backend.info.name === 'native' ? 2 : 4);
    expect(() =>
      backend.again(mine, 'broken', () => {
        throw new Error('on purpose');
      }),
    ).toThrow('on purpose');
    expect(backend.again(mine, 'broken', () => 'whole')).toBe('whole');
    for (let n = 0; n < 70; n++) expect(backend.again(mine, `name ${n}`, () => n)).toBe(n);
    expect(backend.again(mine, 'name 69', () => -1)).toBe(backend.info.name === 'native' ? 69 : -1);
    expect(backend.again(mine, 'name 0', () => -1)).toBe(-1);
    backend.free(outs[0]);
    const other = backend.tensor('F32', 2, 3);
    expect(backend.again(mine, 'sum', sum(other))).toBe(other);
    expect(await backend.read(other, 2)).toEqual(noise(6, 3));
  });

  test('memory that cannot be had is refused, and nothing is held for it', async () => {
    await using backend = create();
    const before = backend.memory();
    await faultOf('out-of-memory', () => backend.cache('F16', 2 ** 30, 2 ** 10, 2 ** 10));
    await faultOf('out-of-memory', () => backend.tensor('F32', 2 ** 30, 2 ** 24));
    expect(backend.memory()).toEqual(before);
    await expectWorks(backend);
  });

  test('shapes that do not fit are refused when the operation is called', async () => {
    await using backend = create();
    const x = filled(backend, 2, 4, noise(8, 1));
    const weight = noisyWeight(backend, 'F32', 3, 5, 1);
    const out = backend.tensor('F32', 2, 3);
    const fault = await faultOf('shape', () => backend.matmul(span, x, [{ weight, out }]));
    expect(fault.message).toContain('[1, 3, 4]');
    const fits = noisyWeight(backend, 'F32', 3, 4, 1);
    const bias = noisyWeight(backend, 'F32', 1, 3, 1);
    for (const product of [{ gate: weight }, { gate: fits, bias }, { gate: fits, add: true }]) {
      await faultOf('shape', () => backend.matmul(span, x, [{ weight: fits, out, ...product }]));
    }
    await faultOf('shape', () => backend.add({ rows: 3, decodeRows: 0 }, x, x));
    await faultOf('shape', () => backend.add({ rows: 2, decodeRows: 3 }, x, x));
    await faultOf('shape', () => backend.write(x, noise(9, 1)));
    await faultOf('shape', () => backend.read(x, 3));
    await faultOf('shape', () => backend.constant('cut', 'F32', [4, 2], new Uint8Array(31)));
    await faultOf('shape', () => backend.constant('deep', 'F32', [1, 1, 1, 1], new Uint8Array(4)));
    await expectWorks(backend);
  });

  test('writes and operations keep their order', async () => {
    await using backend = create();
    const x = filled(backend, 2, 3, noise(6, 1));
    const out = filled(backend, 2, 3, noise(6, 2));
    backend.add(span, out, x);
    backend.write(x, noise(6, 3));
    backend.add(span, out, x);
    const [a, b, c] = [noise(6, 1), noise(6, 2), noise(6, 3)];
    const expected = b.map((v, i) => Math.fround(Math.fround(v + a[i]!) + c[i]!));
    expect(await backend.read(out, 2)).toEqual(expected);
  });

  test('what is recorded while a read is under way is not lost, and does not change its answer', async () => {
    await using backend = create();
    const x = filled(backend, 2, 3, noise(6, 1));
    const first = backend.read(x, 2);
    backend.write(x, noise(6, 2));
    expect(await first).toEqual(noise(6, 1));
    expect(await backend.read(x, 2)).toEqual(noise(6, 2));
  });

  test('reads that are asked for at once have what was recorded before each of them', async () => {
    await using backend = create();
    const [rows, cols] = [600, 512];
    const weight = noisyWeight(backend, 'F32', cols, cols, 1);
    const x = filled(backend, rows, cols, noise(rows * cols, 2));
    const outs = [0, 1].map(() => backend.tensor('F32', rows, cols));
    backend.matmul(
      { rows, decodeRows: 0 },
      x,
      outs.map((out) => ({ weight, out })),
    );
    const [first, second, third] = await Promise.all(
      [...outs, x].map((tensor) => backend.read(tensor, rows)),
    );
    expect(first!.some((value) => value !== 0)).toBe(true);
    expect(second).toEqual(first);
    expect(third).toEqual(noise(rows * cols, 2));
  });

  test('memory is told by kind and given back', async () => {
    await using backend = create();
    const none = backend.memory();
    const tensor = backend.tensor('F32', 4, 8);
    const cache = backend.cache('F16', 2, 4, 8);
    const weight = noisyWeight(backend, 'Q8_0', 2, 32, 1);
    expect(backend.memory()).toEqual({ weightBytes: 68, cacheBytes: 128, tensorBytes: 128 });
    for (const handle of [tensor, cache, weight]) backend.free(handle);
    expect(backend.memory()).toEqual(none);
  });
}

describe('reference', () => everyBackend(createReferenceBackend));

const none = [{ isa: 'native', threads: 0, title: 'native' }];
describe.skipIf(NATIVE.length === 0).each(NATIVE.length === 0 ? none : variantNames)(
  needsNative('$title'),
  ({ isa, threads }) => {
    const create = () => open({ isa, threads });
    everyBackend(create);

    test('an abort while a step runs', async () => {
      await using backend = create();
      const weight = noisyWeight(backend, 'Q8_0', 512, 1024, 1);
      // Seconds of work, so that the abort comes while it runs.
      const { out, rows } = step(backend, weight, 2000);
      const reading = backend.read(out, rows);
      backend.abort();
      await faultOf('aborted', () => reading);
      const again = step(backend, weight, 2);
      expect((await backend.read(again.out, rows)).every(Number.isFinite)).toBe(true);
    });

    test('an abort inside of one operation', async () => {
      await using backend = create();
      const weight = noisyWeight(backend, 'Q8_0', 2048, 2048, 1);
      const rows = 8192;
      const [x, out] = [backend.tensor('F32', rows, weight.cols), backend.tensor('F32', rows, weight.rows)];
      backend.matmul({ rows, decodeRows: 0 }, x, [{ weight, out }]);
      const reading = backend.read(out, 1);
      // 69 billion operations are under way by then, and nothing follows that would look at the flag.
      setTimeout(() => backend.abort(), 20);
      await faultOf('aborted', () => reading);
      await expectWorks(backend);
    });

    test('a step that is known to be short lets waiting work go first, can be aborted, and waits for other contexts', async () => {
      await using backend = create();
      await using other = create();
      const x = filled(backend, 2, 3, noise(6, 1));
      const out = backend.tensor('F32', 2, 3);
      const ask = () => {
        backend.write(out, new Float32Array(6));
        backend.again(x, 'sum', () => backend.add(span, out, x));
        return backend.read(out, 2);
      };
      for (let n = 0; n < 3; n++) expect(await ask()).toEqual(noise(6, 1));
      const order: string[] = [];
      const note = (what: string) => () => void order.push(what);
      setImmediate(note('what waited'));
      const noted = ask().then(note('the step'));
      setImmediate(note('what that led to'));
      await nextTurn();
      await nextTurn();
      setImmediate(note('what came later'));
      await noted;
      await nextTurn();
      expect(order).toEqual(['what waited', 'what that led to', 'the step', 'what came later']);

      const [slow, quick] = [ask(), backend.read(out, 2)];
      expect([await slow, await quick]).toEqual([noise(6, 1), noise(6, 1)]);

      const reading = ask();
      backend.abort();
      await faultOf('aborted', () => reading);
      expect(await ask()).toEqual(noise(6, 1));

      const long = step(other, noisyWeight(other, 'Q8_0', 512, 1024, 1), 20);
      const answers = await Promise.all([ask(), other.read(long.out, long.rows), ask()]);
      expect([answers[0], answers[2]]).toEqual([noise(6, 1), noise(6, 1)]);
    });

    test('a step of a thread that is to stay free is computed beside its other work', async () => {
      await using backend = create();
      const weight = noisyWeight(backend, 'Q8_0', 512, 1024, 1);
      const x = filled(backend, 8, weight.cols, noise(8 * weight.cols, 2));
      const out = backend.tensor('F32', 8, weight.rows);
      // Short on every instruction set, and all of it in one turn if it is computed here.
      const ask = () => {
        backend.again(x, 'products', () => {
          for (let n = 0; n < 2; n++) backend.matmul({ rows: 8, decodeRows: 0 }, x, [{ weight, out }]);
        });
        return backend.read(out, 1);
      };
      const turnsOf = async () => {
        let [turns, done] = [0, false];
        const reading = ask().then(() => {
          done = true;
        });
        for (; !done; turns++) await nextTurn();
        await reading;
        return turns;
      };
      // The first step, and one that a busy machine held up, let the next one be computed elsewhere.
      let here = Number.POSITIVE_INFINITY;
      for (let n = 0; n < 10; n++) here = Math.min(here, await turnsOf());
      backend.keepFree(true);
      // A busy machine may give this thread no turn while a step is computed, but not again and again.
      let elsewhere = here;
      for (let n = 0; n < 100 && elsewhere <= 3 * here; n++) elsewhere = await turnsOf();
      expect(elsewhere).toBeGreaterThan(3 * here);
    });

    test('a handle that was freed', async () => {
      await using backend = create();
      const x = filled(backend, 2, 32, noise(64, 1));
      const out = backend.tensor('F32', 2, 2);
      const weight = noisyWeight(backend, 'Q8_0', 2, 32, 1);
      const cache = backend.cache('F16', 2, 4, 32);
      const slots = column(backend, [0, 1]);
      await backend.read(x, 2);
      for (const handle of [weight, cache, x]) backend.free(handle);
      backend.free(x);
      await faultOf('freed', () => backend.read(x, 2));
      backend.matmul(span, filled(backend, 2, 32, noise(64, 1)), [{ weight, out }]);
      await faultOf('freed', () => backend.read(out, 2));
      backend.store(span, cache, filled(backend, 2, 32, noise(64, 1)), slots);
      await faultOf('freed', () => backend.read(out, 2));
      await expectWorks(backend);
    });

    test('a read behind one that fails has its own answer', async () => {
      await using backend = create();
      const table = noisyWeight(backend, 'Q8_0', 9, 32, 1);
      const out = backend.tensor('F32', 2, 32);
      const x = filled(backend, 2, 3, noise(6, 1));
      backend.embed(span, out, table, column(backend, [0, 9]));
      const fails = faultOf('index', () => backend.read(out, 2));
      const behind = [x, x].map((tensor) => backend.read(tensor, 2));
      await fails;
      expect(await Promise.all(behind)).toEqual([noise(6, 1), noise(6, 1)]);
      await expectWorks(backend);
    });

    test('an index out of its range', async () => {
      await using backend = create();
      const table = noisyWeight(backend, 'Q8_0', 9, 32, 1);
      const out = backend.tensor('F32', 2, 32);
      const x = filled(backend, 2, 32, noise(64, 1));
      const cache = backend.cache('F16', 2, 4, 32);
      for (const bad of [9, -1, 2 ** 31 - 1]) {
        backend.embed(span, out, table, column(backend, [0, bad]));
        const fault = await faultOf('index', () => backend.read(out, 2));
        expect(fault.message).toContain(String(bad));
        backend.store(span, cache, x, column(backend, [bad, 0]));
        await faultOf('index', () => backend.read(out, 2));
        backend.gather(span, out, x, column(backend, [bad, 0]));
        await faultOf('index', () => backend.read(out, 2));
      }
      await expectWorks(backend);
    });

    test('positions, sequences and pages outside of the cache', async () => {
      await using backend = create();
      const q = filled(backend, 2, 32, noise(64, 1));
      const out = backend.tensor('F32', 2, 32);
      const cache = backend.cache('F16', 2, 4, 32);
      const heads = { heads: 1, kvHeads: 1, headDim: 32, valueDim: 32, scale: 1 };
      const attend = (positions: number[], sequences: number[], pages: number[]) => {
        const zeros = column(backend, [0, 0]);
        const batch = {
          ...span,
          tokens: zeros,
          positions: column(backend, positions),
          sequences: column(backend, sequences),
          slots: zeros,
          pages: filled(backend, 1, pages.length, Int32Array.from(pages)),
          outputs: zeros,
          outputSpan: span,
        };
        backend.attend(batch, out, q, cache, cache, heads);
        return backend.read(out, 2);
      };
      await faultOf('index', () => attend([0, 8], [0, 0], [0, 1]));
      await faultOf('index', () => attend([0, -1], [0, 0], [0, 1]));
      await faultOf('index', () => attend([0, 1], [0, 1], [0, 1]));
      await faultOf('index', () => attend([0, 4], [0, 0], [0, 2]));
      // A page that no position reaches may be anything.
      expect(await attend([0, 3], [0, 0], [0, -1])).toHaveLength(64);
    });
  },
);

describe.skipIf(NATIVE.length === 0)(needsNative('mapped files'), () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'hadal-survival-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const info = (name: string, offset: number, bytes: number): TensorInfo => {
    return { name, dtype: 'F32', shape: [32, bytes / 128], source: 0, offset, bytes };
  };

  test('weights of a file are its bytes, and progress ends at their sum', async () => {
    const path = join(folder, 'whole');
    const numbers = noise(32 * 40, 1);
    writeFileSync(path, new Uint8Array(numbers.buffer));
    const source = await openFile(path);
    const progress: number[][] = [];
    const expected: ArrayLike<number>[] = [];
    for (const backend of [open(NATIVE[0]!), createReferenceBackend()]) {
      const weights = await backend.load(source, [info('a', 0, 1280), info('b', 2560, 2560)], (...at) => {
        progress.push(at);
      });
      expect([...weights.keys()]).toEqual(['a', 'b']);
      const out = backend.tensor('F32', 2, 32);
      backend.embed(span, out, weights.get('b')!, column(backend, [0, 19]));
      expected.push(await backend.read(out, 2));
      await backend[Symbol.asyncDispose]();
    }
    expect(expected[0]).toEqual(
      Float32Array.from([...numbers.subarray(640, 672), ...numbers.subarray(1248, 1280)]),
    );
    expect(expected[1]).toEqual(expected[0]);
    expect(progress).toContainEqual([3840, 3840]);
    await source.close();
  });

  test('rows of weights that are kept apart are read when they are wanted, and the rest is not held', async () => {
    const path = join(folder, 'apart');
    const numbers = noise(32 * 65_536, 1); // 8 MiB
    writeFileSync(path, new Uint8Array(numbers.buffer));
    const source = await openFile(path);
    // Of every 4 KiB one row, the last first: were they read by the mapping, all of it would be held.
    const tokens = Array.from({ length: 2048 }, (_, i) => 65_535 - 32 * i);
    const rows = tokens.flatMap((token) => [...numbers.subarray(token * 32, token * 32 + 32)]);
    for (const backend of [open(NATIVE[0]!), createReferenceBackend()]) {
      const weights = await backend.load(source, [info('a', 0, 8 << 20)], undefined, new Set(['a']));
      const out = backend.tensor('F32', tokens.length, 32);
      const all = { rows: tokens.length, decodeRows: 0 };
      backend.embed(all, out, weights.get('a')!, column(backend, tokens));
      expect(await backend.read(out, tokens.length)).toEqual(Float32Array.from(rows));
      const native = backend.info.name === 'native';
      if (native && process.platform !== 'win32') expect(backend.memory().weightBytes).toBe(0);
      else expect(backend.memory().weightBytes).toBeGreaterThanOrEqual(8 << 20);
      if (native && process.platform === 'linux') expect(residentKilobytes(path)).toBeLessThan(64);
      await backend[Symbol.asyncDispose]();
    }
    await source.close();
  });

  /** Of the mapping of a file, what this process holds. */
  function residentKilobytes(path: string): number {
    const maps = readFileSync('/proc/self/smaps', 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/);
    const ours = maps.filter((map) => map.split('\n', 1)[0]!.endsWith(` ${realpathSync(path)}`));
    expect(ours).toHaveLength(1);
    return Number(/\nRss: +(\d+) kB/.exec(ours[0]!)![1]);
  }

  test('a tensor that the file does not hold', async () => {
    const path = join(folder, 'short');
    writeFileSync(path, new Uint8Array(1000));
    const source = await openFile(path);
    await using backend = open(NATIVE[0]!);
    await faultOf('file-truncated', () => backend.load(source, [info('a', 512, 1280)]));
    await expectWorks(backend);
    await source.close();
  });

  // Before a step every file is looked at, so what is refused while rows are read is tested beside native/src/map/file.rs.
  test('a file that shrinks after it was mapped', async () => {
    const path = join(folder, 'shrinks');
    writeFileSync(path, new Uint8Array(noise(32 * 1024, 1).buffer));
    const source = await openFile(path);
    {
      await using backend = open(NATIVE[0]!);
      const weights = await backend.load(source, [info('a', 0, 128 * 1024)]);
      const out = backend.tensor('F32', 2, 32);
      truncateSync(path, 4096);
      backend.embed(span, out, weights.get('a')!, column(backend, [0, 1023]));
      const fault = await faultOf('file-shrank', () => backend.read(out, 2));
      expect(fault.message).toContain(path);
    }
    await source.close();
    await using another = open(NATIVE[0]!);
    await expectWorks(another);
  });
});
