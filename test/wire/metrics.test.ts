/** Owns: what operators see of a server that works: its metrics, its readiness, its log. */
import { readFileSync } from 'node:fs';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keyRing, newKey } from '../../src/http/keys.ts';
import { createMetrics } from '../../src/http/metrics.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

const [ada, bob] = ['ada', 'bob'].map((name) => newKey({ name, models: ['*'], limits: {} })) as [
  ReturnType<typeof newKey>,
  ReturnType<typeof newKey>,
];

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({ keys: keyRing([ada.key, bob.key]) });
});
afterAll(() => server[Symbol.asyncDispose]());

const clientOf = ({ secret }: { secret: string }) =>
  new OpenAI({ baseURL: `${server.url}/v1`, apiKey: secret, maxRetries: 0 });

/** Samples by name and labels. */
async function scraped(): Promise<Map<string, number>> {
  const response = await fetch(`${server.url}/metrics`, { headers: { 'x-api-key': ada.secret } });
  expect(response.headers.get('content-type')).toContain('text/plain; version=0.0.4');
  const lines = (await response.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [
      line.slice(0, line.lastIndexOf(' ')),
      Number(line.slice(line.lastIndexOf(' ') + 1)),
    ]),
  );
}

const PREFIX = 'What a long beginning of a prompt this is, longer than two pages of the cache are. ';
const ask = (prompt: string) => ({ model: 'toy', prompt, max_tokens: 6, temperature: 0, logprobs: 1 });

test('a prefix seen before gives the same bits, is counted, and is shared with no other key', async () => {
  const [mine, again, other] = [clientOf(ada), clientOf(ada), clientOf(bob)];
  const first = await mine.completions.create(ask(PREFIX));
  const hit = await again.completions.create(ask(PREFIX));
  const theirs = await other.completions.create(ask(PREFIX));
  const hits = [first, hit, theirs].map(({ usage }) => usage?.prompt_tokens_details?.cached_tokens);
  expect(hits).toEqual([0, expect.any(Number), 0]);
  expect(hits[1]).toBeGreaterThanOrEqual(64);
  expect(hit.choices[0]?.logprobs).toEqual(first.choices[0]?.logprobs);
  expect(theirs.choices[0]?.logprobs).toEqual(first.choices[0]?.logprobs);

  const all = await scraped();
  const model = 'gen_ai_request_model="toy"';
  expect(all.get(`hadal_prefix_cache_hit_tokens_total{${model}}`)).toBe(hits[1]);
  const operation = `gen_ai_operation_name="text_completion",${model}`;
  expect(all.get(`gen_ai_server_time_to_first_token_seconds_count{${operation}}`)).toBe(3);
  expect(all.get(`gen_ai_server_request_duration_seconds_count{${operation}}`)).toBe(3);
  expect(all.get(`gen_ai_client_token_usage_sum{${operation},gen_ai_token_type="output"}`)).toBe(18);
  expect(all.get(`hadal_inter_token_gap_seconds_count{${model}}`)).toBeGreaterThanOrEqual(12);
  const rows = all.get(`hadal_engine_rows{${model},class="prefill"}`);
  expect(rows).toBe(all.get(`hadal_prefix_cache_miss_tokens_total{${model}}`));
  expect(all.get(`hadal_engine_running_sequences{${model}}`)).toBe(0);
  expect(all.get(`hadal_model_events_total{${model},event="loaded"}`)).toBe(1);
});

test('drafts are counted where there are any', async () => {
  // What repeats itself is drafted.
  const client = clientOf(ada);
  await client.completions.create({ ...ask('ab '.repeat(60)), max_tokens: 200 });
  const all = await scraped();
  const of = (state: string) =>
    all.get(`hadal_engine_draft_tokens{gen_ai_request_model="toy",state="${state}"}`);
  const { drafts } = await server.models.peek('toy')!.engine.stats();
  expect({ drafted: of('drafted'), accepted: of('accepted') }).toEqual({
    drafted: drafts.drafted,
    accepted: drafts.accepted,
  });
  expect(all.get('hadal_engine_tokens_per_step{gen_ai_request_model="toy"}')).toBe(drafts.tokensPerStep);
  expect(all.get('hadal_engine_draft_gain{gen_ai_request_model="toy"}')).toBe(drafts.gain);
  expect(drafts.drafted).toBeGreaterThan(0);
});

test('lines of the log name the key, never a secret, and say nothing of what was said', () => {
  const answered = server.lines.filter(({ msg }) => msg === 'answered');
  expect(answered[0]).toMatchObject({ key: 'ada', model: 'toy', generatedTokens: 6 });
  const text = JSON.stringify(server.lines);
  for (const secret of [ada.secret, 'long beginning', 'ab ab']) expect(text).not.toContain(secret);
});

test('ready is what has loaded its pinned models and is not closing', async () => {
  await using other = await startTestServer();
  const ready = () => fetch(`${other.url}/readyz`).then(({ status }) => status);
  expect(await ready()).toBe(200);
  const client = new OpenAI({ baseURL: `${other.url}/v1`, apiKey: 'any', maxRetries: 0 });
  const stream = await client.completions.create({ ...ask('hi'), max_tokens: 100, stream: true });
  const chunks = stream[Symbol.asyncIterator]();
  await chunks.next();
  const closed = other.close(20_000);
  // No connection is taken any more, or one that is open says no.
  expect([503, 'closed']).toContain(await ready().catch(() => 'closed'));
  while (!(await chunks.next()).done);
  await closed;
});

test('the guide names every metric of ours', () => {
  const guide = readFileSync(new URL('../../docs/guide/serve.md', import.meta.url), 'utf8');
  const { registry } = createMetrics();
  const names = registry.getMetricsAsArray().map(({ name }) => name);
  for (const name of names.filter((one) => /^(hadal|gen_ai)_/.test(one)))
    expect(guide).toContain(`\`${name}\``);
});
