/**
 * Owns: the rows of the table: what each asks of a server, beside what it is compared with.
 * Refuses to know: how a server is started, how results are shown.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { someIds } from '../engine/child.mjs';
import { fetched, streamed } from './client.mjs';

const MODEL = 'bench';
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const DEPTH = 16;
const FIRST_SEED = 100_000;
let seed = FIRST_SEED;

/** Ids of a prompt that nobody sent before. */
const freshIds = (tokens, vocab) => Array.from(someIds(tokens, vocab, ++seed));
const greedy = (prompt, tokens) => ({ model: MODEL, prompt, max_tokens: tokens, temperature: 0 });

/** Between two looks at what the engine has computed. */
const LOOK_MS = 40;

/**
 * Tokens per second of `streams` answers at the same time: what the engine has computed while all of them were answering
 * and their clients read along. Not by their events: many a token of made-up weights has no text, and so no event.
 */
async function rateOf({ served, vocab, tokens }, streams) {
  const before = await computed(served);
  let over = false;
  const answers = Promise.all(
    Array.from({ length: streams }, () => streamed(served.url, greedy(freshIds(DEPTH, vocab), tokens))),
  ).finally(() => {
    over = true;
  });
  const looks = [];
  while (!over) {
    const look = await computed(served);
    const all = look.promptRows - before.promptRows >= streams * DEPTH && look.running === streams;
    // Its time is that of the step which changed it, if it is not the first.
    if (all && looks.at(-1)?.tokens !== look.tokens) looks.push(look);
    await sleep(LOOK_MS);
  }
  await answers;
  const [first, last] = [looks[0], looks.at(-1)];
  if (!(first?.tokens < last?.tokens))
    throw new Error(`${tokens} tokens are too few: an answer ended before all had begun`);
  return ((last.tokens - first.tokens) / (last.ms - first.ms)) * 1000;
}

/** What the engine has computed so far, and when that was: guesses that were wrong are no tokens. */
async function computed(served) {
  const { text } = await fetched(served.url, '/hadal/v1/machine');
  const ms = performance.now();
  const { running, decode_rows, prefill_rows, drafted, accepted } = JSON.parse(text).models[0].engine;
  return { ms, running, promptRows: prefill_rows, tokens: decode_rows - drafted + accepted };
}

/**
 * One stream and sixteen, by turns with the peer, which is asked without a server and without sampling.
 * The share is of what memory gave in that moment over the bytes of weights that a step of so many rows must read: of a
 * model with experts, those that so many answers choose together by how often each was in fact chosen meanwhile.
 */
async function streams(bench) {
  const { served, peer, probe, cost, rounds, progress } = bench;
  const runs = [];
  const before = await draftsOf(served);
  for (let round = 0; round <= rounds; round++) {
    const run = {};
    for (const count of [1, 16]) {
      progress(`${count} streams: round ${round} of ${rounds}`);
      const readRate = median([probe.readRate(), probe.readRate(), probe.readRate()]);
      const chosen = await choicesOf(served);
      const rate = await rateOf(bench, count);
      const distinct = distinctOf(await choicesOf(served), chosen, count, cost);
      run[`hadal${count}`] = rate;
      run[`share${count}`] = ((rate / count) * cost.stepBytes(count, distinct)) / readRate;
      if (distinct !== undefined) run[`distinct${count}`] = distinct;
      if (peer === undefined) continue;
      const { tokens, ms } = await peer.ask('decode', { depth: DEPTH, tokens: bench.tokens, batch: count });
      run[`peer${count}`] = (tokens / ms) * 1000;
    }
    // The first round warms up.
    if (round > 0) runs.push(run);
  }
  const after = await draftsOf(served);
  const of = (name) => spread(runs.map((run) => run[name]));
  const facts = (name) => ({
    one: of(`${name}1`),
    sixteen: of(`${name}16`),
    times: spread(runs.map((run) => run[`${name}16`] / run[`${name}1`])),
  });
  return {
    hadal: { ...facts('hadal'), shareOne: of('share1'), shareSixteen: of('share16') },
    ...(peer === undefined
      ? {}
      : { peer: facts('peer'), ratioSixteen: spread(runs.map((run) => run.hadal16 / run.peer16)) }),
    ...(runs[0].distinct16 === undefined
      ? {}
      : { distinctExperts: { chosen: of('distinct16'), evenly: cost.distinctExperts(16) } }),
    // Text that repeats itself is drafted ahead, which no bound of bytes counts.
    acceptedDrafts: after - before,
  };
}

