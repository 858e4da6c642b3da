/**
 * Owns: answers of the real model that are held to a form, from the command line and through the server.
 * Refuses to know: what the model says within it.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import OpenAI from 'openai';
import { expect, test } from 'vitest';
import { hadal, scratchFolder } from '../fixtures/command.ts';
import { describeWith, testModelPath } from '../fixtures/needs.ts';
import { startTestServer } from '../fixtures/server.ts';

const HANG_MS = 300_000;
const schema = {
  type: 'object',
  properties: {
    name: { type: 'string', minLength: 1, maxLength: 20 },
    hex: { type: 'string', pattern: '^#[0-9a-f]{6}$' },
    warm: { type: 'boolean' },
  },
  required: ['name', 'hex', 'warm'],
  additionalProperties: false,
};
const colour = {
  name: expect.any(String),
  hex: expect.stringMatching(/^#[0-9a-f]{6}$/),
  warm: expect.any(Boolean),
};
const env = { HADAL_BACKEND: 'native' };

describeWith(['weights'], 'the real model', () => {
  test(
    'hadal run --json-schema and --regex',
    async () => {
      await using folder = await scratchFolder();
      const file = join(folder.path, 'colour.json');
      await writeFile(file, JSON.stringify(schema));
      const asked = ['run', testModelPath()!, 'Name a colour, as JSON.', '--seed', '3', '-q'];
      const { out, err, code } = await hadal([...asked, '--json-schema', file], { env });
      expect([err, code]).toEqual(['', 0]);
      expect(JSON.parse(out)).toEqual(colour);
      const word = await hadal([...asked, '--regex', '(red|green|blue), \\d{2}%'], { env });
      expect(word.out).toMatch(/^(red|green|blue), \d\d%\n$/);
      const refused = await hadal([...asked, '--regex', 'a(?=b)'], { env });
      expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('lookahead')]);
    },
    HANG_MS,
  );

  test(
    'through the server, two at once, with log-probabilities',
    async () => {
      await using server = await startTestServer({
        served: [{ name: 'smollm2', aliases: [], source: testModelPath()!, pinned: false }],
        local: {
          env: { ...process.env, ...env },
          leaseName: `hadal-structured-${process.pid}`,
          onAnnounce() {},
          onWarning() {},
        },
      });
      const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any' });
      const asked = (seed: number) =>
        client.chat.completions.create({
          model: 'smollm2',
          messages: [{ role: 'user', content: 'Name a colour, as JSON.' }],
          response_format: { type: 'json_schema', json_schema: { name: 'colour', schema } },
          temperature: 1,
          seed,
          max_tokens: 200,
          logprobs: true,
          top_logprobs: 2,
        });
      for (const { choices } of await Promise.all([asked(1), asked(2)])) {
        expect(JSON.parse(choices[0]?.message.content ?? '')).toEqual(colour);
        expect(choices[0]?.finish_reason).toBe('stop');
      }
      expect(server.errors).toEqual([]);
    },
    HANG_MS,
  );
});
