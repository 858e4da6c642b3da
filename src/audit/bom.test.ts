/**
 * Owns: digests of publishers, and bills of materials against CycloneDX's own schema.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { expect, test } from 'vitest';
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
