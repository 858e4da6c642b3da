import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { applyChanges, type Change, revertChanges } from './changes.ts';
import { CLIENTS } from './clients.ts';
import { FORMATS, type FormatName } from './settings-format.ts';

const TARGET = { url: 'http://127.0.0.1:11434', model: 'v3.2', key: undefined };
const clientOf = (name: string) => CLIENTS.find((client) => client.name === name)!;

/** Settings that somebody may have, with comments where the notation has them. */
const EXISTING: Readonly<Record<string, string>> = {
  'claude-code': `{
    "permissions": { "allow": ["Bash(ls:*)"] },
    "env": { "FOO": "1", "ANTHROPIC_MODEL": "opus" },
    "model": "sonnet"
}
`,
  codex: `# mine
model = "gpt-5" # the best
approval_policy = "on-request"

[model_providers.other]
name = "Other"
base_url = "http://other"   # keep

[projects."/srv/a b"]
trust_level = "trusted"

[[hooks]]
when = 2026-01-02T03:04:05Z
`,
  continue: `name: Mine
version: 0.0.1
schema: v1
# my models
models:
  - name: Other # keep
    provider: ollama
    model: x
rules:
  - Be brief
`,
  aider: `# aider
dark-mode: true
model: sonnet   # usual
read:
  - a.md
`,
  cline: `{"version": 1, "lastUsedProvider": "cline", "providers": {"cline": {"settings": {"provider": "cline"}}}}`,
  opencode: `{
  // theme
  "theme": "dark",
  "provider": { "other": { "npm": "x" /* keep */ } },
}
`,
  'llama-vscode': `{
\t// editor
\t"editor.fontSize": 12,
\t"llama-vscode.endpoint": "http://127.0.0.1:8012",
\t"a": [1, 2,], // trailing
}
`,
};

/** Comments and words of the person that have to survive. */
const KEPT: Readonly<Record<string, readonly string[]>> = {
  'claude-code': ['"allow": ["Bash(ls:*)"]', '"FOO": "1"', '"model": "sonnet"'],
  codex: ['# mine', '# the best', '# keep', '[projects."/srv/a b"]', '2026-01-02T03:04:05Z', '"on-request"'],
  continue: ['# my models', '# keep', 'Be brief', 'name: Mine'],
  aider: ['# aider', '# usual', 'dark-mode: true', '- a.md'],
  cline: ['"cline"'],
  opencode: ['// theme', '/* keep */', '"theme": "dark"'],
  'llama-vscode': ['// editor', '// trailing', '\t"editor.fontSize": 12'],
};

describe.each(CLIENTS.map((client) => [client.name, client] as const))('%s', (name, client) => {
  const { format } = client.file({ HOME: '/home/ada' });
  const notation = FORMATS[format];
  const changes = client.changes(TARGET);

  test('settings go into an empty file and one that has others; comments stay', () => {
    const before = EXISTING[name]!;
    for (const text of ['', before]) {
      const { text: after } = applyChanges(notation, text, changes);
      const says = JSON.stringify(notation.parse(after));
      expect(says).toContain('v3.2');
      expect(says).toContain('http://127.0.0.1:11434');
      // A second time changes nothing.
      expect(applyChanges(notation, after, changes)).toEqual({ text: after, changed: [] });
    }
    const { text: after } = applyChanges(notation, before, changes);
    for (const words of KEPT[name]!) expect(after).toContain(words);
  });

  test('they come out again, whatever else was changed meanwhile', () => {
    const before = EXISTING[name]!;
    const { text: after, changed } = applyChanges(notation, before, changes);
    const back = revertChanges(notation, after, changed);
    expect(back.kept).toEqual([]);
    expect(notation.parse(back.text)).toEqual(notation.parse(before));
    for (const words of KEPT[name]!) expect(back.text).toContain(words);
    const touched = notation.set(after, ['added'], 'since');
    const later = revertChanges(notation, touched, changed);
    expect(notation.parse(later.text)).toEqual({ ...(notation.parse(before) as object), added: 'since' });
  });
});

