/**
 * Owns: what is found in chat templates: nothing in published ones, everything in poisoned ones.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { harmlessVariants, poisonedVariants } from '../../test/fixtures/poisoned-templates.ts';
import { auditTemplate, readKnownTemplates, templateDigest } from './template.ts';

const golden = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../test/golden/chat-templates/${name}.json`, import.meta.url), 'utf8'));
const originals: { name: string; template: string; sha256: string }[] = [
  ...golden('deepseek').templates,
  ...golden('llama-cpp').templates,
  { ...golden('smollm2'), name: 'smollm2', sha256: templateDigest(golden('smollm2').template) },
];
const known = readKnownTemplates();
/** As if no template were known by its digest: what is found is found by reading it. */
const unlisted = { ...known, templates: [] };
const serious = (template: string, list: typeof known = unlisted) =>
  auditTemplate(template, list).findings.filter(({ level }) => level !== 'note');

test.each(originals)(
  '$name, as published, is known and has nothing to complain of',
  ({ template, sha256 }) => {
    const report = auditTemplate(template, known);
    expect(report.sha256).toBe(sha256);
    expect(report.known).toBeDefined();
    expect(report.findings.map(({ code }) => code)).toEqual(['template-known']);
    expect(serious(template)).toEqual([]);
  },
);

test('the list of known templates is that of the published ones', () => {
  expect(known.templates.map(({ sha256 }) => sha256)).toEqual(originals.map(({ sha256 }) => sha256));
});

test('a published template is known again however its tags are spaced', () => {
  const { template } = originals.find(({ name }) => name === 'deepseek-v3')!;
  const spaced = template.replaceAll('{{', '{{  ').replaceAll('{% if', '{%   if');
  expect(auditTemplate(spaced, known).known).toBe('deepseek-v3');
  const said = template.replace("'<｜User｜>'", "'<｜User｜> '");
  expect(said).not.toBe(template);
  expect(auditTemplate(said, known).known).toBeUndefined();
});

test('every poisoned variant of every published template is flagged for what was put in', () => {
  const variants = originals.flatMap(({ name, template }) => poisonedVariants(name, template));
  expect(variants.length).toBeGreaterThan(800);
  const missed = variants.filter(
    ({ template, code }) => !serious(template, known).some((finding) => finding.code === code),
  );
  expect(missed.map(({ name }) => name)).toEqual([]);
});

test('harmless rewritings of published templates are left alone', () => {
  const variants = originals.flatMap(({ name, template }) => harmlessVariants(name, template));
  const accused = variants.flatMap(({ name, template }) => {
    const found = serious(template);
    return found.length === 0 ? [] : [`${name}: ${found[0]!.says}`];
  });
  expect(accused).toEqual([]);
});

test('templates without end, and trees without bottom, are refused at once', () => {
  for (const template of [
    '{{ a }}'.repeat(50_000),
    `{{ ${'('.repeat(20_000)}a${')'.repeat(20_000)} }}`,
    '{% if a %}'.repeat(5_000),
    `{{ ${'a + '.repeat(30_000)}a }}`,
    // Names written backwards: each pass learns of one.
    `${Array.from({ length: 2_000 }, (_, i) => `{% set a${i} = a${i + 1} %}`).join('')}{% set a2000 = messages %}`,
  ]) {
    expect(auditTemplate(template, known).findings.map(({ code }) => code)).toEqual(['template-unreadable']);
  }
});
