/**
 * Owns: how far the planner's predictions are from what the same files do here: memory, decoding, prompts.
 * Refuses to know: how predictions are made, how models run.
 *
 * The bandwidth and the arithmetic of the machine change from minute to minute where others share it, so both are probed
 * before and after every single measurement, and a prediction is made from that.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { createMachineProbe } from '../../dist/backend/native/probe.node.js';
import { digits } from '../../dist/cli/figures.js';
import { closeModelFile, openModelFile } from '../../dist/formats/open.node.js';
import { planModel } from '../../dist/planner/plan.js';
import { probeMachine } from '../../dist/planner/probe.js';
import { subjectOfFile } from '../../dist/planner/subject.js';
import { openModel } from '../../dist/runtime/open.node.js';
import { keepResults } from '../kept.mjs';

const kernels = JSON.parse(
  readFileSync(new URL('../../src/planner/kernel-rates.json', import.meta.url), 'utf8'),
);

const PROMPT_TOKENS = 512;
/** The answer is 128 tokens deep in its middle, where decoding is predicted. */
const DEPTH_TOKENS = 96;
const DECODE_TOKENS = 64;
const CONTEXT_TOKENS = 4096;
/** What a prediction may be off by. */
const ALLOWED = { memory: 0.05, decode: 0.2, prefill: 0.3 };

const USAGE = `usage: npm run bench:planner -- [flags] MODEL.gguf ...

  --rounds N  how often each is measured; 5 otherwise
  --out NAME  writes bench/results/NAME.json and docs/benchmarks-planner.md; otherwise the figures are only shown`;

const { values: flags, positionals: paths } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    out: { type: 'string' },
    help: { type: 'boolean' },
  },
});
if (flags.help || paths.length === 0) console.log(USAGE);
const rounds = Number(flags.rounds);
const here = paths.length > 0 ? await probeMachine({ env: process.env, rounds: 1 }) : undefined;
const results = [];
let asked = 0;
for (const path of flags.help ? [] : paths) {
  const result = await measure(path);
  results.push(result);
  const show = ({ predicted, measured, off }) =>
    `${predicted.toPrecision(4)} / ${measured.toPrecision(4)} (${percent(off)})`;
  console.log(
    `${result.model.padEnd(36)} memory GB ${show(result.memory)}  decode ${show(result.decode)}  prefill ${show(result.prefill)}  probe ${result.probe.gigabytesPerSecond.toFixed(1)} GB/s ${result.probe.int8Gops.toFixed(0)} GOP/s`,
  );
}
if (results.length > 0) conclude();

function conclude() {
  const beyond = results.flatMap(({ model, ...of }) =>
    Object.entries(ALLOWED).flatMap(([what, most]) =>
      Math.abs(of[what].off) > most ? [`${model}: ${what} is off by ${percent(of[what].off)}`] : [],
    ),
  );
  console.log(beyond.length === 0 ? 'all within what is allowed' : beyond.join('\n'));
  if (flags.out === undefined) return;
  keepResults(flags.out, { rounds, allowed: ALLOWED, kernels: kernels.made, results });
  writeFileSync(new URL('../../docs/benchmarks-planner.md', import.meta.url), page(beyond));
}

/** Markdown of docs/benchmarks-planner.md. */
function page(beyond) {
  const cells = ({ predicted, measured, off }) =>
    `${digits(predicted)} | ${digits(measured)} | ${percent(off)}`;
  const rows = results.map(
    ({ model, memory, decode, prefill, probe }) =>
      `| ${model} | ${cells(memory)} | ${cells(decode)} | ${cells(prefill)} | ${probe.gigabytesPerSecond.toFixed(1)} |`,
  );
  return `# The planner beside what was measured

\`npm run bench:planner -- MODEL.gguf ... --out ${flags.out}\` writes this page and
[${flags.out}.json](../bench/results/${flags.out}.json); \`npm run bench:kernels -- --out\` before it measures what the
predictions are made of: the kernels by number format and operation, and no model.

Memory is what the engine holds with ${CONTEXT_TOKENS} tokens of context, in GB, without an embedding of which it reads rows alone;
decoding starts behind ${DEPTH_TOKENS} tokens and takes ${DECODE_TOKENS}, prompts have ${PROMPT_TOKENS}, in tokens/s. The bandwidth of memory (the last column, GB/s) and the 8-bit
arithmetic were probed before and after every single run, and each prediction is made from that. Medians of ${rounds}
rounds. Allowed: memory within 5 %, decoding 20 %, prompts 30 %; ${beyond.length === 0 ? 'all are within it' : `beyond it: ${beyond.join('; ')}`}.

${here.cpu.model ?? 'unknown processor'}, ${here.cpu.cores} cores, Node ${process.version}, ${new Date().toISOString().slice(0, 10)};
kernels measured ${kernels.made.date}.

| file | memory, planned | held | off | decode, planned | measured | off | prompt, planned | measured | off | GB/s |
| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |
${rows.join('\n')}
`;
}

