/** Owns: the tables of fields in the guide are those that requests are read by. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { COUNT_FIELDS, MESSAGES_FIELDS } from '../../src/api/anthropic/message-request.ts';
import { fieldRows } from '../../src/api/fields.ts';
import { CHAT_FIELDS } from '../../src/api/openai/chat-request.ts';
import { COMPLETION_FIELDS } from '../../src/api/openai/completion-request.ts';

const guide = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'guide', 'protocols.md'), 'utf8');

test.each([
  ['POST /v1/chat/completions', CHAT_FIELDS],
  ['POST /v1/completions', COMPLETION_FIELDS],
  ['POST /v1/messages', MESSAGES_FIELDS],
  ['POST /v1/messages/count_tokens', COUNT_FIELDS],
])('%s', (route, table) => {
  const section = guide.split(`## \`${route}\`\n`)[1]?.split('\n## ')[0];
  expect(section).toContain(`| field | | |\n|---|---|---|\n${fieldRows(table)}\n`);
});
