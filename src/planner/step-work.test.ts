/**
 * Owns: the counted work of a token, held against the operations that the same model records.
 * Refuses to know: how long anything takes.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { runTokens } from '../../test/fixtures/run-model.ts';
import { toyGgufFile } from '../../test/fixtures/toy-file.ts';
import type { ToyShape } from '../../test/fixtures/toy-weights.ts';
import type { Backend, Product, RopeOptions, Tensor, Weight } from '../backend/backend.ts';
import { createReferenceBackend } from '../backend/reference/reference.ts';
import { configFromGguf } from '../model/config-gguf.ts';
import { loadModel } from '../model/load.ts';
import { stepWork } from './step-work.ts';

const shapes = JSON.parse(
  readFileSync(new URL('../../test/golden/models/shapes.json', import.meta.url), 'utf8'),
) as readonly ToyShape[];

/** What goes through the operations of one token. */
interface Tally {
  calls: number;
  normed: number;
  rotated: number;
  turned: number;
  gated: number;
  kept: number;
  routed: number;
  rounded: number;
  placed: number;
}

/** A backend that counts what it is asked for. */
function counting(backend: Backend, tally: Tally): Backend {
  const counts: Readonly<Record<string, (...args: never[]) => void>> = {
    embed: () => {},
    gather: () => {},
    attend: () => {},
    latentAttend: () => {},
    pickRows: () => {},
    layerNorm: (_span: unknown, out: Tensor) => {
      tally.normed += out.cols;
    },
    rmsNorm: (_span: unknown, out: Tensor) => {
      tally.normed += out.cols;
    },
    rope: (...[, , , , { heads, ropeDim }]: [unknown, unknown, unknown, unknown, RopeOptions]) => {
      tally.rotated += heads * ropeDim;
      tally.turned += ropeDim;
    },
    store: (...[, , x]: [unknown, unknown, Tensor]) => {
      tally.kept += x.cols;
    },
    route: (...[, , , logits]: [unknown, unknown, unknown, Tensor]) => {
      tally.routed += logits.cols;
    },
    matmul: (_span: unknown, x: Tensor, products: readonly Product[]) => {
      const names = products.map(({ weight }) => weight.name);
      // Routers stay floats, and logits are counted by themselves.
      if (!names.some((name) => name.includes('ffn_gate_inp'))) tally.rounded += x.cols;
      if (!names.some((name) => /^(?:output|token_embd)\./.test(name)))
        tally.placed += products.reduce((sum, { weight, gate }) => sum + weight.rows + (gate?.rows ?? 0), 0);
      for (const { gate } of products) tally.gated += gate?.rows ?? 0;
    },
    experts: (
      ...[, out, , ids, , { gate }]: [unknown, Tensor, unknown, Tensor, unknown, { gate: Weight }]
    ) => {
      tally.gated += ids.cols * gate.rows;
      tally.rounded += ids.cols * (out.cols + gate.rows);
      tally.placed += ids.cols * (2 * gate.rows + out.cols);
    },
  };
  return new Proxy(backend, {
    get(of, key) {
      const value = Reflect.get(of, key) as unknown;
      const count = counts[String(key)];
      if (count === undefined || typeof value !== 'function') return value;
      return (...args: never[]) => {
        tally.calls++;
        count(...args);
        return value.apply(of, args);
      };
    },
  });
}

test.each(shapes)('$name: what is counted is what is recorded', async (shape) => {
  const tally: Tally = {
    calls: 0,
    normed: 0,
    rotated: 0,
    turned: 0,
    gated: 0,
    kept: 0,
    routed: 0,
    rounded: 0,
    placed: 0,
  };
  await using backend = createReferenceBackend();
  const file = toyGgufFile(shape);
  const on = counting(backend, tally);
  await runTokens(await loadModel(file, on), on, [1], { decode: 1 });
  const { calls, numbers } = stepWork(configFromGguf(file));
  const { heads: _, picked, ...counted } = numbers;
  // The best of the logits is picked by the engine.
  expect({ calls: calls - 1, ...counted }).toEqual(tally);
  expect(picked).toBe(shape.vocab);
});
