import { describe, expect, test } from 'vitest';
import { PageCache } from './cache.ts';
import { ChunkSizer } from './chunk-sizer.ts';
import { Scheduler, type StepLimits } from './scheduler.ts';
import { type Consumer, Sequence } from './sequence.ts';

/** A scheduler without a model: steps are planned and said to be done. */
function setUp(limits: Partial<StepLimits> = {}, pages = 1000) {
  const cache = new PageCache(pages, 16);
  const scheduler = new Scheduler(cache, { maxSequences: 4, maxRows: 64, maxOutputs: 16, ...limits });
  const queued = new Map<string, number[]>();
  let last = 0;
  const add = (tenant: string, promptTokens: number, salt = tenant, firstId = ++last) => {
    const id = `${tenant}${++last}`;
    const consumer: Consumer = {
      wanted: 'argmax',
      queued: (before) => queued.set(id, [...(queued.get(id) ?? []), before]),
      prefilled() {},
      logits: () => undefined,
      argmax: () => undefined,
      guess: () => -1,
      fail() {},
      abort() {},
    };
    const ids = Int32Array.from({ length: promptTokens }, (_, i) => firstId * 100_000 + i);
    const sequence = new Sequence(id, ids, promptTokens, consumer, { tenant, salt });
    scheduler.add(sequence);
    return sequence;
  };
  /** Plans and does a step; what was computed of whom. Whoever has its prompt whole generates. */
  const step = (ms = 10) => {
    const slices = scheduler.plan();
    const rows = slices
      .filter(({ sequence }) => !sequence.decoding)
      .reduce((n, { from, to }) => n + to - from, 0);
    for (const slice of slices) {
      scheduler.done(slice);
      const { sequence } = slice;
      if (sequence.doneTokens === sequence.ids.length) sequence.ids.push(1);
    }
    scheduler.took(rows, ms);
    return slices.map(({ sequence, from, to }) => [sequence.requestId, to - from] as const);
  };
  return { scheduler, add, step, queued };
}

describe('turns', () => {
  test('a tenant that asks once is not behind all that another asked before', () => {
    const { scheduler, add, step } = setUp({ maxSequences: 2 });
    const many = [1, 2, 3, 4].map(() => add('a', 8));
    const one = add('b', 8);
    expect(step().map(([id]) => id)).toEqual([many[0]!.requestId, one.requestId]);
    scheduler.remove(many[0]!);
    expect(step().map(([id]) => id)).toContain(many[1]!.requestId);
  });

  test('long prompts of two tenants are computed by turns', () => {
    const { add, step } = setUp();
    const a = [add('a', 128), add('a', 128)];
    const b = add('b', 64);
    const turns = [step(), step(), step()].map((rows) => rows.filter(([, n]) => n > 1).map(([id]) => id));
    expect(turns[0]).toEqual([a[0]!.requestId]);
    expect(turns[1]).toEqual([b.requestId]);
    expect(turns[2]).toEqual([a[0]!.requestId]);
  });

  test('who waits is told how many go before, and only when that changes', () => {
    const { scheduler, add, step, queued } = setUp({ maxSequences: 1 });
    const [first, second, third] = [add('a', 8), add('a', 8), add('b', 8)];
    step();
    expect(queued.get(first.requestId)).toBeUndefined();
    // b has no place yet, a has one.
    expect(queued.get(third.requestId)).toEqual([0]);
    expect(queued.get(second.requestId)).toEqual([1]);
    scheduler.remove(first);
    step();
    expect(queued.get(second.requestId)?.at(-1)).toBe(0);
  });
});

test('prompts that do not fit together are computed one after another, by turns of tenants, and none of them twice', () => {
  const { scheduler, add, step } = setUp({}, 12);
  const wanted = [add('a', 128), add('a', 128), add('b', 128)];
  const begun: string[] = [];
  let rows = 0;
  for (let steps = 0; wanted.some(({ doneTokens }) => doneTokens < 128); steps++) {
    expect(steps).toBeLessThan(100);
    for (const [id, count] of step()) {
      if (!begun.includes(id)) begun.push(id);
      if (count > 1) rows += count;
    }
    expect(scheduler.runningCount).toBe(1);
    const whole = scheduler.all().find(({ doneTokens }) => doneTokens >= 130);
    if (whole) scheduler.remove(whole);
    // What is taken out holds no pages and has computed nothing, by its own account.
    if (whole) whole.doneTokens = 128;
  }
  expect(begun).toEqual([wanted[0]!, wanted[2]!, wanted[1]!].map(({ requestId }) => requestId));
  expect(rows).toBe(3 * 128);
});

describe('prefixes', () => {
  test('are shared under the same salt only', () => {
    const { add, step } = setUp({ maxRows: 256 });
    add('a', 100, 'a', 7);
    step();
    const [same, other] = [add('a', 100, 'a', 7), add('b', 100, 'b', 7)];
    step();
    expect([same.cachedTokens, other.cachedTokens]).toEqual([96, 0]);
  });

  test('one that is being computed is waited for, then shared', () => {
    const { add, step } = setUp({ maxRows: 64 });
    const first = add('a', 160, 'a', 7);
    const second = add('a', 160, 'a', 7);
    const rows = [step(), step(), step(), step()].map((slices) => slices.map(([id]) => id));
    expect(rows.slice(0, 3)).toEqual([[first.requestId], [first.requestId], [first.requestId]]);
    expect(rows[3]).toEqual([first.requestId, second.requestId]);
    expect(second.cachedTokens).toBe(144);
  });

  test('a short common beginning holds nobody up', () => {
    const { add, step } = setUp({ maxRows: 256 });
    const first = add('a', 100, 'a', 7);
    const second = add('a', 100, 'a', 7);
    second.ids.fill(5, 20);
    expect(step().map(([id]) => id)).toEqual([first.requestId, second.requestId]);
  });

  test('the cache forgets what was used longest ago', () => {
    const { scheduler, add, step } = setUp({ maxRows: 256 }, 12);
    for (const firstId of [1, 2]) {
      const sequence = add('a', 64, 'a', firstId);
      step();
      scheduler.remove(sequence);
    }
    // The first is used again, a third takes the place of the second.
    for (const firstId of [1, 3]) {
      const sequence = add('a', 80, 'a', firstId);
      step();
      scheduler.remove(sequence);
    }
    const [one, two] = [add('a', 64, 'a', 1), add('a', 64, 'a', 2)];
    step();
    expect(one.cachedTokens).toBeGreaterThan(two.cachedTokens!);
  });
});

