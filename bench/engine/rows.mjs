/**
 * Owns: the rows of the table: what each asks an engine, in which session, and what the answer is worth.
 * Refuses to know: engines, files, how results are shown.
 */

/**
 * @typedef {object} Row
 * @property {string} name
 * @property {string} title
 * @property {string} unit
 * @property {'single' | 'batch' | 'fresh'} session engines stay open for `single` and `batch`; `fresh` opens them anew
 * @property {boolean} [lessIsBetter]
 * @property {'bytes' | 'operations'} [bound] what limits it: weights read, or products of bytes
 * @property {number} [tokens] of the prompt; `batch` and `depth` for decoding
 */

const DECODED = 48;
/** Of each of many answers at once: they begin one after another, and count while all of them run. */
const DECODED_OF_MANY = 96;
const prefill = (tokens) => ({
  name: `prefill-${tokens}`,
  title: `prefill, ${tokens} tokens`,
  unit: 'tokens/s',
  session: 'single',
  bound: 'operations',
  tokens,
  measure: async (child) => rateOf(await child.ask('prefill', { tokens })),
});
const decode = (depth, batch = 1) => ({
  name: batch > 1 ? `batch-${batch}` : depth > 100 ? `decode-${depth}` : 'decode',
  title: batch > 1 ? `decode, ${batch} at once` : `decode at depth ${depth > 100 ? depth : 0}`,
  unit: 'tokens/s',
  session: batch > 1 ? 'batch' : 'single',
  bound: 'bytes',
  batch,
  depth,
  measure: async (child) =>
    rateOf(await child.ask('decode', { depth, tokens: batch > 4 ? DECODED_OF_MANY : DECODED, batch })),
});
const rateOf = ({ tokens, ms }) => (tokens / ms) * 1000;

/** Tokens of the prompt that decoding begins after where depth does not matter. */
const SHALLOW = 16;
const FIRST_TOKEN_PROMPT = 64;

/** Loads, answers, and is gone: milliseconds to the first token, and the memory that it took. */
async function fresh(child, { openMs }) {
  const { ms } = await child.ask('prefill', { tokens: SHALLOW });
  await child.ask('prefill', { tokens: 512 });
  await child.ask('decode', { depth: SHALLOW, tokens: 8, batch: 1 });
  const { bytes } = await child.ask('peak');
  return { firstMs: openMs + ms, bytes };
}

/** @type {readonly Row[]} */
export const ROWS = [
  ...[16, 64, 128, 512, 2048].map(prefill),
  decode(SHALLOW),
  decode(4096),
  decode(SHALLOW, 4),
  decode(SHALLOW, 8),
  decode(SHALLOW, 16),
  {
    name: 'first-token',
    title: `first token of a prompt of ${FIRST_TOKEN_PROMPT}`,
    unit: 'ms',
    session: 'single',
    lessIsBetter: true,
    measure: async (child) => (await child.ask('prefill', { tokens: FIRST_TOKEN_PROMPT })).ms,
  },
  {
    name: 'load-warm',
    title: 'loading and a first token, file in the page cache',
    unit: 'ms',
    session: 'fresh',
    lessIsBetter: true,
    measure: async (child, opened) => (await fresh(child, opened)).firstMs,
  },
  {
    name: 'load-cold',
    title: 'loading and a first token, file not in the page cache',
    unit: 'ms',
    session: 'fresh',
    lessIsBetter: true,
    cold: true,
    measure: async (child, opened) => (await fresh(child, opened)).firstMs,
  },
  {
    name: 'memory',
    title: 'peak memory (load, prompt of 512, answer)',
    unit: 'MB',
    session: 'fresh',
    lessIsBetter: true,
    measure: async (child, opened) => (await fresh(child, opened)).bytes / 1e6,
  },
];

/**
 * The rows of a list of names; `prefill*` stands for all that begin so.
 *
 * @example rowsNamed('prefill*,decode')
 */
export function rowsNamed(list) {
  if (list === undefined) return ROWS;
  const names = list.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !ROWS.some((row) => matches(row, name)));
  if (unknown !== undefined) {
    throw new Error(
      `--rows: expected names out of ${ROWS.map(({ name }) => name).join(', ')}, got "${unknown}"`,
    );
  }
  return ROWS.filter((row) => names.some((name) => matches(row, name)));
}

const matches = (row, name) =>
  name.endsWith('*') ? row.name.startsWith(name.slice(0, -1)) : row.name === name;
