import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { findInFamily, readFamily } from '../hub/family.ts';
import { together } from './kernel-rates.ts';
import { parseMachine, readMachine } from './machine.ts';
import { type ModelPlan, type PlanRequest, planFamily, planModel, type Way, waysToFit } from './plan.ts';
import { parseNvidiaTool, parseVulkanTool, probeMachine } from './probe.ts';
import { readingAgain } from './speed.ts';
import { bytesByPart, heldBy, type Quantization, subjectOf, weightBytes } from './subject.ts';

const family = readFamily();
const machine = (name: string) =>
  readMachine(fileURLToPath(new URL(`../../test/fixtures/machines/${name}.json`, import.meta.url)));

function plan(name: string, quantization: Quantization, on: string, request: PlanRequest = {}): ModelPlan {
  return planModel(subjectOf(findInFamily(family, name), quantization), machine(on), request);
}

function way(of: ModelPlan, engine: Way['engine']): Way {
  const found = of.ways.find((candidate) => candidate.engine === engine);
  expect(found, `${engine}: ${JSON.stringify(of.refusals)}`).toBeDefined();
  return found!;
}

const kinds = ({ placement }: Way) => [...new Set(placement.held.map(({ device }) => device.kind))];

describe('the usual questions', () => {
  test('one RTX 3090 holds a distill of 32 billion in four bits, and not the one of 70', () => {
    const fits = way(plan('r1-distill-qwen-32b', 'Q4_K_M', 'rtx3090', { contextTokens: 4096 }), 'llama.cpp');
    // The embedding is looked up, so it stays in memory.
    expect(fits.placement.held.map(({ device }) => device.id)).toEqual(['GPU 0', 'memory']);
    expect(fits.placement.held[0]?.layers).toHaveLength(64);
    expect(fits.command).toContain('-ngl 99');
    const large = way(plan('r1-distill-llama-70b', 'Q4_K_M', 'rtx3090'), 'llama.cpp');
    expect(large.placement.held[0]?.layers.length).toBeLessThan(80);
    expect(large.command).toMatch(/-ngl [1-7]\d /);
  });

  test('four RTX 4090 with 256 GB hold V3 only under four bits, its experts in memory', () => {
    expect(way(plan('v3', 'Q4_K_M', 'rtx4090x4'), 'llama.cpp').fromDisk).toBe(true);
    const three = way(plan('v3', 'IQ3_XXS', 'rtx4090x4'), 'llama.cpp');
    expect(three.fromDisk).toBe(false);
    expect(kinds(three)).toEqual(['gpu', 'memory']);
    const memory = three.placement.held.find(({ device }) => device.kind === 'memory');
    expect(memory?.layers).toEqual([]);
    expect(memory?.expertLayers.length).toBeGreaterThan(20);
    expect(three.command).toMatch(/--n-cpu-moe|-ot /);
  });

  test('four RTX 4090 hold a distill of 70 billion whole', () => {
    const { placement } = way(plan('r1-distill-llama-70b', 'Q4_K_M', 'rtx4090x4'), 'llama.cpp');
    const onGpus = placement.held.filter(({ device }) => device.kind === 'gpu');
    expect(onGpus).toHaveLength(4);
    expect(onGpus.flatMap(({ layers }) => layers)).toHaveLength(80);
  });

  test('a workstation of 512 GB holds V3 in four and five bits, and Hadal runs it', () => {
    for (const quantization of ['Q4_K_M', 'Q5_K_M'] as const) {
      expect(way(plan('v3', quantization, 'workstation-512'), 'hadal').command).toContain('hadal serve');
    }
    expect(plan('v3', 'Q8_0', 'workstation-512').ways.every(({ fromDisk }) => fromDisk)).toBe(true);
  });

  test('eight H800 do not hold V3 in FP8, but hold it in six bits, V2.5 in BF16 and V4-Flash as published', () => {
    const fp8 = plan('v3', 'native', 'h800x8');
    expect(fp8.ways.map(({ engine }) => engine)).toEqual(['hadal']);
    expect(kinds(way(plan('v3', 'Q6_K', 'h800x8'), 'llama.cpp'))).toEqual(['gpu', 'memory']);
    for (const name of ['v2.5', 'v4-flash']) {
      expect(way(plan(name, 'native', 'h800x8'), 'vllm').command).toContain(
        'vllm serve deepseek-ai/DeepSeek-V',
      );
      expect(way(plan(name, 'native', 'h800x8'), 'sglang').command).toContain('--tp ');
    }
  });

  test('sixteen H800 hold V3 in FP8', () => {
    const two = parseMachine(
      { name: 'two', cpu: { cores: 96 }, memory: { gib: 2048 }, gpus: [{ name: 'H800', count: 16 }] },
      'two',
    );
    const plans = planModel(subjectOf(findInFamily(family, 'v3'), 'native'), two, {});
    expect(way(plans, 'vllm').command).toContain('--tensor-parallel-size 16');
  });

  test('a Mac of 192 GB holds V2.5 in four bits and V3 in none of the usual ones', () => {
    expect(kinds(way(plan('v2.5', 'Q4_K_M', 'mac-192'), 'llama.cpp'))).toEqual(['gpu']);
    expect(plan('v3', 'Q4_K_M', 'mac-192').ways.every(({ fromDisk }) => fromDisk)).toBe(true);
    const { command } = way(plan('r1-distill-qwen-32b', 'Q8_0', 'mac-192'), 'llama.cpp');
    expect(command).toContain('-hf unsloth/DeepSeek-R1-Distill-Qwen-32B-GGUF:Q8_0');
  });

  test('nobody is sent to an engine that does not run the model', () => {
    // Upstream: V4.1 is an open pull request of llama.cpp, VL2 was closed undone, Janus-Pro and OCR are in.
    const engines = (name: string, quantization: Quantization) =>
      plan(name, quantization, 'h800x8').ways.map(({ engine }) => engine);
    expect(engines('v4.1-flash', 'Q4_K_M')).toEqual([]);
    expect(engines('v4.1-flash', 'native').toSorted()).toEqual(['sglang', 'vllm']);
    expect(engines('v4-flash', 'Q4_K_M')).toEqual(['llama.cpp']);
    expect(engines('deepseek-vl2', 'Q4_K_M')).toEqual([]);
    expect(engines('janus-pro-7b', 'native')).toEqual(['sglang']);
    expect(engines('deepseek-vl-7b-chat', 'native')).toEqual([]);
    expect(way(plan('deepseek-vl2', 'native', 'h800x8'), 'vllm').command).toContain('--hf-overrides');
    expect(way(plan('deepseek-ocr', 'Q8_0', 'laptop-16'), 'llama.cpp').command).toContain('--mmproj');
    const listed = planFamily(family, machine('laptop-16'), {});
    expect(listed.every(({ ways }) => ways.length > 0)).toBe(true);
    expect(listed.map(({ subject }) => subject.name)).not.toContain('deepseek-vl-1.3b-base');
  });

  test('a command asks for what was planned: conversations, cache, and a name that can be fetched', () => {
    const request = { sequences: 4, cacheDType: 'Q8_0' } as const;
    const wanted = plan('v2.5', 'native', 'h800x8', request);
    expect(way(wanted, 'vllm').command).toMatch(/--max-num-seqs 4 --kv-cache-dtype fp8$/);
    expect(way(wanted, 'sglang').command).toMatch(/--max-running-requests 4 --kv-cache-dtype fp8_e4m3 /);
    expect(way(plan('v3', 'Q4_K_M', 'workstation-512', request), 'llama.cpp').command).toMatch(
      /-c 32768 -np 4 .*-ctk q8_0 -ctv q8_0/,
    );
    expect(wanted.refusals).toContainEqual({
      engine: 'hadal',
      why: 'hadal serve keeps its cache in F16',
      tooSmall: false,
    });
    expect(way(plan('v3', 'Q4_K_M', 'workstation-512', { sequences: 4 }), 'hadal').command).toBe(
      'hadal serve deepseek-v3:Q4_K_M --context 8192 --parallel 4',
    );
    expect(way(plan('v2-lite', 'Q4_K_M', 'workstation-512'), 'hadal').command).toContain(
      './DeepSeek-V2-Lite-Q4_K_M.gguf',
    );
  });

  test('a laptop of 16 GB is offered distills up to 14 billion, and models of 16 with experts', () => {
    const titles = planFamily(family, machine('laptop-16'), {}).map(({ subject }) => subject.title);
    expect(titles).toContain('DeepSeek-R1-Distill-Qwen-14B');
    expect(titles).toContain('DeepSeek-Coder-V2-Lite-Instruct');
    expect(titles).not.toContain('DeepSeek-R1-Distill-Llama-70B');
    expect(titles).not.toContain('DeepSeek-V3');
  });
});

