/** Owns: the tables of fields in the guide are those that requests are read by. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { COUNT_FIELDS, MESSAGES_FIELDS } from '../../src/api/anthropic/message-request.ts';
import { fieldRows } from '../../src/api/fields.ts';
import { INFILL_FIELDS } from '../../src/api/llama-cpp/infill.ts';
import { DETOKENIZE_FIELDS, TOKENIZE_FIELDS } from '../../src/api/llama-cpp/tokens.ts';
import { CHAT_FIELDS as OLLAMA_CHAT_FIELDS } from '../../src/api/ollama/chat-request.ts';
import { EMBED_FIELDS, OLD_EMBED_FIELDS } from '../../src/api/ollama/embed.ts';
import { GENERATE_FIELDS } from '../../src/api/ollama/generate-request.ts';
import { SHOW_FIELDS } from '../../src/api/ollama/models.ts';
import { DELETE_FIELDS, PULL_FIELDS } from '../../src/api/ollama/pull.ts';
import { OPTION_FIELDS } from '../../src/api/ollama/settings.ts';
import { CHAT_FIELDS } from '../../src/api/openai/chat-request.ts';
import { COMPLETION_FIELDS } from '../../src/api/openai/completion-request.ts';
import { EMBEDDINGS_FIELDS } from '../../src/api/openai/embeddings.ts';
import { RESPONSES_FIELDS } from '../../src/api/openai/response-request.ts';

const guide = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'guide', 'protocols.md'), 'utf8');

test.each([
  ['POST /v1/chat/completions', CHAT_FIELDS],
  ['POST /v1/completions', COMPLETION_FIELDS],
  ['POST /v1/responses', RESPONSES_FIELDS],
  ['POST /v1/messages', MESSAGES_FIELDS],
  ['POST /v1/messages/count_tokens', COUNT_FIELDS],
  ['POST /api/chat', OLLAMA_CHAT_FIELDS],
  ['POST /api/chat, options', OPTION_FIELDS],
  ['POST /api/generate', GENERATE_FIELDS],
  ['POST /infill', INFILL_FIELDS],
  ['POST /tokenize', TOKENIZE_FIELDS],
  ['POST /detokenize', DETOKENIZE_FIELDS],
  ['POST /api/show', SHOW_FIELDS],
  ['POST /api/pull', PULL_FIELDS],
  ['DELETE /api/delete', DELETE_FIELDS],
  ['POST /v1/embeddings', EMBEDDINGS_FIELDS],
  ['POST /api/embed', EMBED_FIELDS],
  ['POST /api/embeddings', OLD_EMBED_FIELDS],
])('%s', (route, table) => {
  const section = guide.split(`## \`${route}\`\n`)[1]?.split('\n## ')[0];
  expect(section).toContain(`| field | | |\n|---|---|---|\n${fieldRows(table)}\n`);
});