function percent(off) {
  return `${off > 0 ? '+' : ''}${(off * 100).toFixed(1)} %`;
}

async function measure(path) {
  const file = await openModelFile(path);
  const subject = subjectOfFile(path, file);
  await closeModelFile(file);
  const contextTokens = Math.min(CONTEXT_TOKENS, subject.contextTokens);
  const predict = ({ bytesPerSecond, nearBytesPerSecond, int8PerSecond }) => {
    const machine = {
      ...here,
      gpus: [],
      cpu: { ...here.cpu, int8PerSecond },
      memory: { ...here.memory, bytesPerSecond, nearBytesPerSecond },
    };
    return planModel(subject, machine, { contextTokens }).ways.find(({ engine }) => engine === 'hadal');
  };
  const probe = createMachineProbe();
  probe.readRate();
  const rates = () => ({
    bytesPerSecond: probe.readRate(),
    nearBytesPerSecond: probe.nearReadRate(),
    int8PerSecond: probe.multiplyRate(),
  });
  const opened = await openModel(path, { contextTokens });
  const rows = [];
  try {
    for (let round = 0; round <= rounds; round++) {
      for (const what of ['prefill', 'decode']) {
        const before = [rates(), rates()];
        const usage = await once(
          opened,
          what === 'prefill' ? PROMPT_TOKENS : DEPTH_TOKENS,
          what === 'prefill' ? 1 : DECODE_TOKENS,
        );
        const after = [rates(), rates()];
        const beside = meanOf([...before, ...after]);
        const measured =
          what === 'prefill'
            ? ((usage.promptTokens - usage.cachedTokens) / usage.prefillMs) * 1000
            : ((usage.generatedTokens - 1) / usage.decodeMs) * 1000;
        if (round > 0)
          rows.push({ what, measured, predicted: predict(beside)[what].tokensPerSecond, ...beside });
      }
    }
    const memory = await opened.memory();
    const held = memory.weightBytes + memory.cacheBytes + memory.tensorBytes;
    const wanted = predict(meanOf([rates()])).placement.bytes;
    return {
      model: basename(path),
      memory: {
        predicted: wanted / 1e9,
        measured: held / 1e9,
        off: wanted / held - 1,
        ...memory,
        resident: resident(),
      },
      decode: comparison(rows.filter(({ what }) => what === 'decode')),
      prefill: comparison(rows.filter(({ what }) => what === 'prefill')),
      probe: {
        gigabytesPerSecond: median(rows.map(({ bytesPerSecond }) => bytesPerSecond)) / 1e9,
        int8Gops: median(rows.map(({ int8PerSecond }) => int8PerSecond)) / 1e9,
      },
    };
  } finally {
    await opened.close();
  }
}

/** An answer to a prompt that was never read before. */
async function once({ engine, answerer }, promptTokens, maxTokens) {
  const { vocabSize } = answerer.tokenizer;
  const seed = ++asked;
  const promptIds = Int32Array.from({ length: promptTokens }, (_, i) => ((i + 1) * 7919 * seed) % vocabSize);
  const request = {
    requestId: `bench-${seed}`,
    promptIds,
    maxTokens,
    sampling: { temperature: 0 },
    endIds: [],
  };
  for await (const event of engine.generate(request)) if (event.type === 'end') return event.usage;
  throw new Error('the measured answer ended without its last word');
}

/** The median of how far predictions were off, each against what was measured beside its probe. */
function comparison(rows) {
  return {
    predicted: median(rows.map(({ predicted }) => predicted)),
    measured: median(rows.map(({ measured }) => measured)),
    off: median(rows.map(({ predicted, measured }) => predicted / measured - 1)),
  };
}

function meanOf(rates) {
  const mean = (key) => rates.reduce((sum, rate) => sum + rate[key], 0) / rates.length;
  const [bytesPerSecond, nearBytesPerSecond] = [mean('bytesPerSecond'), mean('nearBytesPerSecond')];
  return { bytesPerSecond, nearBytesPerSecond, int8PerSecond: mean('int8PerSecond') };
}

function median(values) {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

function resident() {
  const found = /VmRSS:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
  return found ? Number(found[1]) * 1024 : undefined;
}
