/**
 * Owns: docs/benchmarks.md and its plots, drawn from bench/results/*.json.
 * Refuses to know: how anything was measured.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { digits, formatBytes } from '../../dist/cli/figures.js';
import { barChart } from './plot.mjs';

/** Writes the page and one plot for each file of results. */
export function writePage(root) {
  const results = join(root, 'bench', 'results');
  const plots = join(root, 'docs', 'benchmarks');
  mkdirSync(plots, { recursive: true });
  const sections = readdirSync(results)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => ({ name, document: JSON.parse(readFileSync(join(results, name), 'utf8')) }))
    // The folder holds numbers of other benchmarks too.
    .filter(({ document }) => document.engines?.hadal !== undefined)
    .map(({ name, document }) => {
      const plot = name.replace(/\.json$/, '.svg');
      writeFileSync(join(plots, plot), ratioPlot(document));
      return section(document, plot, name);
    });
  writeFileSync(join(root, 'docs', 'benchmarks.md'), `${INTRODUCTION}\n${sections.join('\n')}`);
}

const INTRODUCTION = `# Benchmarks

Hadal beside llama.cpp (as node-llama-cpp ships it, its batches made by hand, without its sampler) on the same file:
\`npm run bench:engine -- MODEL.gguf --out NAME\` measures, writes \`bench/results/NAME.json\` and draws this page.

Both engines take turns with the same threads, prompts and cache format. A cell is the median, then lowest to highest.
*Times* is the median of the ratios of runs beside each other; above 1 Hadal is better. *Of bound* is for decoding the
bytes of weights that a step must read over the rate at which memory could be read in that moment, measured beside
every run; for prompts the products of bytes over those that the machine's registers give. Memory of a shared machine
may give twice as much in one minute as in the next: compare within a row, not between pages.
`;

const cell = ({ median, min, max }) => `${digits(median)} (${digits(min)} – ${digits(max)})`;
const percent = (share) => (share ? `${Math.round(share.median * 100)} %` : '');

function section({ date, model, machine, limits, options, engines, rows }, plot, name) {
  const peers = Object.keys(engines).filter((engine) => engine !== 'hadal');
  const head = ['', 'unit', 'Hadal', 'of bound', ...peers.flatMap((peer) => [peer, 'of bound', 'times'])];
  const rounds = Math.max(...rows.map((row) => row.rounds ?? options.rounds));
  const remark = (row) =>
    [
      ...(row.earlier === undefined ? [] : [`an earlier run, ${row.earlier}`]),
      ...(row.rounds === undefined || row.rounds === rounds ? [] : [`${row.rounds} rounds`]),
    ].join(', ');
  const lines = rows.map(({ engines: cells, ...row }) => [
    remark(row) === '' ? row.title : `${row.title} (${remark(row)})`,
    row.unit,
    cell(cells.hadal.values),
    percent(cells.hadal.share),
    ...peers.flatMap((peer) => {
      if (cells[peer] === undefined) return ['', '', ''];
      const { values, share, ratio } = cells[peer];
      return [cell(values), percent(share), ratio.median.toFixed(2)];
    }),
  ]);
  const rates = rows.flatMap((row) =>
    Object.values(row.engines).map(({ readRate }) => readRate.median / 1e9),
  );
  return `## ${model.file}

${formatBytes(model.bytes)}; a generated token reads ${formatBytes(model.bytesPerToken)} of weights, a prompt token takes ${digits(model.operationsPerPromptToken / 1e9)} GOP.
${machine.cpu}, ${options.threads} of ${machine.cores} cores, ${formatBytes(machine.memoryBytes)}, ${machine.system}, Node ${machine.node}, ${machine.isa};
memory read at ${digits(Math.min(...rates))} to ${digits(Math.max(...rates))} GB/s beside the rows, bytes multiplied at ${digits(limits.multiplyRate.median / 1e9)} GOP/s.
${peers.map((peer) => `${peer}: ${engines[peer].name ?? 'as built'}`).join('; ')}. Cache ${options.cacheDType}, ${rounds} rounds, ${date}; numbers in [${name}](../bench/results/${name}).

![How many times as fast as its peers](benchmarks/${plot})

${[head, head.map((_, i) => (i > 1 ? '--:' : '---')), ...lines].map((line) => `| ${line.join(' | ')} |`).join('\n')}
`;
}

function ratioPlot({ model, rows, engines }) {
  const peers = Object.keys(engines).filter((engine) => engine !== 'hadal');
  const bars = rows.flatMap(({ title, engines: cells }) =>
    peers
      .filter((peer) => cells[peer] !== undefined)
      .map((peer) => ({
        label: peers.length > 1 ? `${title}, ${peer}` : title,
        value: cells[peer].ratio.median,
        low: cells[peer].ratio.min,
        high: cells[peer].ratio.max,
      })),
  );
  return barChart(`${model.file}: Hadal over ${peers.join(' and ')}, more is better`, bars);
}
