/**
 * Owns: Anthropic's error document.
 * Refuses to know: what failed, HTTP.
 */
import type { Problem } from '../problem.ts';

const TYPES: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  503: 'overloaded_error',
};

/**
 * A failure as Anthropic writes it. Agents look for the words "prompt is too long" before they shorten a conversation.
 *
 * @example anthropicError({ status: 404, code: 'model-unknown', message: 'x is not served here' });
 */
export function anthropicError({ status, code, message }: Problem): object {
  const type = TYPES[status] ?? (status >= 500 ? 'api_error' : 'invalid_request_error');
  const words = code === 'prompt-too-long' ? `prompt is too long: ${message}` : message;
  return { type: 'error', error: { type, message: words } };
}
