import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { HadalError } from '../error.ts';
import { createModels, type LoadedModel, type ModelsOptions, type ServedModel } from './models.ts';

interface Fake extends LoadedModel {
  readonly name: string;
  die(): void;
}

const model = (name: string, more: Partial<ServedModel> = {}): ServedModel => ({
  name,
  aliases: [],
  source: `${name}.gguf`,
  pinned: false,
  ...more,
});

/** A manager of models that take 10 bytes each, and a record of what became of them. */
function setUp(served: readonly ServedModel[], more: Partial<ModelsOptions<Fake>> & { fails?: string } = {}) {
  const events: string[] = [];
  const loads: ((error?: Error) => void)[] = [];
  let held = false;
  const models = createModels<Fake>({
    served,
    budgetBytes: 20,
    keepAliveMs: 1000,
    onEvent: ({ type, model: name }) => events.push(`${type} ${name}`),
    opener: {
      bytesOf: async () => 10,
      async open({ name }, onProgress) {
        onProgress(1, 2);
        if (held)
          await new Promise<void>((resolve, reject) => loads.push((e) => (e ? reject(e) : resolve())));
        if (more.fails === name) throw new HadalError('gguf-truncated', { what: '/srv/secret/path.gguf' });
        onProgress(2, 2);
        let die!: () => void;
        const ended = new Promise<unknown>((resolve) => {
          die = () => resolve(new HadalError('engine-died', { what: 'killed' }));
        });
        return {
          name,
          bytes: 10,
          ended,
          die,
          async [Symbol.asyncDispose]() {
            events.push(`closed ${name}`);
            die();
          },
        };
      },
    },
    ...more,
  });
  const signal = new AbortController().signal;
  return {
    models,
    events,
    acquire: (name: string, onProgress?: (done: number, total: number) => void) =>
      models.acquire(name, { signal, ...(onProgress ? { onProgress } : {}) }),
    hold: () => {
      held = true;
    },
    loads,
  };
}

const loadedNow = (models: ReturnType<typeof setUp>['models']) =>
  models.status().flatMap(({ model: { name }, state }) => (state === 'ready' ? [name] : []));

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

test('loaded on demand, once for all who ask, with progress for each', async () => {
  const { acquire, events, hold, loads, models } = setUp([model('a', { aliases: ['Alias'] })]);
  hold();
  const seen: number[][] = [];
  const both = [acquire('a', (...at) => seen.push(at)), acquire('alias', (...at) => seen.push(at))];
  await vi.waitFor(() => expect(loads).toHaveLength(1));
  loads[0]!();
  const [one, two] = await Promise.all(both);
  expect(one!.model).toBe(two!.model);
  expect(events).toEqual(['loading a', 'loaded a']);
  expect(seen.filter(([done]) => done === 2)).toHaveLength(2);
  expect(models.status()[0]).toMatchObject({ state: 'ready', inUse: 2, bytes: 10 });
});

test('a name that is not served is never a path', async () => {
  const { acquire } = setUp([model('a')]);
  for (const name of ['b', './a.gguf', 'a.gguf', '../../etc/passwd', '']) {
    await expect(acquire(name)).rejects.toMatchObject({ code: 'model-unknown' });
  }
});

