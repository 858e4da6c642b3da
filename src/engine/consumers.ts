/**
 * Owns: what becomes of what is computed for a sequence: an answer token by token, scores, or one vector.
 * Refuses to know: batches, pages, backends.
 */
import { HadalError } from '../error.ts';
import { type TokenConstraint, type TokenMask, tokenMask } from './constraint.ts';
import type { EventQueue } from './event-queue.ts';
import { randomSeed } from './random.ts';
import type {
  EmbedEvent,
  EndReason,
  EngineEvent,
  GenerateRequest,
  Pooling,
  ScoredToken,
  ScoreEvent,
  Usage,
} from './request.ts';
import { areBroken, brokenLogits, logprobsOf, Sampler } from './sampler.ts';
import type { Consumer, Sequence, States, Wanted } from './sequence.ts';

/** Samples an answer and reports it. */
export class AnswerConsumer implements Consumer {
  readonly #request: GenerateRequest;
  readonly #contextTokens: number;
  readonly #events: EventQueue<EngineEvent>;
  readonly #sampler: Sampler;
  readonly #seed: number;
  readonly #ends: ReadonlySet<number>;
  readonly #constraint: TokenConstraint | undefined;
  #mask: TokenMask | undefined;
  readonly #startedMs = performance.now();
  #firstTokenMs: number | undefined;
  #generatedTokens = 0;
  #prefilledTokens = 0;
  /** Tokens of the prompt whose log-probabilities were told. */
  #scoredTokens = 0;
  #before: number | undefined;
  /** Set by the engine once the sequence exists: where cached tokens are counted. */
  sequence: Sequence | undefined;

  constructor(
    request: GenerateRequest,
    contextTokens: number,
    events: EventQueue<EngineEvent>,
    constraint?: TokenConstraint,
  ) {
    this.#request = request;
    this.#constraint = constraint;
    this.#contextTokens = contextTokens;
    this.#events = events;
    this.#seed = request.sampling.seed ?? randomSeed();
    this.#ends = new Set(request.endIds);
    this.#sampler = new Sampler(request.sampling, request.promptIds, this.#seed, request.topLogprobs);
  }

  get wanted(): Wanted {
    return this.#sampler.needsOnlyArgmax && !this.#constraint?.armed ? 'argmax' : 'logits';
  }