test('what was changed since stays, and is named', () => {
  const { text, changed } = applyChanges(FORMATS.yaml, EXISTING.aider!, clientOf('aider').changes(TARGET));
  const mine = text.replace('openai/v3.2', 'openai/mine');
  const { text: back, kept } = revertChanges(FORMATS.yaml, mine, changed);
  expect(kept).toEqual([['model']]);
  expect(FORMATS.yaml.parse(back)).toMatchObject({ model: 'openai/mine', 'dark-mode': true });
  expect(back).not.toContain('openai-api-base');
});

test('an item of a list is found by its name, not by its place', () => {
  const { text, changed } = applyChanges(FORMATS.yaml, '', clientOf('continue').changes(TARGET));
  const first = text.replace('models:\n', 'models:\n  - name: First\n    provider: x\n    model: y\n');
  const { text: back } = revertChanges(FORMATS.yaml, first, changed);
  expect((FORMATS.yaml.parse(back) as { models: { name: string }[] }).models.map(({ name }) => name)).toEqual(
    ['First'],
  );
});

test.each([
  ['json', '{'],
  ['json', '{ "a": 1, } '],
  ['json', '{ "a": 1 } // comment'],
  ['jsonc', '{ "a": }'],
  ['yaml', 'a: [1\nb: 2'],
  ['yaml', 'a: 1\na: 2'],
  ['toml', 'a = '],
  ['toml', 'a = 1\na = 2'],
  ['json', '[]'],
  ['yaml', '- a'],
  ['json', '"text"'],
] as const)('%s that does not parse, or is no settings, is refused: %s', (format, text) => {
  expect(() => applyChanges(FORMATS[format], text, [{ path: ['x'], value: 1 }])).toThrow();
});

test.each([
  ['json', '{ "env": "text" }', 'env'],
  ['yaml', 'env: [1]', 'env'],
  ['toml', 'env = 1', 'env'],
] as const)('%s with something else in the way is refused: %s', (format, text, where) => {
  const change: Change = { path: ['env', 'A'], value: '1' };
  expect(() => applyChanges(FORMATS[format], text, [change])).toThrow(
    `something else where ${where} belongs`,
  );
});

const NAMES = fc.stringMatching(/^[a-z][a-z0-9_.-]{0,6}$/);
const VALUES = fc.oneof(
  fc.boolean(),
  fc.integer({ min: -1e6, max: 1e6 }),
  fc.stringMatching(/^[ -~äé€]{0,12}$/),
  fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 3 }),
);
const SETTINGS = fc.letrec((tie) => ({
  object: fc.dictionary(NAMES, fc.oneof({ depthSize: 'small' }, VALUES, tie('object')), { maxKeys: 4 }),
})).object as fc.Arbitrary<Record<string, unknown>>;

describe.each(['json', 'jsonc', 'yaml', 'toml'] as FormatName[])('any settings in %s', (name) => {
  const format = FORMATS[name];
  test('keep every other value when one is set, and come back', () => {
    fc.assert(
      fc.property(
        SETTINGS,
        fc.array(NAMES, { minLength: 1, maxLength: 3 }),
        VALUES,
        (settings, path, value) => {
          let text = '';
          for (const [key, inner] of Object.entries(settings)) text = format.set(text, [key], inner);
          const before = format.parse(text);
          expect(before).toEqual(settings);
          let done: ReturnType<typeof applyChanges>;
          try {
            done = applyChanges(format, text, [{ path, value }]);
          } catch (error) {
            // Refused is allowed, lost is not.
            expect(String(error)).toMatch(/something else where|could not be changed/);
            return;
          }
          expect(
            path.reduce((at, key) => (at as Record<string, unknown>)[key], format.parse(done.text)),
          ).toEqual(value);
          expect(format.parse(revertChanges(format, done.text, done.changed).text)).toEqual(before);
        },
      ),
      { numRuns: 150 },
    );
  });
});
