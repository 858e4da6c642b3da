/** The built commands that write models: kills at any moment, a disk that fills, what they need, what they refuse. */
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hadal, inOwnMounts, MAIN, scratchFolder, startHadal } from '../fixtures/command.ts';
import { describeWith } from '../fixtures/needs.ts';
import { writeNoiseModel } from '../fixtures/noise-model.ts';
import { toyLlama } from '../fixtures/toy-model.ts';

let folder: Awaited<ReturnType<typeof scratchFolder>>;
const at = (name: string) => join(folder.path, name);
const hf = (name: string) => fileURLToPath(new URL(`../golden/hf/${name}`, import.meta.url));
beforeAll(async () => {
  folder = await scratchFolder();
  writeNoiseModel(at('noise-bf16.gguf'), { layers: 10 });
  writeFileSync(at('toy.gguf'), toyLlama());
  writeFileSync(at('text.txt'), 'hello world, said the toy; and again hello, over and over. '.repeat(6));
});
afterAll(() => folder[Symbol.asyncDispose]());

const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
const made = (prefix: string) => readdirSync(folder.path).filter((name) => name.startsWith(prefix));
/** Journals are kept shard by shard. */
const SHARDS = ['--shard-gb', '0.005'];

test('quantizing that is killed at random moments leaves nothing under a final name, goes on, and ends with the same bytes', {
  timeout: 300_000,
}, async () => {
  const quantize = (out: string) => [
    'quantize',
    at('noise-bf16.gguf'),
    'Q4_K_M',
    '--out',
    at(out),
    ...SHARDS,
  ];
  const startedMs = performance.now();
  expect(await hadal(quantize('whole.gguf'))).toMatchObject({ code: 0 });
  const wholeMs = performance.now() - startedMs;
  const names = made('whole-').sort();
  expect(names.length).toBeGreaterThan(3);
  let killed = 0;
  let resumed = 0;
  let seed = 5;
  for (let run = 0; run < 6; run++) {
    seed = (seed * 48_271) % 2_147_483_647;
    const { child, finished } = startHadal([...quantize('q.gguf'), '--json']);
    setTimeout(() => child.kill('SIGKILL'), wholeMs * (0.2 + (0.7 * seed) / 2_147_483_647));
    const { signal, code, out } = await finished;
    if (signal === 'SIGKILL') killed++;
    else resumed = JSON.parse(out).resumedTensors;
    expect(signal === 'SIGKILL' || code === 0).toBe(true);
    const there = made('q-').filter((name) => name.endsWith('.gguf'));
    for (const name of there)
      expect([name, digest(at(name))]).toEqual([name, digest(at(name.replace('q-', 'whole-')))]);
    if (code === 0) break;
  }
  expect(killed).toBeGreaterThan(0);
  if (!made('q-').includes(names.at(-1)!.replace('whole-', 'q-'))) {
    const last = await hadal([...quantize('q.gguf'), '--json']);
    expect(last.code, last.err).toBe(0);
    resumed = JSON.parse(last.out).resumedTensors;
  }
  expect(resumed).toBeGreaterThan(0);
  expect(made('q-').sort()).toEqual(names.map((name) => name.replace('whole-', 'q-')));
  for (const name of names) expect(digest(at(name.replace('whole-', 'q-')))).toBe(digest(at(name)));
  expect(made('q.gguf')).toEqual([]);
});

test('converting goes on after a kill, by a part of the same folder', { timeout: 120_000 }, async () => {
  const convert = (out: string) => [
    'convert',
    hf('fp8'),
    '--to',
    'Q8_0',
    '--out',
    at(out),
    '--shard-gb',
    '0.001',
  ];
  expect(await hadal(convert('c-whole.gguf'))).toMatchObject({ code: 0 });
  // It is over too soon to be met in the middle: whatever stands after a kill has to be gone on from.
  for (const afterMs of [150, 300, 450, 600]) {
    const { child, finished } = startHadal(convert('c.gguf'));
    setTimeout(() => child.kill('SIGKILL'), afterMs);
    const { code } = await finished;
    if (code === 0) break;
    if (existsSync(at('c.gguf'))) expect(digest(at('c.gguf'))).toBe(digest(at('c-whole.gguf')));
  }
  const { code, err } = await hadal([...convert('c.gguf'), '--force']);
  expect([code, err.includes('hadal:')]).toEqual([0, false]);
  expect(digest(at('c.gguf'))).toBe(digest(at('c-whole.gguf')));
});

