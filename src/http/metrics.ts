/**
 * Owns: the numbers that are counted, in Prometheus' form, with OpenTelemetry's GenAI names where there are some.
 * Refuses to know: when something is counted.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** OpenTelemetry's buckets for times to a token, and for whole requests, in seconds. */
const TOKEN_SECONDS = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 0.75, 1, 2.5, 5, 10];
const REQUEST_SECONDS = [
  0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
const TOKEN_COUNTS = [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576];

/** Everything that is counted. */
export type Metrics = ReturnType<typeof createMetrics>;

/**
 * The metrics of one server.
 *
 * @example const metrics = createMetrics(); metrics.requests.inc({ route: '/v1/models', status: 200 });
 */
export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const model = ['gen_ai_request_model'] as const;
  return {
    registry,
    /** OpenTelemetry: gen_ai.server.request.duration */
    requestSeconds: new Histogram({
      name: 'gen_ai_server_request_duration_seconds',
      help: 'Time of a whole answer',
      labelNames: ['gen_ai_operation_name', ...model, 'error_type'],
      buckets: REQUEST_SECONDS,
      registers,
    }),
    /** OpenTelemetry: gen_ai.server.time_to_first_token */
    firstTokenSeconds: new Histogram({
      name: 'gen_ai_server_time_to_first_token_seconds',
      help: 'Time from the request to the first token of its answer',
      labelNames: ['gen_ai_operation_name', ...model],
      buckets: TOKEN_SECONDS,
      registers,
    }),
    /** OpenTelemetry: gen_ai.server.time_per_output_token */
    outputTokenSeconds: new Histogram({
      name: 'gen_ai_server_time_per_output_token_seconds',
      help: 'Mean time of a token after the first, one value an answer',
      labelNames: ['gen_ai_operation_name', ...model],
      buckets: TOKEN_SECONDS,
      registers,
    }),
    /** OpenTelemetry: gen_ai.client.token.usage, as the server counts it */
    tokenUsage: new Histogram({
      name: 'gen_ai_client_token_usage',
      help: 'Tokens of a request by type: input or output',
      labelNames: ['gen_ai_operation_name', ...model, 'gen_ai_token_type'],
      buckets: TOKEN_COUNTS,
      registers,
    }),
    gapSeconds: new Histogram({
      name: 'hadal_inter_token_gap_seconds',
      help: 'Time from one event of an answer to the next',
      labelNames: [...model],
      buckets: TOKEN_SECONDS,
      registers,
    }),
    cacheHitTokens: new Counter({
      name: 'hadal_prefix_cache_hit_tokens_total',
      help: 'Prompt tokens that were in the cache already',
      labelNames: [...model],
      registers,
    }),
    cacheMissTokens: new Counter({
      name: 'hadal_prefix_cache_miss_tokens_total',
      help: 'Prompt tokens that were computed',
      labelNames: [...model],
      registers,
    }),
    replayedAnswers: new Counter({
      name: 'hadal_replayed_answers_total',
      help: 'Earlier answers with calls that were read token by token as they were written',
      labelNames: [...model],
      registers,
    }),
    prefixBreaks: new Counter({
      name: 'hadal_prefix_breaks_total',
      help: 'Conversations that no longer begin as their last request did: tools, system, message, answer, rendering',
      labelNames: [...model, 'why'],
      registers,
    }),
    requests: new Counter({
      name: 'hadal_http_requests_total',
      help: 'Requests by route and status',
      labelNames: ['route', 'status'],
      registers,
    }),
    openRequests: new Gauge({
      name: 'hadal_open_requests',
      help: 'Requests that are answered or wait for it',
      registers,
    }),
    engineRunning: new Gauge({
      name: 'hadal_engine_running_sequences',
      help: 'Answers in the running batch',
      labelNames: [...model],
      registers,
    }),
    engineWaiting: new Gauge({
      name: 'hadal_engine_waiting_sequences',
      help: 'Answers in the queue',
      labelNames: [...model],
      registers,
    }),
    engineSteps: new Gauge({
      name: 'hadal_engine_steps',
      help: 'Steps since the model was loaded',
      labelNames: [...model],
      registers,
    }),
    engineRows: new Gauge({
      name: 'hadal_engine_rows',
      help: 'Rows computed since the model was loaded, by class; rows of decode / steps is the mean batch',
      labelNames: [...model, 'class'],
      registers,
    }),
    engineDrafts: new Gauge({
      name: 'hadal_engine_draft_tokens',
      help: 'Tokens drafted ahead since the model was loaded, and those accepted; their quotient is the acceptance',
      labelNames: [...model, 'state'],
      registers,
    }),
    engineDraftGain: new Gauge({
      name: 'hadal_engine_draft_gain',
      help: 'How many times as fast drafting makes decoding, as measured since the model was loaded',
      labelNames: model,
      registers,
    }),
    engineTokensPerStep: new Gauge({
      name: 'hadal_engine_tokens_per_step',
      help: 'Tokens that a decoded step of one answer gave on average since the model was loaded',
      labelNames: model,
      registers,
    }),
    cachePages: new Gauge({
      name: 'hadal_cache_pages',
      help: 'Pages of the cache by state',
      labelNames: [...model, 'state'],
      registers,
    }),
    diskPages: new Gauge({
      name: 'hadal_disk_cache_pages',
      help: 'Pages of the cache on disk since the model was loaded, by what became of them',
      labelNames: [...model, 'state'],
      registers,
    }),
    modelBytes: new Gauge({
      name: 'hadal_model_bytes',
      help: 'Bytes that a loaded model takes, by kind',
      labelNames: [...model, 'kind'],
      registers,
    }),
    modelEvents: new Counter({
      name: 'hadal_model_events_total',
      help: 'What became of models: loaded, evicted, expired, failed, died',
      labelNames: [...model, 'event'],
      registers,
    }),
  };
}
