/**
 * Owns: which status an error has, and what of it a caller may read: a fixed catalogue.
 * Refuses to know: any protocol's shape of an error, what failed.
 */
import type { Problem } from '../api/problem.ts';
import { type Complaint, HadalError } from '../error.ts';

interface Entry {
  readonly status: number;
  /** Said instead of the error's own sentence, which may name files or processes of this machine. */
  readonly sentence?: string;
  readonly retryAfterSeconds?: number;
  readonly lasting?: true;
}

const bad: Entry = { status: 400 };
const busy: Entry = { status: 429, retryAfterSeconds: 1 };

/** Errors that callers may be told about. All others are faults of ours: 500 and no details. */
const CATALOGUE: Readonly<Record<string, Entry>> = {
  'request-invalid': bad,
  'field-refused': bad,
  'content-unsupported': bad,
  'conversation-invalid': bad,
  'schema-not-strict': bad,
  'constraint-unsupported': bad,
  'constraint-broken': bad,
  'constraint-stuck': bad,
  'schema-invalid': bad,
  'schema-unsupported': bad,
  'regex-invalid': bad,
  'regex-unsupported': bad,
  'grammar-too-large': bad,
  'grammar-unsatisfiable': bad,
  'grammar-ambiguous': bad,
  'chat-template-missing': bad,
  'chat-template-unknown': bad,
  'prompt-empty': bad,
  'prompt-too-long': bad,
  'stop-empty': bad,
  'token-id': bad,
  'tools-unsupported': bad,
  'thinking-unsupported': bad,
  'effort-unsupported': bad,
  'prefill-unsupported': bad,
  'infill-unsupported': bad,
  'json-broken': bad,
  'json-too-deep': bad,
  'request-line-refused': bad,
  'key-conflict': bad,
  'key-missing': { status: 401 },
  'key-wrong': { status: 401 },
  'host-refused': { status: 403 },
  'origin-refused': { status: 403 },
  'model-forbidden': { status: 403 },
  'key-limited': { status: 403 },
  'pooling-unsupported': bad,
  'pull-refused': bad,
  'pull-failed': { status: 502, retryAfterSeconds: 30 },
  'model-unknown': { status: 404 },
  'route-unknown': { status: 404 },
  'method-wrong': { status: 405 },
  'model-pinned': { status: 409 },
  'model-busy': { status: 409 },
  'model-not-pulled': { status: 409 },
  'request-too-slow': { status: 408 },
  'body-too-large': { status: 413 },
  'media-type-wrong': { status: 415 },
  'headers-too-large': { status: 431 },
  // Nobody reads it; what is counted is then no fault of ours.
  'client-left': { status: 499 },
  'queue-full': busy,
  'key-busy': busy,
  'rate-limited': busy,
  'memory-full': { status: 503, retryAfterSeconds: 5 },
  closing: { status: 503, retryAfterSeconds: 5 },
  'engine-closed': { status: 503, retryAfterSeconds: 1, sentence: 'the model was unloaded; ask again' },
  'engine-died': {
    status: 503,
    retryAfterSeconds: 1,
    sentence: 'the engine ended while it answered, and is started again; ask again',
  },
  'model-unloadable': { status: 503, lasting: true },
};

/** What the caller is told of a fault of ours. */
const FAULT = 'something failed in the server; its log has the details under the id of this request';

/**
 * What a caller may be told of an error.
 *
 * @example problemOf(new HadalError('model-unknown', { what: 'x' })).status; // 404
 */
export function problemOf(error: unknown): Problem {
  const code = error instanceof HadalError ? error.code : 'internal';
  const entry = Object.hasOwn(CATALOGUE, code) ? CATALOGUE[code] : undefined;
  if (entry === undefined) return { status: 500, code: 'internal', message: FAULT };
  const { status, lasting, sentence = (error as HadalError).message } = entry;
  const seconds = error instanceof RetryError ? error.retryAfterSeconds : entry.retryAfterSeconds;
  return {
    status,
    code,
    message: sentence,
    ...(seconds === undefined ? {} : { retryAfterSeconds: seconds }),
    ...(lasting === undefined ? {} : { lasting }),
  };
}

/** An error that knows when to try again. */
export class RetryError extends HadalError {
  readonly retryAfterSeconds: number;

  constructor(code: string, complaint: Complaint, retryAfterSeconds: number) {
    super(code, complaint);
    this.retryAfterSeconds = Math.max(1, Math.ceil(retryAfterSeconds));
  }
}