describe('placements', () => {
  test.each(['rtx3090', 'rtx4090x4', 'mac-192', 'h800x8', 'laptop-16', 'workstation-512'])(
    'on %s nothing is lost and nothing is over-full',
    (name) => {
      const on = machine(name);
      for (const model of [
        'v3',
        'v2-lite',
        'r1-distill-llama-70b',
        'v4-flash',
        'deepseek-v4.1-flash',
        'deepseek-vl2',
      ]) {
        for (const quantization of ['Q8_0', 'Q4_K_M', 'IQ1_S'] as const) {
          const made = plan(model, quantization, name);
          for (const { engine, placement, longestContext } of made.ways) {
            const held = placement.held.reduce((sum, part) => sum + part.weightBytes, 0);
            const all = engine === 'hadal' ? heldBy(made.subject) : made.subject;
            expect(held / weightBytes(all)).toBeCloseTo(1, 9);
            for (const part of placement.held) {
              expect(part.weightBytes + part.cacheBytes).toBeLessThanOrEqual(part.device.usableBytes);
            }
            expect(longestContext).toBeGreaterThanOrEqual(made.demand.contextTokens);
            expect(longestContext).toBeLessThanOrEqual(made.subject.contextTokens);
          }
        }
      }
      expect(on.memory.bytes).toBeGreaterThan(0);
    },
  );

  test('an embedding with an output matrix beside it takes no memory of Hadal, one without takes its bytes', () => {
    const untied = subjectOf(findInFamily(family, 'v2-lite'), 'Q4_K_M');
    const tied = { ...untied, tensors: untied.tensors.filter(({ part }) => part !== 'output') };
    const embedding = bytesByPart(untied).get('embedding')!;
    expect(embedding).toBeGreaterThan(1e8);
    for (const [subject, apart] of [
      [untied, embedding],
      [tied, 0],
    ] as const) {
      const made = planModel(subject, machine('workstation-512'), {});
      const { placement } = way(made, 'hadal');
      const [held] = placement.held;
      expect(made.weightBytes).toBe(weightBytes(subject));
      expect(held?.weightBytes).toBe(made.weightBytes - apart);
      expect(placement.bytes).toBe(held!.weightBytes + made.cacheBytes + subject.scratchBytes);
      const others = way(made, 'llama.cpp').placement.held.reduce((sum, part) => sum + part.weightBytes, 0);
      expect(others).toBeCloseTo(made.weightBytes, -1);
    }
  });

  test('experts of a layer are in one place, and told once', () => {
    for (const on of ['h800x8', 'rtx4090x4', 'mac-192', 'workstation-512']) {
      for (const name of ['v4-flash', 'v3', 'v2-lite']) {
        const made = plan(name, 'Q4_K_M', on);
        for (const { placement } of made.ways) {
          const layers = placement.held.flatMap(({ expertLayers }) => expertLayers);
          expect(layers).toHaveLength(new Set(layers).size);
          expect(layers.toSorted((a, b) => a - b)[0]).toBe(name === 'v4-flash' ? 0 : name === 'v3' ? 3 : 1);
        }
      }
    }
  });

  test('a longer context never decodes faster, and a faster memory never slower', () => {
    const { decode, decodeFull } = way(
      plan('v2-lite', 'Q4_K_M', 'laptop-16', { contextTokens: 16_384 }),
      'hadal',
    );
    expect(decodeFull.tokensPerSecond).toBeLessThan(decode.tokensPerSecond);
    const on = machine('laptop-16');
    const faster = { ...on, memory: { ...on.memory, bytesPerSecond: on.memory.bytesPerSecond * 2 } };
    const subject = subjectOf(findInFamily(family, 'v2-lite'), 'Q4_K_M');
    expect(way(planModel(subject, faster, {}), 'hadal').decode.tokensPerSecond).toBeGreaterThan(
      way(planModel(subject, on, {}), 'hadal').decode.tokensPerSecond,
    );
  });

  test('what is read of a small model for a token comes in part out of the last cache', () => {
    const on = machine('laptop-16');
    const near = { ...on, memory: { ...on.memory, nearBytesPerSecond: on.memory.bytesPerSecond * 2 } };
    const rate = (name: string, quantization: Quantization, machine: typeof on) =>
      way(planModel(subjectOf(findInFamily(family, name), quantization), machine, {}), 'hadal').decode
        .tokensPerSecond;
    // It reads 0.8 GB for a token, more than any cache holds.
    expect(rate('coder-1.3b', 'Q4_K_M', near)).toBe(rate('coder-1.3b', 'Q4_K_M', on));
    const readAgain = (bytes: number) =>
      readingAgain(near, bytes).memory.bytesPerSecond / on.memory.bytesPerSecond;
    expect(readAgain(1e6)).toBeCloseTo(2, 9);
    expect(readAgain(1e9)).toBe(1);
    expect(readAgain(300e6)).toBeGreaterThan(1);
    expect(readAgain(300e6)).toBeLessThan(2);
  });

  test('reading and multiplying at once take no less than the longer and no more than both', () => {
    expect(together(3, 4, 1)).toBe(7);
    expect(together(3, 4, 2)).toBe(5);
    expect(together(3, 4, 20)).toBeCloseTo(4, 2);
    expect(together(0, 0, 2)).toBe(0);
  });

  test('what does not fit says what would', () => {
    const made = plan('v3', 'Q8_0', 'workstation-512');
    const changes = waysToFit(made, machine('workstation-512'), {});
    expect(changes).toContain('take Q5_K_M instead: 475 GB of weights');
    expect(changes.at(-1)).toMatch(/^have \d+ GiB of memory: \d+ GB are missing$/);
  });

  test('what only GPUs run asks for GPUs, and what nobody runs asks for nothing', () => {
    const native = plan('v4.1-flash', 'native', 'rtx4090x4');
    expect(waysToFit(native, machine('rtx4090x4'), {})).toEqual([
      expect.stringMatching(/^have equal GPUs with 50\d GB free in all: 9\d\.\d GB are there$/),
    ]);
    expect(waysToFit(plan('v4.1-flash', 'Q4_K_M', 'rtx4090x4'), machine('rtx4090x4'), {})).toEqual([]);
  });
});