/** How often each expert of each layer was chosen so far: [layers][experts]. */
async function choicesOf(served) {
  const { text } = await fetched(served.url, `/hadal/v1/models/${MODEL}/experts`);
  return JSON.parse(text).layers.map(({ counts }) => counts);
}

/**
 * How many experts of a layer so many rows choose together, each by itself, by what was chosen since `before`: the mean
 * over layers of the sum over experts of 1 - (1 - p) ** rows. Undefined without experts.
 */
function distinctOf(now, before, rows, cost) {
  const used = cost.distinctExperts(1);
  if (used === undefined) return undefined;
  const layers = now.map((counts, layer) => {
    const since = counts.map((count, expert) => count - (before[layer]?.[expert] ?? 0));
    const tokens = since.reduce((sum, count) => sum + count, 0) / used;
    return since.reduce((sum, count) => sum + 1 - (1 - Math.min(1, count / tokens)) ** rows, 0);
  });
  return layers.reduce((sum, distinct) => sum + distinct, 0) / layers.length;
}

async function draftsOf(served) {
  const all = await served.metrics();
  return all.get(`hadal_engine_draft_tokens{gen_ai_request_model="${MODEL}",state="accepted"}`) ?? 0;
}

/**
 * What the server adds: a text of about 500 tokens, read before, and 16 tokens of answer, by turns over HTTP and of the
 * engine's host itself, whose process is of the same kind and is given the ids. A text that is read for the first time
 * would take a hundred times as long as what is looked for; whoever goes first changes from pair to pair. One pair says
 * little, since a step alone takes now more, now less: a round is the median of many.
 */
async function overhead({ served, host, tokenizer, rounds, progress }) {
  const TOKENS = 16;
  const PAIRS = 40;
  const medians = [];
  const text = `${++seed}. ${'The tide comes in and the tide goes out. '.repeat(50)}`;
  const perToken = (list, count) => (list.at(-1) - list[0]) / (count - 1);
  const overHttp = async () => {
    const { eventsMs, askedMs, tokens } = await streamed(served.url, greedy(text, TOKENS));
    return { firstMs: eventsMs[0] - askedMs, tokenMs: perToken(eventsMs, tokens), tokens };
  };
  const direct = async () => {
    const promptIds = Int32Array.from(tokenizer.encode(text));
    const request = { requestId: `direct-${++seed}`, promptIds, maxTokens: TOKENS };
    const times = [];
    const startedMs = performance.now();
    for await (const event of host.generate({ ...request, sampling: { temperature: 0 }, endIds: [] }))
      if (event.type === 'token') times.push(performance.now());
    return { firstMs: times[0] - startedMs, tokenMs: perToken(times, times.length) };
  };
  // The first round reads the text, and warms both programs up.
  for (let round = 0; round <= rounds; round++) {
    progress(`what the server adds: round ${round} of ${rounds}`);
    const cpuSeconds = served.cpuSeconds();
    const pairs = [];
    for (let pair = 0; pair < PAIRS; pair++) {
      const first = pair % 2 === 0 ? await direct() : undefined;
      const asked = await overHttp();
      const own = first ?? (await direct());
      pairs.push({
        firstMs: asked.firstMs - own.firstMs,
        tokenMs: asked.tokenMs - own.tokenMs,
        directFirstMs: own.firstMs,
        directTokenMs: own.tokenMs,
        tokens: asked.tokens,
      });
    }
    const cpuMs = (served.cpuSeconds() - cpuSeconds) * 1000;
    if (round === 0) continue;
    const names = Object.keys(pairs[0]);
    const middle = names.map((name) => [name, median(pairs.map((pair) => pair[name]))]);
    // The system counts it in hundredths of a second.
    const tokens = pairs.reduce((sum, pair) => sum + pair.tokens, 0);
    medians.push({ ...Object.fromEntries(middle), cpuMs: cpuMs / tokens });
  }
  const of = (name) => spread(medians.map((round) => round[name]));
  return {
    addedFirstMs: of('firstMs'),
    addedTokenMs: of('tokenMs'),
    directFirstMs: of('directFirstMs'),
    directTokenMs: of('directTokenMs'),
    serverCpuTokenMs: of('cpuMs'),
  };
}

