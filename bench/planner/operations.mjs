/**
 * Owns: what the native backend takes besides products with weights: regions, calls, steps, and numbers by what is done
 * with them, as src/planner/step-work.ts counts them.
 * Refuses to know: models, number formats beyond the two kinds that activations are rounded for.
 */
import { createNativeBackend } from '../../dist/backend/native/native.node.js';
import { createEngine } from '../../dist/engine/engine.js';
import { products, rounded, someNumbers, timeOf } from './clock.mjs';
import { weightBytes } from './weights.mjs';

const ROWS = 512;
const PAGE_TOKENS = 16;

/**
 * In seconds: a region of all threads, a call of an operation, a step of the engine. In 8-bit operations of the machine:
 * for each number that is rounded, placed …; for each multiply-add of attention; for each head and token it looks at.
 */
export async function measureOperations(clock) {
  const seconds = {
    regionSeconds: rounded(await regionSeconds(clock)),
    callSeconds: rounded(await callSeconds(clock)),
    stepSeconds: rounded(await stepSeconds(clock)),
  };
  const figures = { ...(await activations(clock)), ...(await rowWise(clock)), ...(await attention(clock)) };
  return {
    ...seconds,
    ...Object.fromEntries(
      Object.entries(figures).map(([what, value]) => [what, rounded(Math.max(0, value))]),
    ),
  };
}

/** Uses a native backend of so many threads (0: all cores), which is closed afterwards. */
export async function withBackend(threads, use) {
  const backend = createNativeBackend({ threads });
  try {
    return await use(backend);
  } finally {
    await backend[Symbol.asyncDispose]();
  }
}

/** A region of all threads that has next to nothing to do. */
async function regionSeconds(clock) {
  const [cols, rows, times] = [256, 128, 256];
  return await withBackend(0, async (backend) => {
    const weight = backend.constant('w', 'Q8_0', [cols, rows], weightBytes('Q8_0', cols, rows));
    const [x, out] = [someNumbers(backend, 1, cols), backend.tensor('F32', 1, rows)];
    const region = () => timeOf(backend, out, products(backend, 1, x, out, [weight]), times);
    return (await clock.secondsOf({ region })).region;
  });
}

/** An operation on next to nothing. */
async function callSeconds(clock) {
  return await withBackend(1, async (backend) => {
    const x = someNumbers(backend, 1, 16);
    const record = () => backend.add({ rows: 1, decodeRows: 1 }, x, x);
    return (await clock.secondsOf({ calls: () => timeOf(backend, x, record, 2000) })).calls;
  });
}

/**
 * A token of an engine beside what its model computes: a matrix that no cache holds, so that the engine, as with real
 * models, finds nothing of itself in the caches.
 */
async function stepSeconds(clock) {
  const tokens = 64;
  return await withBackend(0, async (backend) => {
    const vocab = 512;
    const [cols, rows] = [4096, 12_288];
    const weight = backend.constant('w', 'Q8_0', [cols, rows], weightBytes('Q8_0', cols, rows));
    const [from, to] = [someNumbers(backend, 1, cols), backend.tensor('F32', 1, rows)];
    const record = products(backend, 1, from, to, [weight]);
    const table = backend.constant('token_embd.weight', 'F32', [32, vocab], weightBytes('F32', 32, vocab));
    const prepare = (_stores, maxRows, maxOutputs) => {
      const x = backend.tensor('F32', maxRows, 32);
      const logits = backend.tensor('F32', maxOutputs, vocab);
      const forward = (on, batch) => {
        on.embed(batch, x, table, batch.tokens);
        record();
        on.matmul(batch.outputSpan, x, [{ weight: table, out: logits }]);
        return logits;
      };
      return Object.assign(forward, { states: () => x });
    };
    const engine = createEngine(
      backend,
      {
        architecture: 'none',
        vocabSize: vocab,
        contextTokens: 2 * tokens,
        layers: 1,
        streams: [],
        predictorStreams: [],
        weightBytes: 0,
        multiplyAddsPerToken: 0,
        prepare,
      },
      { drafting: 'off' },
    );
    let asked = 0;
    const answer = async () => {
      const request = {
        requestId: `step ${++asked}`,
        promptIds: Int32Array.from({ length: 8 }, (_, i) => (i * 37 + asked * 101) % vocab),
        maxTokens: tokens,
        sampling: { temperature: 0 },
        endIds: [],
      };
      for await (const event of engine.generate(request))
        if (event.type === 'end') return { wall: event.usage.decodeMs / 1e3 / (tokens - 1) };
      throw new Error('the measured answer ended without its last word');
    };
    try {
      return await clock.secondsBeyond(answer, () => timeOf(backend, to, record, tokens - 1));
    } finally {
      await engine[Symbol.asyncDispose]();
    }
  });
}