  queued(before: number): void {
    // Neither does one that gave its place up once it ran.
    if (before === this.#before || this.#prefilledTokens > 0) return;
    this.#before = before;
    this.#events.push({ type: 'queued', before });
  }

  prefilled(doneTokens: number): void {
    // A sequence that is computed again says nothing twice.
    if (doneTokens <= this.#prefilledTokens) return;
    this.#prefilledTokens = doneTokens;
    this.#events.push({ type: 'prefill', doneTokens, totalTokens: this.#request.promptIds.length });
  }

  get unscored(): number | undefined {
    const { promptIds, promptLogprobs } = this.#request;
    const row = Math.max(0, this.#scoredTokens - 1);
    return promptLogprobs === undefined || row >= promptIds.length - 1 ? undefined : row;
  }

  scored(rows: readonly Float32Array[], firstPosition: number): void {
    const { promptIds, promptLogprobs = 0 } = this.#request;
    const tokens = rows.map((logits, row) => {
      if (areBroken(logits)) throw brokenLogits();
      const id = promptIds[firstPosition + row + 1]!;
      return { id, ...logprobsOf(logits, id, promptLogprobs) };
    });
    this.#tell(tokens);
  }

  argmax(id: number): number | undefined {
    if (this.#request.maxTokens === 0) return this.#nothing();
    if (id < 0) throw brokenLogits();
    this.#sampler.accept(id);
    return this.#took({ id });
  }

  logits(logits: Float32Array): number | undefined {
    if (this.#request.maxTokens === 0) return this.#nothing();
    return this.#took(this.#sampler.choose(logits, this.#allowed(logits.length)));
  }

  guess(logits: Float32Array, drafted: readonly number[]): number {
    // What the constraint allows after tokens that are guesses themselves is not worth knowing.
    const mask = drafted.length === 0 ? this.#allowed(logits.length) : undefined;
    return this.#sampler.guess(logits, drafted, mask);
  }

  fail(error: unknown): void {
    this.#events.end(error);
  }

  abort(): void {
    this.#end('abort');
  }

  #allowed(vocabSize: number): TokenMask | undefined {
    if (!this.#constraint?.armed) return undefined;
    this.#mask ??= tokenMask(vocabSize);
    this.#mask.fill(0);
    this.#constraint.mask(this.#mask);
    return this.#mask;
  }

  #took(choice: ScoredToken): number | undefined {
    this.#tell([]);
    this.#firstTokenMs ??= performance.now();
    this.#generatedTokens++;
    this.#constraint?.accept(choice.id);
    this.#events.push({ type: 'token', ...choice });
    const { promptIds, maxTokens } = this.#request;
    if (this.#ends.has(choice.id) || this.#constraint?.done) this.#end('stop');
    else if (this.#generatedTokens >= maxTokens) this.#end('length');
    else if (promptIds.length + this.#generatedTokens >= this.#contextTokens) this.#end('context');
    else return choice.id;
    return undefined;
  }

  /** Only the prompt was asked about. */
  #nothing(): undefined {
    this.#tell([]);
    this.#end('length');
  }

  /** Tells of tokens of the prompt, where that was asked for: the first of all, which nothing precedes, and these. */
  #tell(tokens: readonly ScoredToken[]): void {
    const { promptIds, promptLogprobs } = this.#request;
    if (promptLogprobs === undefined) return;
    const all = this.#scoredTokens === 0 ? [{ id: promptIds[0]! }, ...tokens] : tokens;
    this.#scoredTokens += all.length;
    if (all.length > 0) this.#events.push({ type: 'prompt', tokens: all });
  }

  #end(reason: EndReason): void {
    const nowMs = performance.now();
    const { drafts, gain } = this.sequence ?? {};
    const firstMs = this.#firstTokenMs ?? nowMs;
    const usage: Usage = {
      promptTokens: this.#request.promptIds.length,
      cachedTokens: this.sequence?.cachedTokens ?? 0,
      generatedTokens: this.#generatedTokens,
      prefillMs: firstMs - this.#startedMs,
      decodeMs: nowMs - firstMs,
      ...(drafts && gain && drafts.drafted > 0 ? { drafts: { ...drafts, ...gain.figures } } : {}),
      seed: this.#seed,
    };
    this.#events.push({ type: 'end', reason, usage });
    this.#events.end();
  }
}

/** A text that nothing is sampled for: something is wanted of its rows, and then it ends. */
abstract class TextConsumer<T> implements Consumer {
  abstract readonly wanted: Wanted;
  protected readonly tokens: number;
  protected readonly events: EventQueue<T>;

  constructor(tokens: number, events: EventQueue<T>) {
    this.tokens = tokens;
    this.events = events;
  }

  queued(): void {}

  prefilled(): void {}

  logits(_logits: Float32Array, _firstPosition: number): undefined {}

  argmax(): undefined {}

  guess(): number {
    return -1;
  }

  fail(error: unknown): void {
    this.events.end(error);
  }

  abort(): void {
    this.events.end();
  }
}

/** Hands on the logits of every row of a text. */
export class ScoreConsumer extends TextConsumer<ScoreEvent> {
  readonly wanted = 'every-row';
  readonly #vocabSize: number;

  constructor(tokens: number, vocabSize: number, events: EventQueue<ScoreEvent>) {
    super(tokens, events);
    this.#vocabSize = vocabSize;
  }

  override logits(logits: Float32Array, firstPosition: number): undefined {
    this.events.push({ firstPosition, logits });
    if (firstPosition + logits.length / this.#vocabSize === this.tokens) this.events.end();
  }
}

/** Makes one vector of the hidden states of a text. Sums are in f64 and in order, so that chunks change no bit. */
export class EmbedConsumer extends TextConsumer<EmbedEvent> {
  readonly wanted = 'states';
  readonly #pooling: Pooling;
  /** Of the states of all rows so far [hidden]. */
  #sum: Float64Array | undefined;

  constructor(tokens: number, pooling: Pooling, events: EventQueue<EmbedEvent>) {
    super(tokens, events);
    this.#pooling = pooling;
  }

  states(states: States): void {
    const { count, hidden } = states;
    const last = states.firstPosition + count === this.tokens;
    if (this.#pooling === 'last') {
      if (last) this.#end(states.rows.slice((count - 1) * hidden, count * hidden));
      return;
    }
    this.#sum ??= new Float64Array(hidden);
    for (let row = 0; row < count; row++) {
      for (let i = 0; i < hidden; i++) this.#sum[i]! += states.rows[row * hidden + i]!;
    }
    if (last) this.#end(Float32Array.from(this.#sum, (sum) => sum / this.tokens));
  }

  #end(vector: Float32Array): void {
    const broken = vector.findIndex((number) => !Number.isFinite(number));
    if (broken >= 0) throw brokenStates(broken, vector[broken]!);
    this.events.push({ vector });
    this.events.end();
  }
}

function brokenStates(at: number, got: number): HadalError {
  return new HadalError('states-broken', {
    what: `number ${at} of the hidden state`,
    expected: 'a finite number',
    got: `${got}`,
    next: 'the file of this model may be damaged: fetch it again',
  });
}