/** A prompt of 4,000 tokens that nobody sent before, then others that begin alike. */
async function prefix({ served, vocab, rounds, progress }) {
  const [SHARED, OWN] = [4000, 16];
  const runs = [];
  for (let round = 0; round < Math.min(rounds, 3); round++) {
    progress(`shared prefix: round ${round + 1}`);
    const shared = freshIds(SHARED, vocab);
    const first = async () => {
      const prompt = [...shared, ...freshIds(OWN, vocab)];
      // To the end of one token: many a token of made-up weights has no text, and so no event.
      const { endMs, askedMs, cachedTokens } = await streamed(served.url, greedy(prompt, 1));
      return { ms: endMs - askedMs, cachedTokens };
    };
    const cold = await first();
    const hits = [await first(), await first(), await first()];
    runs.push({
      coldMs: cold.ms,
      hitMs: median(hits.map(({ ms }) => ms)),
      cachedTokens: hits[0].cachedTokens,
    });
  }
  return {
    coldMs: spread(runs.map(({ coldMs }) => coldMs)),
    hitMs: spread(runs.map(({ hitMs }) => hitMs)),
    share: spread(runs.map(({ hitMs, coldMs }) => hitMs / coldMs)),
    cachedTokens: runs[0].cachedTokens,
  };
}

/** From the moment that a client goes, in the middle of its prompt or of its answer, until the engine has nothing. */
async function abort({ served, vocab, rounds, progress, contextTokens }) {
  const measure = async (prompt, when) => {
    const controller = new AbortController();
    let goneMs = 0;
    const go = () => {
      goneMs = performance.now();
      controller.abort();
    };
    const body = greedy(prompt, 500);
    const begun = { comments: 0 };
    const asked = streamed(served.url, body, {
      signal: controller.signal,
      onComment: (text) => {
        if (when === 'prefill' && text.includes('prefill') && ++begun.comments === 1) setTimeout(go, 70);
      },
    }).catch(() => undefined);
    if (when === 'decode') setTimeout(go, 3000);
    await asked;
    while ((await served.busy(MODEL)) > 0) await sleep(2);
    return performance.now() - goneMs;
  };
  const [prefills, decodes] = [[], []];
  for (let round = 0; round < 2 * rounds; round++) {
    progress(`clients that go: round ${round + 1} of ${2 * rounds}`);
    prefills.push(await measure(freshIds(contextTokens - 600, vocab), 'prefill'));
    decodes.push(await measure(freshIds(DEPTH, vocab), 'decode'));
  }
  return { prefillMs: spread(prefills), decodeMs: spread(decodes) };
}

/** 500 streams that are open and hear nothing but pings: they wait behind answers that fill the batch. */
async function idle({ served, vocab, contextTokens, parallel, progress }) {
  const COUNT = 500;
  const controller = new AbortController();
  const { signal } = controller;
  const long = Math.min(contextTokens - 2 * DEPTH, 4000);
  const ask = (tokens, more = {}) =>
    streamed(served.url, greedy(freshIds(DEPTH, vocab), tokens), { signal, ...more }).catch(() => undefined);
  const holders = Array.from({ length: parallel }, () => ask(long));
  await sleep(2000);
  const before = served.memory();
  const pings = new Set();
  const waiting = Array.from({ length: COUNT }, (_, i) =>
    ask(2, { onComment: (text) => text.includes('ping') && pings.add(i) }),
  );
  for (let second = 0; second < 60 && pings.size < COUNT; second++) {
    progress(`idle connections: ${pings.size} of ${COUNT} were pinged`);
    await sleep(1000);
  }
  const after = served.memory();
  controller.abort();
  await Promise.all([...holders, ...waiting]);
  return {
    connections: pings.size,
    serverBytes: after.serverBytes - before.serverBytes,
    engineBytes: after.engineBytes - before.engineBytes,
  };
}

