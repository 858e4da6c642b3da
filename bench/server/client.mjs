/**
 * Owns: asking a server as a client does, over plain HTTP, and when each event of an answer came.
 * Refuses to know: which server it is, what is measured.
 */
import { Agent, request } from 'node:http';

/** Connections stay open, as those of real clients do. */
const agent = new Agent({ keepAlive: true, maxSockets: 2048 });

/**
 * @typedef {object} Answer
 * @property {number} askedMs by `performance.now()`
 * @property {readonly number[]} eventsMs when each event with text came
 * @property {number} endMs when the answer was complete
 * @property {number} tokens generated
 * @property {number} promptTokens
 * @property {number} cachedTokens
 */

/**
 * Streams a completion of a text or of ids.
 *
 * @param {string} url of the server
 * @param {object} body of `POST /v1/completions`
 * @param {{ signal?: AbortSignal, onComment?: (text: string) => void }} [more]
 * @returns {Promise<Answer>}
 * @example const { eventsMs, askedMs } = await streamed(url, { model, prompt: 'Hello', max_tokens: 8 });
 */
export function streamed(url, body, { signal, onComment } = {}) {
  return new Promise((resolve, reject) => {
    const askedMs = performance.now();
    const eventsMs = [];
    let usage;
    const asked = open(url, '/v1/completions', signal, (response) => {
      let rest = '';
      /** What came when; read when all is there, unless somebody listens: reading takes time from what is measured. */
      const pieces = [];
      const read = ({ text, atMs }) => {
        const events = (rest + text).split('\n\n');
        rest = events.pop() ?? '';
        for (const event of events) {
          if (event.startsWith(':')) onComment?.(event);
          else if (event.startsWith('data: {')) {
            const chunk = JSON.parse(event.slice(6));
            if (chunk.error) return reject(new Error(chunk.error.message));
            if (chunk.choices?.[0]?.text) eventsMs.push(atMs);
            usage = chunk.usage ?? usage;
          }
        }
      };
      response.setEncoding('utf8');
      response.on('data', (text) => {
        const piece = { text, atMs: performance.now() };
        if (onComment) read(piece);
        else pieces.push(piece);
      });
      response.on('error', reject);
      response.on('end', () => {
        const endMs = performance.now();
        for (const piece of pieces) read(piece);
        if (response.statusCode !== 200 || usage === undefined) {
          return reject(new Error(`the server answered ${response.statusCode}: ${rest}`));
        }
        const { completion_tokens: tokens, prompt_tokens: promptTokens } = usage;
        const cachedTokens = usage.prompt_cache_hit_tokens;
        resolve({ askedMs, eventsMs, endMs, tokens, promptTokens, cachedTokens });
      });
    });
    asked.on('error', reject);
    asked.end(JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }));
  });
}

/** The body of a response as text; `body` makes it a POST. */
export function fetched(url, path, body) {
  return new Promise((resolve, reject) => {
    const answered = (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part) => {
        text += part;
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode, text }));
    };
    const asked = open(url, path, undefined, answered, body === undefined ? 'GET' : 'POST');
    asked.on('error', reject);
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function open(url, path, signal, answered, method = 'POST') {
  const headers = { 'content-type': 'application/json' };
  return request(new URL(path, url), { agent, method, headers, ...(signal ? { signal } : {}) }, answered);
}