describe('keeping', () => {
  test('so long after the last request, and no longer', async () => {
    const { acquire, models, events } = setUp([model('a')]);
    const lease = await acquire('a');
    await vi.advanceTimersByTimeAsync(5000);
    expect(loadedNow(models)).toEqual(['a']);
    lease.release();
    lease.release();
    expect(models.status()[0]?.inUse).toBe(0);
    await vi.advanceTimersByTimeAsync(999);
    expect(loadedNow(models)).toEqual(['a']);
    await vi.advanceTimersByTimeAsync(1);
    expect(loadedNow(models)).toEqual([]);
    expect(events.slice(-2)).toEqual(['expired a', 'closed a']);
  });

  test('a request may say how long; a new one counts anew', async () => {
    const { acquire, models } = setUp([model('a')]);
    (await acquire('a')).release(-1);
    await vi.advanceTimersByTimeAsync(1e8);
    expect(loadedNow(models)).toEqual(['a']);
    (await acquire('a')).release(500);
    const lease = await acquire('a');
    await vi.advanceTimersByTimeAsync(1000);
    expect(loadedNow(models)).toEqual(['a']);
    lease.release(0);
    await vi.advanceTimersByTimeAsync(0);
    expect(loadedNow(models)).toEqual([]);
  });

  test('pinned ones are loaded at the start and stay', async () => {
    const { acquire, models } = setUp([model('a'), model('b', { pinned: true })]);
    await models.start(new AbortController().signal);
    expect(loadedNow(models)).toEqual(['b']);
    (await acquire('b')).release(0);
    await vi.advanceTimersByTimeAsync(1e8);
    expect(loadedNow(models)).toEqual(['b']);
  });
});

describe('when memory runs out', () => {
  test('who was used longest ago is put out', async () => {
    const { acquire, models, events } = setUp([model('a'), model('b'), model('c')]);
    for (const name of ['a', 'b', 'a']) {
      await vi.advanceTimersByTimeAsync(1);
      (await acquire(name)).release();
    }
    await acquire('c');
    expect(loadedNow(models)).toEqual(['a', 'c']);
    expect(events).toContain('evicted b');
  });

  test('who is in use is waited for, takes nothing new, and comes back', async () => {
    const { acquire, models } = setUp([model('a'), model('b', { pinned: true }), model('c')]);
    await models.start(new AbortController().signal);
    const using = await acquire('a');
    const other = acquire('c');
    await vi.advanceTimersByTimeAsync(10);
    const late = acquire('a');
    await vi.advanceTimersByTimeAsync(10);
    expect(loadedNow(models)).toEqual(['a', 'b']);
    using.release();
    const lease = await other;
    expect(loadedNow(models)).toEqual(['b', 'c']);
    lease.release();
    expect((await late).model.name).toBe('a');
    expect(loadedNow(models)).toEqual(['a', 'b']);
  });

  test('one that was to go and could stay after all stays, once and not twice', async () => {
    const { acquire, models, events } = setUp([model('a'), model('b'), model('c')]);
    const [a, b] = [await acquire('a'), await acquire('b')];
    const other = acquire('c');
    await vi.advanceTimersByTimeAsync(10);
    // The one that was to wait for is still in use when another gives its memory back.
    b.release();
    await other;
    expect(loadedNow(models)).toEqual(['a', 'c']);
    const again = await acquire('a');
    expect(again.model).toBe(a.model);
    expect(events.filter((event) => event === 'loading a')).toHaveLength(1);
  });

  test('pinned ones are never put out: the request is refused', async () => {
    const { acquire, models } = setUp([
      model('a', { pinned: true }),
      model('b', { pinned: true }),
      model('c'),
    ]);
    await models.start(new AbortController().signal);
    await expect(acquire('c')).rejects.toMatchObject({ code: 'memory-full' });
    expect(loadedNow(models)).toEqual(['a', 'b']);
  });
});

test('one that is taken away is gone at once: who asks while it is put out does not load it again', async () => {
  const { acquire, models, events } = setUp([model('a'), model('b', { pinned: true })]);
  const using = await acquire('a');
  await expect(models.remove('a')).rejects.toMatchObject({ code: 'model-busy' });
  using.release();
  const gone = models.remove('a');
  await expect(acquire('a')).rejects.toMatchObject({ code: 'model-unknown' });
  await gone;
  expect(models.status().map((one) => one.model.name)).toEqual(['b']);
  expect(events).toEqual(['loading a', 'loaded a', 'unloaded a', 'closed a']);
  await expect(models.remove('b')).rejects.toMatchObject({ code: 'model-pinned' });
  expect(models.find('b')).toBeDefined();
});