/** Everything that clients do, for some minutes: memory at the end of the first third and of the whole. */
async function load({ served, vocab, minutes, progress }) {
  const untilMs = performance.now() + minutes * 60_000;
  const counts = { answered: 0, left: 0, refused: 0, failed: 0 };
  const samples = [];
  const shared = freshIds(256, vocab);
  const kinds = [
    async () => await streamed(served.url, greedy(freshIds(32, vocab), 24)),
    async () => await streamed(served.url, greedy([...shared, ...freshIds(8, vocab)], 8)),
    async () => {
      const body = { ...greedy(freshIds(16, vocab), 8), temperature: 1, logprobs: 2, n: 2 };
      if ((await fetched(served.url, '/v1/completions', body)).status !== 200)
        throw new Error('not answered');
    },
    async () => {
      const signal = AbortSignal.timeout(50 + (++seed % 400));
      await streamed(served.url, greedy(freshIds(400, vocab), 200), { signal });
    },
    async () => {
      const { status } = await fetched(served.url, '/v1/completions', { model: MODEL, prompt: [[]], n: 99 });
      if (status !== 400) throw new Error(`${status}`);
      counts.refused++;
      counts.answered--;
    },
  ];
  const caller = async (first) => {
    for (let i = first; performance.now() < untilMs; i++) {
      try {
        await kinds[i % kinds.length]();
        counts.answered++;
      } catch (error) {
        counts[/abort|timeout/i.test(`${error}`) ? 'left' : 'failed']++;
      }
    }
  };
  const watch = async () => {
    while (performance.now() < untilMs) {
      samples.push(served.memory());
      progress(
        `mixed load: ${Math.round((untilMs - performance.now()) / 1000)} s, ${JSON.stringify(counts)}`,
      );
      await sleep(1000);
    }
  };
  await Promise.all([watch(), ...Array.from({ length: 12 }, (_, i) => caller(i))]);
  const third = (name, from) => {
    const part = samples.slice(
      Math.floor((samples.length * from) / 3),
      Math.floor((samples.length * (from + 1)) / 3),
    );
    return median(part.map((sample) => sample[name]));
  };
  const grown = (name) => ({ middleBytes: third(name, 1), lastBytes: third(name, 2) });
  return { minutes, counts, server: grown('serverBytes'), engine: grown('engineBytes') };
}

/** Lowest, middle and highest of measurements. */
export function spread(values) {
  if (!values.every(Number.isFinite))
    throw new Error(`a row has a value that is no number: ${values.join(', ')}`);
  const sorted = values.toSorted((a, b) => a - b);
  return { min: sorted[0], median: median(sorted), max: sorted.at(-1), count: sorted.length };
}

/**
 * @typedef {object} Row
 * @property {string} name
 * @property {(bench: object) => Promise<object>} measure
 * @property {object} config what the server needs for it, as its configuration file has it
 */

/** @type {readonly Row[]} */
export const ROWS = [
  { name: 'streams', measure: streams, config: { parallel: 16, context_tokens: 256, cache_tokens: 8192 } },
  { name: 'overhead', measure: overhead, config: { parallel: 1, context_tokens: 2048 } },
  { name: 'prefix', measure: prefix, config: { parallel: 1, context_tokens: 4200, cache_tokens: 16_384 } },
  { name: 'abort', measure: abort, config: { parallel: 1, context_tokens: 2048 } },
  {
    name: 'idle',
    measure: idle,
    config: {
      parallel: 4,
      context_tokens: 2048,
      cache_tokens: 16_384,
      max_open_requests: 600,
      ping_seconds: 5,
    },
  },
  { name: 'load', measure: load, config: { parallel: 8, context_tokens: 1024, cache_tokens: 16_384 } },
];