describe('chunks', () => {
  test('are whole when nobody decodes, and small before anything was measured', () => {
    const { add, step } = setUp({ maxRows: 512 });
    const first = add('a', 600);
    expect(step()).toEqual([[first.requestId, 512]]);
    const fresh = new ChunkSizer(512);
    expect(fresh.rows(0)).toBe(512);
    expect(fresh.rows(1)).toBe(32);
  });

  test('come to the most that holds a step up by a quarter of a second, whatever a step and a row cost', () => {
    for (const [stepMs, rowMs] of [
      [0, 0.1],
      [0, 5],
      [60, 1],
      [150, 2],
      [199, 0.5],
      [10, 300],
    ] as const) {
      const sizer = new ChunkSizer(512);
      let rows = 0;
      for (let i = 0; i < 20; i++) {
        rows = sizer.rows(1);
        sizer.measured(rows, stepMs + rows * rowMs);
      }
      expect(rows === 1 || rows * rowMs <= 250).toBe(true);
      const more = rows + 32;
      expect(rows === 512 || stepMs + more * rowMs > 200).toBe(true);
    }
  });

  test('are longer where prompts may hold a step up for longer', () => {
    const settled = (sizer: ChunkSizer) => {
      for (let i = 0; i < 20; i++) {
        const rows = sizer.rows(1);
        sizer.measured(rows, 60 + rows * 5);
      }
      return sizer.rows(1);
    };
    expect(settled(new ChunkSizer(512))).toBe(32);
    expect(settled(new ChunkSizer(512, 1000))).toBe(144);
    // As it is asked of a whole scheduler.
    const { add, step } = setUp({ maxRows: 512, promptMs: 1000 });
    add('a', 4);
    step();
    const long = add('b', 5000);
    let rows = 0;
    for (let i = 0; i < 12; i++) rows = new Map(step(400)).get(long.requestId) ?? rows;
    expect(rows).toBeGreaterThan(160);
  });

  test('do not stay small because answers have become more since a step of them was measured', () => {
    const sizer = new ChunkSizer(512);
    const sizes: number[] = [];
    for (let i = 0; i < 60; i++) {
      // They join one after another, up to sixteen, when a step of theirs takes 272 ms.
      const answers = Math.min(16, 1 + Math.floor(i / 2));
      const rows = sizer.rows(answers);
      sizer.measured(rows, answers * 17 + rows * 2);
      sizes.push(rows);
    }
    for (const rows of sizes.slice(40)) expect(rows === 0 || rows >= 16).toBe(true);
    expect(sizes.slice(40).filter((rows) => rows === 0).length).toBeLessThanOrEqual(2);
  });

  test('let many prompts of a model with experts in soon, where few rows read most experts', () => {
    const sizer = new ChunkSizer(512);
    // Six of 64 experts for each row: what is read grows with rows, the less the more there are.
    const stepMs = (rows: number) => 20 + 240 * (1 - (1 - 6 / 64) ** rows) + rows;
    let [waiting, steps] = [16 * 16, 0];
    for (let answers = 1; waiting > 0 && steps < 500; steps++) {
      const rows = Math.min(waiting, sizer.rows(answers));
      const ms = stepMs(answers + rows);
      sizer.measured(rows, ms);
      waiting -= rows;
      if (steps > 0) expect(ms - stepMs(answers)).toBeLessThan(250);
      answers = 1 + Math.floor((256 - waiting) / 16);
    }
    expect(steps).toBeLessThan(24);
  });

  test('go on where answers alone take all of that', () => {
    const sizer = new ChunkSizer(512);
    const sizes: number[] = [];
    for (let i = 0; i < 200; i++) {
      const rows = sizer.rows(1);
      sizer.measured(rows, 400 + rows);
      sizes.push(rows);
    }
    expect(sizes.slice(20).filter((rows) => rows !== 0)).toSatisfy((rest: number[]) =>
      rest.every((rows) => rows >= 32 && rows <= 200),
    );
    // Steps without any are rare.
    expect(sizes.filter((rows) => rows === 0).length).toBeLessThanOrEqual(4);
  });

  test('answers keep their step while a prompt is computed', () => {
    const { add, step } = setUp({ maxRows: 512 });
    const answer = add('a', 4);
    step();
    const long = add('b', 5000);
    const sizes: number[] = [];
    for (let i = 0; i < 6; i++) {
      const rows = new Map(step(400));
      expect(rows.get(answer.requestId)).toBe(1);
      sizes.push(rows.get(long.requestId) ?? 0);
    }
    // What such a step takes without the prompt is measured once.
    expect(sizes.filter((rows) => rows === 0)).toHaveLength(1);
    expect(sizes.at(-1)).toBeGreaterThan(0);
  });
});
