/**
 * Owns: docs/benchmarks-server.md, drawn from bench/results/server-*.json.
 * Refuses to know: how anything was measured.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { digits, formatBytes } from '../../dist/cli/figures.js';

const INTRODUCTION = `# Serving, measured

What \`hadal serve\` gives and costs over loopback: \`npm run bench:server -- MODEL.gguf --out NAME\` measures, writes
\`bench/results/server-NAME.json\` and draws this page. llama.cpp is asked on the same file by turns, without a server
and without sampling, as \`npm run bench:engine\` does. A cell is the median, then lowest to highest;
*of bound* is the part of the rate at which memory could be read in that moment, over the weights that a step must read:
each expert once, of those that so many answers choose together by how often each was chosen meanwhile.
`;

/** Writes the page. */
export function writePage(root) {
  const results = join(root, 'bench', 'results');
  const sections = readdirSync(results)
    .filter((name) => /^server-.*\.json$/.test(name))
    .sort()
    .map((name) => section(JSON.parse(readFileSync(join(results, name), 'utf8')), name));
  writeFileSync(join(root, 'docs', 'benchmarks-server.md'), `${INTRODUCTION}\n${sections.join('\n')}`);
}

function section({ model, machine, rows }, name) {
  const lines = rows.flatMap((row) => LINES[row.name](row).map((cells) => [...cells, row.date]));
  const table = [['', 'measured', 'to be reached', ''], ['---', '---', '---', '---'], ...lines];
  return `## ${model.file}

${formatBytes(model.bytes)}, ${formatBytes(model.bytesPerToken)} read for a token. ${machine.cpu}, ${machine.cores} cores,
${formatBytes(machine.memoryBytes)}, ${machine.system}, Node ${machine.node}. Numbers in [${name}](../bench/results/${name}).

${table.map((line) => `| ${line.join(' | ')} |`).join('\n')}
`;
}

const of = ({ median, min, max }, unit = '') => `${digits(median)}${unit} (${digits(min)} – ${digits(max)})`;
const percent = ({ median, min, max }) =>
  `${(median * 100).toPrecision(3)} % (${(min * 100).toPrecision(3)} – ${(max * 100).toPrecision(3)})`;
const signed = ({ median, min, max }) => `${median.toFixed(2)} ms (${min.toFixed(2)} – ${max.toFixed(2)})`;

/** The lines of each row: what, measured, to be reached. */
const LINES = {
  streams: ({ hadal, peer, ratioSixteen, acceptedDrafts, distinctExperts }) => [
    ['one stream, tokens/s', `${of(hadal.one)}, ${percent(hadal.shareOne)} of bound`, ''],
    [
      '16 streams, tokens/s',
      `${of(hadal.sixteen)}, ${percent(hadal.shareSixteen)} of bound`,
      '75 % of bound',
    ],
    ...(distinctExperts
      ? [
          [
            'experts of a layer that 16 streams choose',
            `${of(distinctExperts.chosen)}; ${digits(distinctExperts.evenly)} if all were chosen alike often`,
            '',
          ],
        ]
      : []),
    ['16 streams over one', of(hadal.times, ' times'), '2.2 times with experts, 4 times dense Q8_0'],
    ...(peer
      ? [
          ['llama.cpp, one sequence, tokens/s', of(peer.one), ''],
          ['llama.cpp, 16 sequences, tokens/s', `${of(peer.sixteen)}; ${of(peer.times, ' times')} one`, ''],
          ['Hadal over llama.cpp, 16', of(ratioSixteen, ' times'), ''],
        ]
      : []),
    ['tokens of these that were drafted ahead', `${acceptedDrafts}`, ''],
  ],
  overhead: ({ addedFirstMs, addedTokenMs, directFirstMs, directTokenMs, serverCpuTokenMs }) => [
    [
      'the server adds to the first token, of a text read before',
      `${signed(addedFirstMs)} to ${of(directFirstMs)} ms`,
      'under 2 ms',
    ],
    ['the server adds to each token', `${signed(addedTokenMs)} to ${of(directTokenMs)} ms`, 'under 0.2 ms'],
    ['processor time of the server for a token', signed(serverCpuTokenMs), ''],
  ],
  prefix: ({ coldMs, hitMs, share, cachedTokens }) => [
    ['first token of 4,016 tokens, never seen', of(coldMs, ' ms'), ''],
    [`the same, ${cachedTokens} of them seen before`, `${of(hitMs, ' ms')}, ${percent(share)}`, 'under 5 %'],
  ],
  abort: ({ prefillMs, decodeMs }) => [
    ['client gone in its prompt: engine idle after', of(prefillMs, ' ms'), '200 ms'],
    ['client gone in its answer: engine idle after', of(decodeMs, ' ms'), '200 ms'],
  ],
  idle: ({ connections, serverBytes, engineBytes }) => [
    [
      `${connections} idle event streams take`,
      `${formatBytes(serverBytes)} in the server, ${formatBytes(engineBytes)} in the engine`,
      'under 50 MB',
    ],
  ],
  load: ({ minutes, counts, server, engine }) => [
    [
      `${minutes} minutes of mixed load`,
      `${counts.answered} answered, ${counts.left} left, ${counts.refused} refused, ${counts.failed} failed`,
      'none failed',
    ],
    ['memory of the server, second and last third', grown(server), 'no growth'],
    ['memory of the engine, second and last third', grown(engine), 'no growth'],
  ],
};

const grown = ({ middleBytes, lastBytes }) => `${formatBytes(middleBytes)}, ${formatBytes(lastBytes)}`;
