/**
 * Owns: making src/audit/known-templates.json: digests of the published chat templates in test/golden/chat-templates, and the
 * sentences that they put in prompts.
 *
 * `node scripts/reference/known-templates.mjs`, after a build. Node 20.20, @huggingface/jinja 0.5.11.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { digestOfTree, parseTemplate } from '../../dist/audit/jinja-tree.js';
import { templateDigest } from '../../dist/audit/template.js';
import { saidTexts, sentencesOf } from '../../dist/audit/template-text.js';

const root = new URL('../../', import.meta.url);
const golden = (name) =>
  JSON.parse(readFileSync(new URL(`test/golden/chat-templates/${name}.json`, root), 'utf8'));

const deepseek = golden('deepseek').templates;
const kept = golden('llama-cpp');
const small = golden('smollm2');
const all = [
  ...deepseek,
  ...kept.templates.map((one) => ({ ...one, from: kept.certificate.from })),
  { name: 'smollm2', from: small.certificate.from, template: small.template },
];

const sentences = new Set();
const templates = all.map(({ name, from, template }) => {
  const tree = parseTemplate(template);
  for (const sentence of saidTexts(tree).flatMap(sentencesOf)) sentences.add(sentence);
  return { name, from, sha256: templateDigest(template), tree: digestOfTree(tree) };
});

const json = {
  certificate: {
    what: 'published chat templates: digests of their texts and trees, and the sentences they put in prompts',
    script: 'scripts/reference/known-templates.mjs, with @huggingface/jinja 0.5.11',
    from: 'test/golden/chat-templates',
    date: '2026-11-28',
  },
  templates,
  sentences: [...sentences].sort(),
};
writeFileSync(new URL('src/audit/known-templates.json', root), `${JSON.stringify(json, null, 2)}\n`);
