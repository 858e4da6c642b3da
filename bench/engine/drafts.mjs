/**
 * Owns: what drafting gains on an edit, and what it costs where nothing can be guessed: the same answers with drafts and
 * without, by turns.
 * Refuses to know: how drafts are made.
 *
 *     node bench/engine/drafts.mjs MODEL.gguf [rounds] [edit | noise] [NAME]    kept as bench/results/NAME.json
 */
import { basename } from 'node:path';
import { chooseBackend } from '../../dist/backend/choose.node.js';
import { createEngine } from '../../dist/engine/engine.js';
import { closeModelFile, openModelFile } from '../../dist/formats/open.node.js';
import { loadModel } from '../../dist/model/load.js';
import { openTokenizer } from '../../dist/runtime/open.node.js';
import { keepResults } from '../kept.mjs';
import { someIds } from './child.mjs';

const [path, rounds = '5', task = 'edit', out] = process.argv.slice(2);
if (path === undefined || !['edit', 'noise'].includes(task)) {
  throw new Error('usage: node bench/engine/drafts.mjs MODEL.gguf [rounds] [edit | noise] [NAME]');
}

/** An edit that a small model can make: the same code with a line more. */
const CODE = `def total_price(items, tax_rate):
    subtotal = 0
    for item in items:
        subtotal += item.price * item.quantity
    tax = subtotal * tax_rate
    if subtotal > 100:
        discount = subtotal * 0.05
    else:
        discount = 0
    return subtotal + tax - discount

def print_receipt(items, tax_rate):
    for item in items:
        print(item.name, item.price, item.quantity)
    print("total", total_price(items, tax_rate))
`;
const PROMPT = `Original:\n\`\`\`python\n${CODE}\`\`\`\n\nThe same code with a comment at the top:\n\`\`\`python\n# Prices and receipts\n`;

const backend = chooseBackend();
const file = await openModelFile(path);
const model = await loadModel(file, backend);
const tokenizer = task === 'edit' ? await openTokenizer(path) : undefined;

/** The edit, always the same; or after random tokens an answer drawn from the model, in which nothing comes twice. */
function askedIn(round) {
  if (tokenizer === undefined) {
    const promptIds = someIds(64, model.vocabSize, round + 1);
    return { promptIds, maxTokens: 128, sampling: { temperature: 1, seed: round + 1 } };
  }
  const promptIds = tokenizer.encode(PROMPT, { addSpecial: false, parseSpecial: true });
  return { promptIds, maxTokens: 110, sampling: { temperature: 0 } };
}

// As a server has them: what an answer taught is there for the next.
const modes = ['off', 'auto'].map((drafting) => ({
  drafting,
  engine: createEngine(backend, model, { contextTokens: 2048, drafting }),
  rates: [],
  said: '',
}));
const drafts = [];
let same = true;
for (let round = 0; round <= Number(rounds); round++) {
  for (const mode of modes) {
    const ids = [];
    for await (const event of mode.engine.generate({ requestId: '1', endIds: [], ...askedIn(round) })) {
      if (event.type === 'token') ids.push(event.id);
      if (event.type !== 'end') continue;
      if (round > 0) mode.rates.push(((ids.length - 1) / event.usage.decodeMs) * 1000);
      if (mode.drafting === 'auto') drafts.push(event.usage.drafts ?? { drafted: 0, accepted: 0 });
    }
    mode.said = ids.join(' ');
  }
  same &&= modes[0].said === modes[1].said;
}
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const [off, auto] = modes;
const ratios = auto.rates.map((rate, i) => rate / off.rates[i]);
const measured = {
  model: basename(path),
  task,
  same_text: same,
  plain_tokens_per_second: median(off.rates),
  drafting_tokens_per_second: median(auto.rates),
  ratio_median: median(ratios),
  ratios,
  drafts,
};
console.log(JSON.stringify(measured, null, 2));
if (out !== undefined) keepResults(out, measured);
for (const { engine } of modes) await engine[Symbol.asyncDispose]();
await closeModelFile(file);
await backend[Symbol.asyncDispose]();
