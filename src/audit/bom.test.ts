/**
 * Owns: digests of publishers, and bills of materials against CycloneDX's own schema.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { expect, onTestFinished, test } from 'vitest';
import { writeSafetensors } from '../formats/safetensors/write.ts';
import { auditPath } from './audit.node.ts';
import { billOfMaterials } from './bom.ts';
import { readDigests } from './digests.ts';

const golden = (path: string) => fileURLToPath(new URL(`../../test/golden/${path}`, import.meta.url));
const require = createRequire(import.meta.url);
const schema = (name: string) =>
  JSON.parse(
    readFileSync(
      require
        .resolve(`@cyclonedx/cyclonedx-library/package.json`)
        .replace('package.json', `res/schema/${name}.SNAPSHOT.schema.json`),
      'utf8',
    ),
  );

/** Formats are left out: those of mail and internationalised addresses need another package, and say nothing here. */
function validator(version: string) {
  const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });
  for (const name of ['spdx', 'jsf-0.82', 'cryptography-defs'])
    ajv.addSchema({ ...schema(name), $id: `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json` });
  return ajv.compile(schema(`bom-${version}`));
}

interface Bill {
  readonly components: readonly { name: string; 'bom-ref': string; hashes: unknown }[];
  readonly metadata: { component: { properties: readonly { name: string; value: string }[] } };
}

const options = { version: '0.1.0', timestamp: '2026-11-28T00:00:00Z' };

test.each(['gguf/python.gguf', 'hf/bf16', 'hf/fp8'])(
  'the bill of %s obeys the schema of CycloneDX 1.6',
  async (path) => {
    const bill = billOfMaterials(await auditPath(golden(path)), options);
    const validate = validator('1.6');
    validate(bill);
    expect(validate.errors).toBeNull();
    expect(validate({ ...bill, components: [{ type: 'weights' }] })).toBe(false);
  },
);

test('a bill names every file by its digest, the template, and how numbers were quantized', async () => {
  const report = await auditPath(golden('hf/fp8'));
  const bill = billOfMaterials(report, options) as Bill;
  const config = bill.components.find(({ name }) => name === 'config.json');
  const sha256 = createHash('sha256')
    .update(readFileSync(golden('hf/fp8/config.json')))
    .digest('hex');
  expect(config?.hashes).toEqual([{ alg: 'SHA-256', content: sha256 }]);
  expect(bill.components.map(({ 'bom-ref': ref }) => ref)).toContain('template:chat_template.jinja');
  const properties = new Map(bill.metadata.component.properties.map(({ name, value }) => [name, value]));
  expect(properties.get('hadal:says:quantization_config.quant_method')).toBe('fp8');
  expect(Number(properties.get('hadal:quantization:bytes:F8_E4M3'))).toBeGreaterThan(1000);
});

test('an adapter is named with what it adapts, and templates of the same name stay apart', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'hadal-bom-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const adapter = { base_model_name_or_path: 'org/base', peft_type: 'LORA', r: 8, lora_alpha: 16 };
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(adapter));
  const tensors = [{ name: 'a.lora_A.weight', dtype: 'F32', shape: [1], data: new Uint8Array(4) }] as const;
  writeFileSync(join(folder, 'adapter_model.safetensors'), writeSafetensors({ metadata: [], tensors }));
  const templates = ['{{ messages }}', '{{ messages[0] }}'].map((template) => ({ name: 'a', template }));
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify({ chat_template: templates }));
  const bill = billOfMaterials(await auditPath(folder), options) as Bill;
  const { component } = bill.metadata;
  expect(component).toMatchObject({ pedigree: { ancestors: [{ name: 'org/base' }] } });
  const properties = component.properties.map(({ name, value }) => `${name}=${value}`);
  expect(properties).toEqual(
    expect.arrayContaining(['hadal:says:peft_type=LORA', 'hadal:says:r=8', 'hadal:says:lora_alpha=16']),
  );
  const refs = bill.components.map(({ 'bom-ref': ref }) => ref);
  expect(new Set(refs).size).toBe(refs.length);
  expect(refs.filter((ref) => /^template:/.test(ref)).length).toBe(2);
  const validate = validator('1.6');
  validate(bill);
  expect(validate.errors).toBeNull();
});

test("a publisher's digests are compared, for files that are listed, not listed and missing", async () => {
  const folder = golden('hf/bf16');
  const { files } = await auditPath(folder);
  const list = (change: (lines: string[]) => string[]) =>
    readDigests(change(files.map(({ name, sha256 }) => `${sha256}  ${name}`)).join('\n'), 'SHA256SUMS');
  const codes = async (digests: ReadonlyMap<string, string>) =>
    (await auditPath(folder, { digests })).findings
      .map(({ code }) => code)
      .filter((code) => /^digest/.test(code));
  expect(await codes(list((lines) => lines))).toEqual(['digest-same']);
  expect(
    await codes(
      list((lines) =>
        lines.map((line) => (/config\.json/.test(line) ? `0${line.slice(1)}` : line).replace(/^0{2}/, '01')),
      ),
    ),
  ).toContain('digest-differs');
  expect(await codes(list((lines) => lines.filter((line) => !/00001-of/.test(line))))).toEqual([
    'digest-unlisted',
  ]);
  expect(await codes(list((lines) => [...lines, `${'0'.repeat(64)}  gone.safetensors`]))).toEqual([
    'digest-missing',
  ]);
});

test('lists of digests in both forms are read, and others refused', () => {
  const digest = 'AB'.repeat(32);
  expect(readDigests(`# comment\n${digest} *./a b.gguf\r\n`, 'x').get('a b.gguf')).toBe(digest.toLowerCase());
  expect(readDigests(JSON.stringify({ 'a.gguf': digest }), 'x').get('a.gguf')).toBe(digest.toLowerCase());
  for (const text of ['', 'abc  a', `${digest} a`, '{', '{"a": 1}', `${digest}  a\n${digest}  a`]) {
    expect(() => readDigests(text, 'x')).toThrow(/^x: /);
  }
});