/** Numbers that are rounded for products and put where they belong: what matrices of other shapes take besides. */
async function activations(clock) {
  const shapes = [
    [2048, 1024, 32],
    [2048, 1024, ROWS],
    [2048, 64, ROWS],
    [256, 2048, ROWS],
  ];
  const sums = { rounded: 0, placed: 0 };
  for (const name of ['Q8_0', 'Q4_K']) {
    const took = await withBackend(1, async (backend) => {
      const measured = shapes.map(([cols, rows, of]) => {
        const weight = backend.constant('w', name, [cols, rows], weightBytes(name, cols, rows));
        const [x, out] = [someNumbers(backend, of, cols), backend.tensor('F32', of, rows)];
        return () => timeOf(backend, out, products(backend, of, x, out, [weight]), 2);
      });
      return await clock.operationsOf({ ...measured });
    });
    const equations = shapes.map(([cols, rows, of], i) => {
      return [cols * rows, cols * rows * of, cols * of, rows * of, took[i]];
    });
    const [, , rounding, placing] = solve(equations);
    sums.rounded += rounding / 2;
    sums.placed += placing / 2;
  }
  return sums;
}

/** What is done row by row, each number on its own. */
async function rowWise(clock) {
  return await withBackend(1, async (backend) => {
    const [cols, heads, ropeDim, experts, used, kept, vocab] = [2048, 16, 64, 64, 8, 576, 131072];
    const span = { rows: ROWS, decodeRows: 0 };
    const column = (numbers) => {
      const tensor = backend.tensor('I32', numbers.length, 1);
      backend.write(tensor, Int32Array.from(numbers));
      return tensor;
    };
    const positions = column(Array.from({ length: ROWS }, (_, i) => i));
    const [x, up, logits] = [
      someNumbers(backend, ROWS, cols),
      someNumbers(backend, ROWS, cols),
      someNumbers(backend, 1, vocab),
    ];
    const ones = new Uint8Array(new Float32Array(cols).fill(1).buffer);
    const norm = backend.constant('norm', 'F32', [cols], ones);
    // Rows so short that gating is much of a gated product.
    const few = someNumbers(backend, ROWS, 32);
    const [weight, gating] = ['w', 'gate'].map((name) =>
      backend.constant(name, 'Q8_0', [32, cols], weightBytes('Q8_0', 32, cols)),
    );
    const frequencies = backend.constant('frequencies', 'F32', [ropeDim / 2], ones.subarray(0, 2 * ropeDim));
    const cache = backend.cache('F16', ROWS / PAGE_TOKENS, PAGE_TOKENS, kept);
    const views = { one: backend.columns(x, 0, ropeDim), many: backend.columns(x, 0, heads * ropeDim) };
    const scores = backend.columns(x, 0, experts);
    const [ids, mix, best1] = [
      backend.tensor('I32', ROWS, used),
      backend.tensor('F32', ROWS, used),
      backend.tensor('I32', 1, 1),
    ];
    const rotation = { headDim: ropeDim, offset: 0, ropeDim, layout: 'norm', magnitude: 1 };
    const gate = {
      scoring: 'sigmoid',
      used,
      groups: 1,
      groupsUsed: 1,
      groupScore: 'max',
      normalise: true,
      scale: 1,
    };
    const timed = (record) => () => timeOf(backend, x, record, 4);
    const took = await clock.operationsOf({
      normed: timed(() => backend.rmsNorm(span, x, x, norm, 1e-6)),
      one: timed(() => backend.rope(span, views.one, positions, frequencies, { heads: 1, ...rotation })),
      many: timed(() => backend.rope(span, views.many, positions, frequencies, { heads, ...rotation })),
      products: timed(() =>
        backend.matmul(span, few, [
          { weight, out: x },
          { weight: gating, out: up },
        ]),
      ),
      gated: timed(() => backend.matmul(span, few, [{ weight, gate: gating, out: x }])),
      kept: timed(() => backend.store(span, cache, backend.columns(up, 0, kept), positions)),
      routed: timed(() => backend.route(span, ids, mix, scores, undefined, gate)),
      picked: timed(() => backend.argmax({ rows: 1, decodeRows: 1 }, best1, logits)),
    });
    const rotated = (took.many - took.one) / ((heads - 1) * ropeDim * ROWS);
    return {
      normed: took.normed / (ROWS * cols),
      rotated,
      turned: took.one / (ROWS * ropeDim) - rotated,
      gated: (took.gated - took.products) / (ROWS * cols),
      kept: took.kept / (ROWS * kept),
      routed: took.routed / (ROWS * experts),
      picked: took.picked / vocab,
    };
  });
}

