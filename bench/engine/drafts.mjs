/**
 * Owns: what drafting gains on an edit: the same answer with drafts and without, by turns.
 * Refuses to know: how drafts are made.
 *
 *     node bench/engine/drafts.mjs MODEL.gguf [rounds]
 */
import { chooseBackend } from '../../dist/backend/choose.node.js';
import { createEngine } from '../../dist/engine/engine.js';
import { closeModelFile, openModelFile } from '../../dist/formats/open.node.js';
import { loadModel } from '../../dist/model/load.js';
import { openTokenizer } from '../../dist/runtime/open.node.js';

const [path, rounds = '5'] = process.argv.slice(2);
if (path === undefined) throw new Error('usage: node bench/engine/drafts.mjs MODEL.gguf [rounds]');

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

const tokenizer = await openTokenizer(path);
const promptIds = Int32Array.from(tokenizer.encode(PROMPT, { addSpecial: false, parseSpecial: true }));
const backend = chooseBackend();
const file = await openModelFile(path);
const model = await loadModel(file, backend);
const rates = { off: [], auto: [] };
const said = {};
let usage;
for (let round = 0; round <= Number(rounds); round++) {
  for (const drafting of ['off', 'auto']) {
    const engine = createEngine(backend, model, { contextTokens: 2048, drafting });
    const ids = [];
    const request = { requestId: '1', promptIds, maxTokens: 110, sampling: { temperature: 0 }, endIds: [] };
    for await (const event of engine.generate(request)) {
      if (event.type === 'token') ids.push(event.id);
      if (event.type !== 'end') continue;
      if (round > 0) rates[drafting].push(((ids.length - 1) / event.usage.decodeMs) * 1000);
      if (drafting === 'auto') usage = event.usage;
    }
    said[drafting] = ids.join(' ');
    await engine[Symbol.asyncDispose]();
  }
}
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const ratios = rates.auto.map((rate, i) => rate / rates.off[i]);
console.log(
  JSON.stringify(
    {
      same_text: said.off === said.auto,
      plain_tokens_per_second: median(rates.off),
      drafting_tokens_per_second: median(rates.auto),
      ratio_median: median(ratios),
      ratios,
      drafts: usage.drafts,
    },
    null,
    2,
  ),
);
await closeModelFile(file);
await backend[Symbol.asyncDispose]();