/** $0 is the folder, $1 node, $2 the program, $3 the model. Room for the file, until something else takes it. */
const FILLING = `
mount -t tmpfs -o size=60m none "$0" || exit 9
( until ls "$0"/*.part; do sleep 0.02; done; head -c 100M /dev/zero > "$0/other" ) >/dev/null 2>&1 &
filler=$!
"$1" "$2" quantize "$3" Q8_0 --out "$0/q.gguf"; echo "first $?"
wait $filler
ls "$0" | grep -c 'gguf$'
rm "$0/other"
"$1" "$2" quantize "$3" Q8_0 --out "$0/q.gguf" | tail -1; echo "second $?"
ls "$0"
sha256sum < "$0/q.gguf"
`;

describeWith(['mounts'], 'a disk that fills', () => {
  test('while a model is quantized is said with what to do, leaves no model, and the run goes on later', {
    timeout: 120_000,
  }, async () => {
    const place = at('mounted');
    mkdirSync(place);
    expect(await hadal(['quantize', at('noise-bf16.gguf'), 'Q8_0', '--out', at('d.gguf')])).toMatchObject({
      code: 0,
    });
    const { lines, err } = await inOwnMounts(
      FILLING,
      [place, process.execPath, MAIN, at('noise-bf16.gguf')],
      {},
    );
    expect(err).toMatch(/is full; make room and run the command again/);
    const path = join(place, 'q.gguf');
    expect(lines).toEqual(['first 1', '0', path, 'second 0', 'q.gguf', `${digest(at('d.gguf'))} -`, '']);
  });
});

test.skipIf(process.platform !== 'linux')(
  'a model of any size, and tensors of any size, take little memory',
  {
    timeout: 120_000,
  },
  async () => {
    // 800 MB, of which each large tensor has 134.
    writeNoiseModel(at('large.gguf'), { layers: 2, inter: 131_072, zeros: true });
    const { child, finished } = startHadal([
      'quantize',
      at('large.gguf'),
      'Q4_0',
      '--out',
      at('large-q4_0.gguf'),
    ]);
    let peakBytes = 0;
    const watching = setInterval(() => {
      try {
        const [, kilobytes] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8')) ?? [];
        peakBytes = Math.max(peakBytes, 1024 * Number(kilobytes ?? 0));
      } catch {
        // It has ended.
      }
    }, 20);
    const { code } = await finished;
    clearInterval(watching);
    console.info(`${Math.round(peakBytes / 1e6)} MB resident at most`);
    expect(code).toBe(0);
    expect(peakBytes).toBeGreaterThan(50e6);
    expect(peakBytes).toBeLessThan(500e6);
  },
);

test('an importance matrix of the converted model is used while converting', async () => {
  const plain = ['convert', hf('bf16'), '--to', 'Q4_0', '--out'];
  expect(await hadal(['convert', hf('bf16'), '--out', at('base.gguf')])).toMatchObject({ code: 0 });
  const imatrix = ['imatrix', at('base.gguf'), at('text.txt'), '--ctx', '32', '-o', at('base-imatrix.gguf')];
  expect(await hadal(imatrix)).toMatchObject({ code: 0 });
  const weighed = ['--imatrix', at('base-imatrix.gguf')];
  expect(await hadal([...plain, at('weighed.gguf'), ...weighed])).toMatchObject({ code: 0 });
  expect(await hadal([...plain, at('plain.gguf')])).toMatchObject({ code: 0 });
  // The same as in two steps.
  const steps = ['quantize', at('base.gguf'), 'Q4_0', '--out', at('steps.gguf'), ...weighed];
  expect(await hadal(steps)).toMatchObject({ code: 0 });
  // All that is left of the header is the same in both.
  const data = (name: string) =>
    createHash('sha256')
      .update(readFileSync(at(name)).subarray(-50_000))
      .digest('hex');
  expect(data('weighed.gguf')).toBe(data('steps.gguf'));
  expect(data('weighed.gguf')).not.toBe(data('plain.gguf'));
});

