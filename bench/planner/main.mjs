/**
 * Owns: how far the planner's predictions are from what the same files do here: memory, decoding, prompts.
 * Refuses to know: how predictions are made, how models run.
 *
 * usage: node bench/planner/main.mjs MODEL.gguf ... [--rounds 5] [--json FILE]   (after a build)
 *
 * The bandwidth and the arithmetic of the machine change from minute to minute where others share it, so both are probed
 * before and after every single measurement, and a prediction is made from that.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { createMachineProbe } from '../../dist/backend/native/probe.node.js';
import { closeModelFile, openModelFile } from '../../dist/formats/open.node.js';
import { planModel } from '../../dist/planner/plan.js';
import { probeMachine } from '../../dist/planner/probe.js';
import { subjectOfFile } from '../../dist/planner/subject.js';
import { openModel } from '../../dist/runtime/open.node.js';

const PROMPT_TOKENS = 512;
const DECODE_TOKENS = 64;
const CONTEXT_TOKENS = 4096;
/** What a prediction may be off by. */
const ALLOWED = { memory: 0.05, decode: 0.2, prefill: 0.3 };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '5' }, json: { type: 'string' } },
});
const rounds = Number(values.rounds);
const here = await probeMachine({ env: process.env, rounds: 1 });
const results = [];
let asked = 0;
for (const path of positionals) {
  const result = await measure(path);
  results.push(result);
  const show = ({ predicted, measured, off }) =>
    `${predicted.toPrecision(4)} / ${measured.toPrecision(4)} (${off > 0 ? '+' : ''}${(off * 100).toFixed(1)} %)`;
  process.stdout.write(
    `${basename(path).padEnd(40)} memory GB ${show(result.memory)}  decode ${show(result.decode)}  prefill ${show(result.prefill)}  probe ${result.probe.gigabytesPerSecond.toFixed(1)} GB/s ${result.probe.int8Gops.toFixed(0)} GOP/s\n`,
  );
}
if (values.json) writeFileSync(values.json, `${JSON.stringify({ machine: here.cpu, results }, null, 2)}\n`);
const beyond = results.flatMap(({ model, ...of }) =>
  Object.entries(ALLOWED).flatMap(([what, most]) =>
    Math.abs(of[what].off) > most ? [`${model}: ${what} is off by ${(of[what].off * 100).toFixed(1)} %`] : [],
  ),
);
process.stdout.write(beyond.length === 0 ? 'all within what is allowed\n' : `${beyond.join('\n')}\n`);

async function measure(path) {
  const file = await openModelFile(path);
  const subject = subjectOfFile(path, file);
  await closeModelFile(file);
  const contextTokens = Math.min(CONTEXT_TOKENS, subject.contextTokens);
  const predict = ({ bytesPerSecond, int8PerSecond }) => {
    const machine = {
      ...here,
      gpus: [],
      cpu: { ...here.cpu, int8PerSecond },
      memory: { ...here.memory, bytesPerSecond },
    };
    return planModel(subject, machine, { contextTokens }).ways.find(({ engine }) => engine === 'hadal');
  };
  const probe = createMachineProbe();
  probe.readRate();
  const rates = () => ({ bytesPerSecond: probe.readRate(), int8PerSecond: probe.multiplyRate() });
  const opened = await openModel(path, { contextTokens });
  const rows = [];
  try {
    for (let round = 0; round <= rounds; round++) {
      for (const what of ['prefill', 'decode']) {
        const before = [rates(), rates()];
        const usage = await once(
          opened,
          what === 'prefill' ? PROMPT_TOKENS : 16,
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
  return { bytesPerSecond: mean('bytesPerSecond'), int8PerSecond: mean('int8PerSecond') };
}

function median(values) {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

function resident() {
  const found = /VmRSS:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
  return found ? Number(found[1]) * 1024 : undefined;
}
