import { expect, test } from 'vitest';
import { adversaries } from '../../bench/formats/texts.mjs';
import { ggufFields, golden } from '../../test/golden/tokenizer/golden.ts';
import { tokenizerFromGguf } from './from-gguf.ts';

/** Ten times what the slowest takes; a quadratic tokenizer would need hours. */
const HANG_MS = 30_000;

const tokenizer = tokenizerFromGguf(ggufFields(golden('deepseek-v3').tokenizer, 'deepseek-v3'));

test.each(adversaries())(
  '1 MB of %s is cut in bounded time and comes back',
  (_name, text) => {
    expect(tokenizer.decode(tokenizer.encode(text), { special: true }) === text).toBe(true);
  },
  HANG_MS,
);

test.each(adversaries())(
  '1 MB of %s is cut in steps, to the same ids',
  (_name, text) => {
    const steps = tokenizer.encodeInSteps(text);
    let count = 1;
    let step = steps.next();
    for (; !step.done; step = steps.next()) count++;
    expect(count).toBeGreaterThan(50);
    expect(Buffer.compare(Buffer.from(step.value.buffer), Buffer.from(tokenizer.encode(text).buffer))).toBe(
      0,
    );
  },
  HANG_MS,
);
