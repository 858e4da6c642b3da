import { expect, test } from 'vitest';
import { findInFamily, readFamily } from '../hub/family.ts';
import { parseMachine } from '../planner/machine.ts';
import { type PlanRequest, planModel } from '../planner/plan.ts';
import { type Quantization, subjectOf } from '../planner/subject.ts';
import { modelReport } from './plan-view.ts';

function reported(name: string, quantization: Quantization, gib: number, request: PlanRequest = {}): string {
  const machine = parseMachine({ name: 'pc', cpu: { cores: 8 }, memory: { gib, gb_per_second: 60 } }, 'pc');
  const plan = planModel(subjectOf(findInFamily(readFamily(), name), quantization), machine, request);
  return modelReport(machine, plan, []);
}

test('a context longer than the model has is said to be cut', () => {
  expect(reported('deepseek-llm-7b-chat', 'Q4_K_M', 64, { contextTokens: 10_000 })).toMatch(
    /4,096 tokens of context: .*\n +the model's longest context: 10,000 were asked for/,
  );
  expect(reported('deepseek-llm-7b-chat', 'Q4_K_M', 64)).not.toContain('were asked for');
});

test('a file that nobody is known to publish comes with the commands that make it', () => {
  expect(reported('v2-lite', 'Q4_K_M', 64)).toContain(
    'no repository with Q4_K_M is known here; make it: hadal pull deepseek-ai/DeepSeek-V2-Lite, hadal convert FOLDER --to Q4_K_M',
  );
  expect(reported('v3', 'Q4_K_M', 64)).not.toMatch(/^file/m);
  expect(reported('v3', 'IQ4_XS', 64)).toContain(
    'unsloth/DeepSeek-V3-GGUF may not have IQ4_XS: hadal pull deepseek-v3:IQ4_XS says what it has',
  );
});

test('a refusal for want of room says how much is wanted and there, one for the format what to ask for', () => {
  // 673 GB of weights, 0.6 GB of cache on each of eight; 80 GiB each, of which 95 % less 1.2 GB can be taken.
  const eight = parseMachine(
    {
      name: 'eight',
      cpu: { cores: 96 },
      memory: { gib: 2048 },
      gpus: [{ name: 'H800', count: 8 }],
    },
    'eight',
  );
  const report = (quantization: Quantization) =>
    modelReport(eight, planModel(subjectOf(findInFamily(readFamily(), 'v3'), quantization), eight, {}), []);
  expect(report('native')).toMatch(
    /vLLM +it does not fit: 678 GB are wanted, 643 GB of 8 equal GPUs can be taken\n/,
  );
  expect(report('native')).toMatch(/llama\.cpp +it takes GGUF files: hadal plan deepseek-v3:Q4_K_M\n/);
  expect(report('Q8_0')).toMatch(/SGLang +it takes published folders: hadal plan deepseek-v3:native\n/);
  expect(reported('v4-pro', 'Q8_0', 16)).toMatch(
    /llama\.cpp +it does not fit: 1\.67 TB are wanted, 14\.9 GB/,
  );
});

test('a described machine is named, and nothing is said of its free memory', () => {
  const report = reported('v2-lite', 'Q4_K_M', 64);
  expect(report).toMatch(/^machine +pc, 8 cores/);
  expect(report).not.toContain('free now');
});

test('what does not fit and what nobody runs are told apart', () => {
  expect(reported('v3', 'Q4_K_M', 16)).toContain('It does not fit. `hadal plan` alone lists what does.');
  expect(reported('deepseek-vl-7b-chat', 'Q4_K_M', 64)).toContain(
    'Nothing that is planned for here runs it.',
  );
});