describe('machines', () => {
  test('this machine is probed', async () => {
    const here = await probeMachine({ env: process.env, rounds: 1 });
    expect(here.cpu.cores).toBeGreaterThan(0);
    expect(here.memory.bytesPerSecond).toBeGreaterThan(1e8);
    expect(here.memory.availableBytes).toBeLessThanOrEqual(here.memory.bytes);
  });

  test('tools are understood', () => {
    expect(parseNvidiaTool('NVIDIA GeForce RTX 4090, 24564\nNVIDIA H800, 81559\n')).toEqual([
      { name: 'NVIDIA GeForce RTX 4090', vendor: 'nvidia', gib: 24564 / 1024 },
      { name: 'NVIDIA H800', vendor: 'nvidia', gib: 81559 / 1024 },
    ]);
    expect(parseNvidiaTool('NVIDIA-SMI has failed because it could not communicate')).toEqual([]);
    const summary = [
      'GPU0:',
      '\tdeviceType         = PHYSICAL_DEVICE_TYPE_DISCRETE_GPU',
      '\tdeviceName         = AMD Radeon RX 7900 XTX (RADV NAVI31)',
      'GPU1:',
      '\tdeviceType         = PHYSICAL_DEVICE_TYPE_CPU',
      '\tdeviceName         = llvmpipe (LLVM 15.0.6, 256 bits)',
    ].join('\n');
    expect(parseVulkanTool(summary)).toEqual([
      { name: 'AMD Radeon RX 7900 XTX (RADV NAVI31)', vendor: 'other' },
    ]);
  });

  test('a GPU is known by its longest name, and an unknown one is said to be assumed', () => {
    const { gpus, assumed } = parseMachine(
      {
        name: 'pc',
        cpu: { cores: 8 },
        memory: { gib: 64 },
        gpus: [{ name: 'NVIDIA GeForce RTX 4060 Ti' }, { name: 'Frobnicator 9' }],
      },
      'pc',
    );
    expect(gpus.map(({ bytes }) => bytes / 2 ** 30)).toEqual([16, 8]);
    expect(assumed.join()).toContain('Frobnicator 9 is not known');
  });

  test('a Mac is known by its chip alone, and nothing else is taken for one', () => {
    const of = (name: string) =>
      parseMachine({ name: 'mac', cpu: { cores: 24 }, memory: { gib: 192 }, gpus: [{ name }] }, 'mac')
        .gpus[0];
    for (const name of ['M2 Ultra', 'm2-ultra', 'Apple M2 Ultra']) {
      expect(of(name)).toMatchObject({ unified: true, bytesPerSecond: 800e9, bytes: 144 * 2 ** 30 });
    }
    expect(of('Quadro M4000')).toMatchObject({ unified: false });
    expect(of('Apple M3 Pro')).toMatchObject({ bytesPerSecond: 150e9 });
  });

  test.each([
    [{}, 'name'],
    [{ name: 'x', cpu: { cores: -1 }, memory: { gib: 1 } }, 'cpu.cores'],
    [{ name: 'x', cpu: { cores: 1 }, memory: { gib: '8' } }, 'memory.gib'],
    [{ name: 'x', cpu: { cores: 1 }, memory: { gib: 8 }, gpu: [] }, 'gpu'],
  ])('a broken description names its field', (json, field) => {
    expect(() => parseMachine(json, 'm.json')).toThrow(field);
  });

  test('a description that is not there says so', () => {
    expect(() => readMachine('/nowhere/machine.json')).toThrow(
      /nothing there; docs\/guide\/plan.md shows one/,
    );
  });
});