/** Attention of a prompt's rows and of one row that is generated, grouped and latent. */
async function attention(clock) {
  return await withBackend(1, async (backend) => {
    const heads = 16;
    const [nopeDim, ropeDim, valueDim, latentDim] = [128, 64, 128, 512];
    const pages = ROWS / PAGE_TOKENS;
    const column = (numbers) => {
      const tensor = backend.tensor('I32', numbers.length, 1);
      backend.write(tensor, Int32Array.from(numbers));
      return tensor;
    };
    const paged = backend.tensor('I32', 1, pages);
    backend.write(
      paged,
      Int32Array.from({ length: pages }, (_, i) => i),
    );
    /** Rows of one sequence that end at a depth. */
    const batchOf = (rows, depth) => {
      const positions = Array.from({ length: rows }, (_, i) => depth - rows + i);
      const [span, column0] = [{ rows, decodeRows: rows === 1 ? 1 : 0 }, column(positions)];
      return {
        ...span,
        positions: column0,
        slots: column0,
        sequences: column(positions.map(() => 0)),
        pages: paged,
      };
    };
    const [prompt, deep, shallow] = [batchOf(ROWS, ROWS), batchOf(1, ROWS), batchOf(1, 2 * PAGE_TOKENS)];
    const numbers = someNumbers(backend, ROWS, heads * (nopeDim + ropeDim));
    const out = backend.tensor('F32', ROWS, heads * valueDim);
    const cacheOf = (cols) => {
      const cache = backend.cache('F16', pages, PAGE_TOKENS, cols);
      backend.store(prompt, cache, backend.columns(numbers, 0, cols), prompt.slots);
      return cache;
    };
    const grouped = (dim) => {
      const [keys, values] = [cacheOf(heads * dim), cacheOf(heads * dim)];
      const options = { heads, kvHeads: heads, headDim: dim, valueDim: dim, scale: dim ** -0.5 };
      const [to, q] = [backend.columns(out, 0, heads * dim), backend.columns(numbers, 0, heads * dim)];
      return (batch) => () => backend.attend(batch, to, q, keys, values, options);
    };
    const half = (name, cols, rows) =>
      backend.constant(name, 'Q8_0', [cols, rows, heads], weightBytes('Q8_0', cols, rows * heads));
    const halves = { kB: half('attn_k_b', nopeDim, latentDim), vB: half('attn_v_b', latentDim, valueDim) };
    const latents = cacheOf(latentDim + ropeDim);
    const shape = { heads, nopeDim, ropeDim, valueDim, latentDim, scale: (nopeDim + ropeDim) ** -0.5 };
    const latent = (batch) => () => backend.latentAttend(batch, out, numbers, latents, halves, shape);
    const timed = (record, times) => () => timeOf(backend, out, record, times);
    const [wide, narrow] = [grouped(128), grouped(64)];
    const took = await clock.operationsOf({
      wide: timed(wide(prompt), 1),
      narrow: timed(narrow(prompt), 1),
      latent: timed(latent(prompt), 1),
      deep: timed(wide(deep), 8),
      shallow: timed(wide(shallow), 8),
      latentDeep: timed(latent(deep), 8),
      latentShallow: timed(latent(shallow), 8),
    });
    // Heads times attended tokens of the whole prompt; and of one row, how many more deep than shallow.
    const looks = (heads * ROWS * (ROWS + 1)) / 2;
    const further = heads * (ROWS - 2 * PAGE_TOKENS);
    const attended = (took.wide - took.narrow) / (looks * 128);
    const weighed = took.narrow / looks - 128 * attended;
    const seen = looks * (weighed + (nopeDim + ropeDim + valueDim) * attended);
    return {
      attended,
      heads: weighed,
      expanded: (took.latent - seen) / (ROWS * heads * (nopeDim + valueDim) * latentDim),
      generated: (took.deep - took.shallow) / (further * 256),
      generatedLatent: (took.latentDeep - took.latentShallow) / (further * (2 * latentDim + ropeDim)),
    };
  });
}

/** x of four linear equations a . x = b, by elimination; each is [...a, b]. */
function solve(equations) {
  const rows = equations.map((row) => [...row]);
  const n = rows.length;
  for (let c = 0; c < n; c++) {
    const pivot = rows.slice(c).reduce((best, row) => (Math.abs(row[c]) > Math.abs(best[c]) ? row : best));
    rows.splice(rows.indexOf(pivot), 1);
    rows.splice(c, 0, pivot);
    for (const [r, row] of rows.entries()) {
      if (r === c) continue;
      const factor = row[c] / pivot[c];
      for (let k = c; k <= n; k++) row[k] -= factor * pivot[k];
    }
  }
  return rows.map((row, i) => row[n] / row[i]);
}
