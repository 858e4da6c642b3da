import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { HadalError } from '../error.ts';
import { chooseBackend } from './choose.node.ts';
import { nativeIsas, nativeProblem } from './native/native.node.ts';

const built = nativeProblem() === undefined;

/** What choosing in this environment throws. */
function refusal(env: Record<string, string>): HadalError {
  try {
    chooseBackend({ env });
  } catch (error) {
    expect(error).toBeInstanceOf(HadalError);
    return error as HadalError;
  }
  throw new Error('nothing was thrown');
}

test('the reference backend is had by name, without a warning', async () => {
  const warnings: string[] = [];
  const onWarning = (sentence: string) => warnings.push(sentence);
  await using backend = chooseBackend({ env: { HADAL_BACKEND: 'reference' }, onWarning });
  expect(backend.info).toEqual({ name: 'reference', isa: 'javascript', threads: 1 });
  expect(warnings).toEqual([]);
});

test('values that mean nothing are refused by the name of their variable', () => {
  const unknown = refusal({ HADAL_BACKEND: 'cuda' });
  expect(unknown.code).toBe('environment');
  expect(unknown.message).toMatch(/^HADAL_BACKEND: expected native or reference, got "cuda"; /);
  for (const HADAL_THREADS of ['0', '-1', '2.5', 'two', '100000', ' ']) {
    const fault = refusal({ HADAL_BACKEND: 'reference', HADAL_THREADS });
    expect(fault.code).toBe('environment');
    expect(fault.message).toContain('HADAL_THREADS');
    expect(fault.message).toContain(`"${HADAL_THREADS}"`);
  }
});

test('empty values are as good as none', async () => {
  const env = { HADAL_BACKEND: '', HADAL_ISA: '', HADAL_THREADS: '' };
  await using backend = chooseBackend({ env, onWarning: () => {} });
  expect(backend.info.name).toBe(built ? 'native' : 'reference');
});

describe.skipIf(!built)('with the addon [needs native]', () => {
  test('instruction sets and threads are those that were asked for, arguments before the environment', async () => {
    for (const isa of nativeIsas()) {
      await using backend = chooseBackend({ env: { HADAL_ISA: isa, HADAL_THREADS: '2' } });
      expect(backend.info).toEqual({ name: 'native', isa, threads: 2 });
    }
    await using backend = chooseBackend({
      env: { HADAL_ISA: 'avx9000', HADAL_THREADS: 'x' },
      isa: 'scalar',
      threads: 3,
    });
    expect(backend.info).toEqual({ name: 'native', isa: 'scalar', threads: 3 });
  });

  test('an instruction set that is not there is refused with those that are', () => {
    const fault = refusal({ HADAL_ISA: 'avx9000' });
    expect(fault.code).toBe('environment');
    expect(fault.message).toContain('scalar');
  });
});

describe('without the addon', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.resetModules();
  });

  /** `chooseBackend` of modules that look for the addon at a place. */
  async function lookingAt(place: string): Promise<typeof chooseBackend> {
    vi.resetModules();
    vi.stubEnv('HADAL_NATIVE', place);
    return (await import('./choose.node.ts')).chooseBackend;
  }

  test('one warning says why, and the reference backend computes', async () => {
    for (const [place, reason] of [
      ['/nowhere/hadal.node', 'where nothing is'],
      [fileURLToPath(import.meta.url).replace(/choose.*/, 'shapes.ts'), 'cannot be loaded'],
    ] as const) {
      const choose = await lookingAt(place);
      const warnings: string[] = [];
      await using backend = choose({ env: {}, onWarning: (sentence) => warnings.push(sentence) });
      expect(backend.info.name).toBe('reference');
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toContain(place);
      expect(warnings[0]).toContain(reason);
      expect(warnings[0]).not.toContain('\n');
    }
  });

  test('the native backend by name is refused with the reason', async () => {
    const choose = await lookingAt('/nowhere/hadal.node');
    expect(() => choose({ env: { HADAL_BACKEND: 'native' } })).toThrow(
      expect.objectContaining({ code: 'native-unavailable', message: expect.stringContaining('/nowhere') }),
    );
  });
});