test('an unknown architecture, a tensor that belongs to none and one that is missing are named, and leave nothing', async () => {
  const before = readdirSync(folder.path);
  const spoilt = at('spoilt');
  const convert = async (file: string, from: string, to: string) => {
    cpSync(hf('f16'), spoilt, { recursive: true });
    const text = readFileSync(join(spoilt, file), 'latin1');
    expect(text).toContain(from);
    writeFileSync(join(spoilt, file), text.replaceAll(from, to), 'latin1');
    const { code, err } = await hadal(['convert', spoilt, '--out', at('spoilt.gguf')]);
    rmSync(spoilt, { recursive: true });
    return [code, err];
  };
  const mamba = await convert('config.json', '"qwen3"', '"mamba"');
  expect(mamba).toEqual([1, expect.stringMatching(/mamba.*expected|expected.*mamba/s)]);
  const missing = await convert('model.safetensors', 'layers.1.mlp.up_proj', 'layers.1.mlp.in_proj');
  expect(missing).toEqual([1, expect.stringContaining('layers.1.mlp.up_proj.weight')]);
  const unread = await convert('config.json', '"num_hidden_layers": 2', '"num_hidden_layers": 1');
  expect(unread).toEqual([1, expect.stringMatching(/layers\.1\..*expected only tensors that/)]);
  const gguf = readFileSync(at('toy.gguf')).toString('latin1');
  for (const [from, to] of [
    ['blk.0.ffn_up.weight', 'blk.0.ffn_in.weight'],
    ['llama', 'mamba'],
  ] as const) {
    writeFileSync(at('spoilt-in.gguf'), gguf.replaceAll(from, to), 'latin1');
    const { code, err } = await hadal(['quantize', at('spoilt-in.gguf'), 'Q8_0', '--out', at('spoilt.gguf')]);
    expect([code, err]).toEqual([
      1,
      expect.stringMatching(from === 'llama' ? /mamba/ : /blk\.0\.ffn_(up|in)\.weight/),
    ]);
    rmSync(at('spoilt-in.gguf'));
  }
  expect(readdirSync(folder.path)).toEqual(before);
});

test('the schema of recipes is printed, and says what there is', async () => {
  for (const command of ['quantize', 'convert']) {
    const { code, out } = await hadal([command, '--schema']);
    expect(code).toBe(0);
    const schema = JSON.parse(out);
    expect(schema.properties.base.description).toContain('Q4_K_M');
    expect(schema.properties.tensors.items.required).toEqual(['pattern', 'type']);
  }
});

test('comparing refuses what cannot be done before anything is measured, and replaces no picture unasked', async () => {
  writeFileSync(at('mine.svg'), 'mine');
  const compareOf = (model: string, ...more: string[]) =>
    hadal(['quantize', at(model), 'Q8_0', ...more, '--compare', at('text.txt'), '--out', at('r.jsonl')]);
  const compare = (...more: string[]) => compareOf('toy.gguf', ...more);
  const results = () => existsSync(at('r.jsonl'));
  const picture = await compare('--svg', at('mine.svg'));
  expect([picture.code, picture.err.includes('--force'), results()]).toEqual([1, true, false]);
  const needy = await compareOf('noise-bf16.gguf', 'IQ2_XS');
  expect([needy.code, needy.err.includes('--imatrix'), results()]).toEqual([1, true, false]);
  expect((await compare('--force')).code).toBe(2);
  writeFileSync(at('r.jsonl'), 'GGUF and more');
  const foreign = await compare();
  expect([foreign.code, foreign.err]).toEqual([1, expect.stringContaining('a file of something else')]);
  expect(readFileSync(at('r.jsonl'), 'utf8')).toBe('GGUF and more');
  expect(readFileSync(at('mine.svg'), 'utf8')).toBe('mine');
});
