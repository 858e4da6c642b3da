/**
 * Owns: OpenAI's error document.
 * Refuses to know: what failed, HTTP.
 */
import type { Problem } from '../problem.ts';

const TYPES: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  429: 'rate_limit_error',
  503: 'service_unavailable_error',
};

/** Codes that clients of OpenAI look for. */
const CODES: Readonly<Record<string, string>> = {
  'key-missing': 'invalid_api_key',
  'key-wrong': 'invalid_api_key',
  'model-unknown': 'model_not_found',
  'prompt-too-long': 'context_length_exceeded',
  'rate-limited': 'rate_limit_exceeded',
  'queue-full': 'rate_limit_exceeded',
  'key-busy': 'rate_limit_exceeded',
};

/**
 * A failure as OpenAI writes it.
 *
 * @example openaiError({ status: 404, code: 'model-unknown', message: 'x is not served here' });
 */
export function openaiError({ status, code, message }: Problem): object {
  const type = TYPES[status] ?? (status >= 500 ? 'server_error' : 'invalid_request_error');
  return { error: { message, type, param: null, code: CODES[code] ?? code } };
}