test('what a model takes is chosen by what others leave, and counts as it came', async () => {
  const rooms: number[] = [];
  const opener = {
    bytesOf: async (_: unknown, __: unknown, ___: unknown, room: number) => Math.min(15, Math.max(10, room)),
    open: async ({ name }: ServedModel, _: unknown, __: unknown, room: number) => {
      rooms.push(room);
      const [ended, die] = [new Promise<unknown>(() => undefined), () => undefined];
      return { name, bytes: Math.min(15, room), ended, die, [Symbol.asyncDispose]: async () => undefined };
    },
  };
  const { acquire, models, events } = setUp([model('a'), model('b')], { opener, budgetBytes: 26 });
  (await acquire('a')).release();
  (await acquire('b')).release();
  expect(rooms).toEqual([26, 11]);
  expect(models.status().map(({ bytes }) => bytes)).toEqual([15, 11]);
  expect(events).not.toContain('evicted a');
  const few = setUp([model('a'), model('b')], { opener, budgetBytes: 20 });
  (await few.acquire('a')).release();
  (await few.acquire('b')).release();
  // Once the other is out there is more than when it was asked for.
  expect(few.models.status().map(({ state, bytes }) => [state, bytes])).toEqual([
    ['absent', 15],
    ['ready', 15],
  ]);
});

describe('what goes wrong', () => {
  test('a model that cannot be loaded is told of without its path, and tried again', async () => {
    const { acquire, events } = setUp([model('a'), model('b')], { fails: 'a' });
    for (let i = 0; i < 2; i++) {
      const error = await acquire('a').catch((one: unknown) => one);
      expect(error).toMatchObject({ code: 'model-unloadable' });
      expect(String(error)).not.toContain('/srv');
      expect(String((error as Error).cause)).toContain('/srv');
    }
    expect(events).toEqual(['loading a', 'failed a', 'loading a', 'failed a']);
    await acquire('b');
  });

  test('an engine that dies in use is started again; one that nobody used is not', async () => {
    const { acquire, models, events } = setUp([model('a')]);
    const lease = await acquire('a');
    lease.model.die();
    await vi.advanceTimersByTimeAsync(1);
    expect(events).toEqual(['loading a', 'loaded a', 'closed a', 'died a', 'loading a', 'loaded a']);
    lease.release();
    models.peek('a')!.die();
    await vi.advanceTimersByTimeAsync(1);
    expect(loadedNow(models)).toEqual([]);
  });

  test('one that dies again and again waits to be asked', async () => {
    const { models, acquire } = setUp([model('a', { pinned: true })]);
    await models.start(new AbortController().signal);
    for (let i = 0; i < 3; i++) {
      models.peek('a')!.die();
      await vi.advanceTimersByTimeAsync(1);
    }
    expect(loadedNow(models)).toEqual([]);
    await acquire('a');
    expect(loadedNow(models)).toEqual(['a']);
  });

  test('who leaves while a model is loaded leaves the load to others', async () => {
    const { models, hold, loads, acquire } = setUp([model('a')]);
    hold();
    const controller = new AbortController();
    const left = models.acquire('a', { signal: controller.signal });
    const stays = acquire('a');
    await vi.waitFor(() => expect(loads).toHaveLength(1));
    controller.abort(new Error('left'));
    await expect(left).rejects.toThrow('left');
    loads[0]!();
    expect((await stays).model.name).toBe('a');
  });

  test('closing closes all, and takes nothing new', async () => {
    const { models, acquire, events } = setUp([model('a'), model('b')]);
    await acquire('a');
    await models[Symbol.asyncDispose]();
    expect(events.at(-1)).toBe('closed a');
    await expect(acquire('b')).rejects.toMatchObject({ code: 'closing' });
  });
});
