/**
 * Owns: many sequences on one model: the loop of steps, requests in, events out.
 * Refuses to know: text, prompts, files, threads, HTTP; how rows are chosen (scheduler) or computed (step).
 */
import type { Backend, CacheDType } from '../backend/backend.ts';
import { HadalError } from '../error.ts';
import type { Model } from '../model/model.ts';
import type { ArchiveMaker, PageArchive } from './archive.ts';
import { PageCache } from './cache.ts';
import type { ConstraintMaker, TokenConstraint } from './constraint.ts';
import { AnswerConsumer, EmbedConsumer, ScoreConsumer } from './consumers.ts';
import { EventQueue } from './event-queue.ts';
import { Foresight } from './foresight.ts';
import type { ComputeLease } from './lease.ts';
import type {
  EmbedEvent,
  EmbedRequest,
  EngineEvent,
  EngineStats,
  GenerateRequest,
  ScoreEvent,
  ScoreRequest,
} from './request.ts';
import { Scheduler, type Slice } from './scheduler.ts';
import { Sequence } from './sequence.ts';
import { type Drafting, Speculator, sumOf, verifyDraft } from './speculative.ts';
import { type HiddenStates, Stepper, type StepResult } from './step.ts';
import { checkRequest, checkText } from './validate.ts';

/** Options of {@link createEngine}; the defaults suit one conversation. */
export interface EngineOptions {
  /** Longest prompt and answer together; the model's own when absent. */
  readonly contextTokens?: number;
  /** Tokens of cache for all sequences together, at least `contextTokens`. Memory is touched as it is filled. */
  readonly cacheTokens?: number;
  readonly cacheDType?: CacheDType;
  readonly maxSequences?: number;
  /** Rows of one step: how many prompt tokens are computed at a time. */
  readonly maxRows?: number;
  /** How long prompts may hold the next tokens of others' answers up, in milliseconds; 250 when absent. */
  readonly promptMs?: number;
  /** Counts how often experts are chosen, for {@link Engine.stats}; off by default. */
  readonly countExperts?: boolean;
  /** Drafts tokens ahead, which changes no answer; `auto`, where that measurably gains, when absent. */
  readonly drafting?: Drafting;
  /** Held while a step is computed, so that engines that share it never compute at once. */
  readonly lease?: ComputeLease;
  /** Where pages of prompts outlive the engine; nowhere when absent. */
  readonly archive?: ArchiveMaker;
  /** Makes the constraints of requests; without it they are refused. */
  readonly constraints?: ConstraintMaker;
}

/** A running engine. Disposing of it aborts what runs; the backend and its weights stay the caller's. */
export interface Engine extends AsyncDisposable {
  readonly contextTokens: number;
  /**
   * Answers a prompt: prefill events, tokens, one end. Leaving the iteration early aborts the request.
   *
   * @throws HadalError (at the first `next`) `request-invalid`, `prompt-too-long`, what the `ConstraintMaker` finds
   *   wrong, and what the backend reports.
   */
  generate(request: GenerateRequest): AsyncIterable<EngineEvent>;
  /** Logits of every position of a text. Throws as {@link generate}. */
  score(request: ScoreRequest): AsyncIterable<ScoreEvent>;
  /** One vector for a text of at most `contextTokens` tokens. Throws as {@link generate}; `states-broken`. */
  embed(request: EmbedRequest): AsyncIterable<EmbedEvent>;
  /** Ends a request with reason `abort`; unknown ids have ended already and are ignored. */
  abort(requestId: string): void;
  stats(): EngineStats;
}

const PAGE_TOKENS = 16;
const MAX_SEQUENCES = 8;
/** The reference backend takes seconds for a hundred rows: smaller steps notice an abort sooner. */
const MAX_ROWS = { native: 512, reference: 16 } as const;
/** Logits of so many rows are kept at a time. */
const MAX_OUTPUTS = 16;

/**
 * Starts an engine on a loaded model.
 *
 * @throws HadalError `context-impossible`, `out-of-memory`
 * @example
 * const engine = createEngine(backend, model);
 * for await (const event of engine.generate({ requestId: '1', promptIds, maxTokens: 64, sampling: { temperature: 0 }, endIds: [2] })) show(event);
 */
export function createEngine(backend: Backend, model: Model, options: EngineOptions = {}): Engine {
  return new RunningEngine(backend, model, options);
}

class RunningEngine implements Engine {
  readonly contextTokens: number;
  readonly #backend: Backend;
  readonly #vocabSize: number;
  readonly #pages: PageCache;
  readonly #scheduler: Scheduler;
  readonly #stepper: Stepper;
  readonly #speculator: Speculator;
  /** Undefined where the model has no predictor, or it is not used. */
  readonly #foresight: Foresight | undefined;
  readonly #lease: ComputeLease | undefined;
  readonly #constraints: ConstraintMaker | undefined;
  readonly #live = new Map<string, Sequence>();
  readonly #archive: PageArchive | undefined;
  /** Sequences whose pages are looked for elsewhere. */
  readonly #fetching = new Set<Promise<void>>();
  /** Slices being computed. */
  #inFlight: readonly Slice[] = [];
  #loop: Promise<void> | undefined;
  #computed = { steps: 0, prefillRows: 0, decodeRows: 0 };
  #closed = false;

  constructor(backend: Backend, model: Model, options: EngineOptions) {
    this.contextTokens = contextOf(model, options.contextTokens);
    this.#backend = backend;
    this.#lease = options.lease;
    this.#vocabSize = model.vocabSize;
    this.#constraints = options.constraints;
    const cacheTokens = Math.max(this.contextTokens, options.cacheTokens ?? 0);
    const maxSequences = options.maxSequences ?? MAX_SEQUENCES;
    const limits = {
      maxSequences,
      maxRows: Math.max(maxSequences, options.maxRows ?? MAX_ROWS[backend.info.name]),
      maxOutputs: Math.max(maxSequences, MAX_OUTPUTS),
      ...(options.promptMs === undefined ? {} : { promptMs: options.promptMs }),
    };
    const pages = Math.ceil(cacheTokens / PAGE_TOKENS);
    this.#pages = new PageCache(pages, PAGE_TOKENS);
    this.#scheduler = new Scheduler(this.#pages, limits, (page, bytes) =>
      this.#stepper.fillPage(page, bytes),
    );
    const drafting = options.drafting ?? 'auto';
    this.#speculator = new Speculator(drafting);
    this.#stepper = new Stepper(backend, model, {
      ...limits,
      pages,
      pageTokens: PAGE_TOKENS,
      contextTokens: this.contextTokens,
      cacheDType: options.cacheDType ?? 'F16',
      countExperts: options.countExperts ?? false,
      predict: drafting !== 'off',
    });
    const { words, pageBytes } = this.#stepper.layout;
    this.#archive = options.archive?.(`${PAGE_TOKENS} ${words}`, pageBytes);
    if (this.#archive) {
      this.#pages.keeper = { archive: this.#archive, bytes: (page) => this.#stepper.pageBytes(page) };
    }
    const extend = this.#scheduler.extend.bind(this.#scheduler);
    if (this.#stepper.predicts) this.#foresight = new Foresight({ stepper: this.#stepper, extend });
  }

  generate(request: GenerateRequest): AsyncIterable<EngineEvent> {
    const { requestId, promptIds } = request;
    const events = new EventQueue<EngineEvent>(() => this.abort(requestId));
    this.#start(events, requestId, () => {
      checkRequest(request, { vocabSize: this.#vocabSize, contextTokens: this.contextTokens });
      const constraint = this.#constraintOf(request);
      const consumer = new AnswerConsumer(request, this.contextTokens, events, constraint);
      const { tenant, cacheSalt: salt } = request;
      consumer.sequence = new Sequence(requestId, promptIds, promptIds.length, consumer, { tenant, salt });
      return consumer.sequence;
    });
    return events;
  }

  score({ requestId, ids, class: rowClass }: ScoreRequest): AsyncIterable<ScoreEvent> {
    const events = new EventQueue<ScoreEvent>(() => this.abort(requestId));
    this.#start(events, requestId, () => {
      checkText(ids, { vocabSize: this.#vocabSize, contextTokens: this.contextTokens });
      const consumer = new ScoreConsumer(ids.length, this.#vocabSize, events);
      return new Sequence(requestId, ids, rowClass === 'prefill' ? ids.length : 0, consumer);
    });
    return events;
  }

  embed({ requestId, ids, pooling, tenant }: EmbedRequest): AsyncIterable<EmbedEvent> {
    const events = new EventQueue<EmbedEvent>(() => this.abort(requestId));
    this.#start(events, requestId, () => {
      checkText(ids, { vocabSize: this.#vocabSize, contextTokens: this.contextTokens });
      const consumer = new EmbedConsumer(ids.length, pooling, events);
      return new Sequence(requestId, ids, ids.length, consumer, { tenant });
    });
    return events;
  }

  abort(requestId: string): void {
    const sequence = this.#live.get(requestId);
    if (sequence === undefined || sequence.aborted) return;
    sequence.aborted = true;
    if (this.#inFlight.length > 0 && this.#inFlight.every((slice) => slice.sequence.aborted)) {
      this.#backend.abort();
    }
  }

  stats(): EngineStats {
    const experts = this.#stepper.expertUse;
    return {
      runningRequests: this.#scheduler.runningCount,
      waitingRequests: this.#scheduler.waitingCount,
      pageTokens: this.#pages.pageTokens,
      pages: this.#pages.counts(),
      ...this.#backend.memory(),
      ...(experts === undefined ? {} : { experts }),
      ...this.#computed,
      drafts: this.#speculator.figures,
      ...(this.#archive === undefined ? {} : { disk: this.#archive.figures }),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const id of this.#live.keys()) this.abort(id);
    await Promise.all(this.#fetching);
    await this.#loop;
    if (this.#archive) {
      await this.#pages.keepAll();
      await this.#archive.close();
    }
    this.#stepper.free();
  }

  #start(events: { end(error: unknown): void }, requestId: string, begin: () => Sequence): void {
    try {
      if (this.#closed)
        throw new HadalError('engine-closed', { what: 'the engine is closed', next: 'open it again' });
      if (this.#live.has(requestId)) {
        throw new HadalError('request-invalid', {
          what: 'requestId',
          expected: 'an id of its own',
          got: `"${requestId}", which is running`,
          next: 'choose another',
        });
      }
      const sequence = begin();
      this.#live.set(requestId, sequence);
      const fetched = this.#archive && this.#fetch(sequence, this.#archive);
      if (fetched === undefined) this.#add(sequence);
      else {
        const added = fetched.then(() => this.#add(sequence));
        this.#fetching.add(added);
        void added.then(() => this.#fetching.delete(added));
      }
    } catch (error) {
      events.end(error);
    }
  }

  #add(sequence: Sequence): void {
    this.#scheduler.add(sequence);
    this.#loop ??= this.#run();
  }

  /** Looks elsewhere for pages of a prompt that are not in memory; undefined where there can be none. */
  #fetch(sequence: Sequence, archive: PageArchive): Promise<void> | undefined {
    const { ids, salt } = sequence;
    const most = Math.min(this.#scheduler.shareablePages(sequence), this.#pages.available);
    const known = this.#pages.match(ids, most, salt);
    this.#pages.release(known);
    if (known.length >= most) return undefined;
    const names: string[] = [];
    for (let index = 0; index < most; index++) {
      const page = ids.slice(index * PAGE_TOKENS, (index + 1) * PAGE_TOKENS);
      names.push(archive.name(names.at(-1), salt, page));
    }
    const from = known.length;
    return archive.fetch(salt, names.slice(from)).then((pages) => {
      if (pages.length > 0) sequence.fetched = { from, pages };
    });
  }

  #constraintOf({ constraint, endIds }: GenerateRequest): TokenConstraint | undefined {
    if (constraint === undefined) return undefined;
    if (this.#constraints !== undefined) return this.#constraints(constraint, { endIds });
    throw new HadalError('constraint-unsupported', {
      what: 'this engine',
      expected: 'requests without a constraint',
      got: 'one with it',
      next: 'start the engine with a `ConstraintMaker`',
    });
  }

  /** Steps until nobody wants anything. Begins after the current turn, so that requests made together run together. */
  async #run(): Promise<void> {
    await Promise.resolve();
    try {
      for (;;) {
        this.#dropAborted();
        const slices = this.#scheduler.plan();
        if (slices.length === 0) break;
        await this.#lease?.take();
        // Another engine's step may have taken long: whoever left meanwhile is not computed.
        const current = !slices.some(({ sequence }) => sequence.aborted);
        // Pages come and go in many turns of this thread.
        this.#backend.keepFree(this.#fetching.size > 0 || this.#archive?.writing === true);
        if (current && (await this.#step(slices))) await this.#draft(slices);
        this.#lease?.pause();
      }
    } catch (error) {
      for (const sequence of this.#scheduler.all())
        this.#finish(sequence, () => sequence.consumer.fail(error));
    }
    // In the same turn as the last look at the queue, so that no request falls between.
    this.#loop = undefined;
  }

  /** Guesses at what follows a step that was just computed. */
  async #draft(slices: readonly Slice[]): Promise<void> {
    this.#speculator.draft(this.#scheduler.all(), this.contextTokens);
    if (!this.#foresight) return;
    const startedMs = performance.now();
    const wanted = (sequence: Sequence) => this.#speculator.wanted(sequence, this.contextTokens);
    const passes = await this.#foresight.follow(slices, wanted);
    this.#speculator.predicted(passes, performance.now() - startedMs);
  }

  /** Returns whether it was computed. */
  async #step(slices: readonly Slice[]): Promise<boolean> {
    this.#inFlight = slices;
    let result: StepResult;
    /** Sequences that cannot go on, and why. */
    const broken = new Map<Sequence, unknown>();
    const startedMs = performance.now();
    try {
      result = await this.#stepper.run(slices, ({ sequence }, rows, firstPosition) => {
        try {
          if (!broken.has(sequence)) sequence.consumer.scored?.(rows, firstPosition);
        } catch (error) {
          broken.set(sequence, error);
        }
      });
    } catch (error) {
      // An abort that came late stops a step of others: that step is simply computed again.
      if (error instanceof HadalError && error.code === 'aborted') return false;
      for (const { sequence } of slices) this.#finish(sequence, () => sequence.consumer.fail(error));
      return false;
    } finally {
      this.#inFlight = [];
    }
    const ms = performance.now() - startedMs;
    const rows = this.#count(slices, ms);
    const before = slices.map(({ sequence }) => sequence.drafts.accepted);
    let row = 0;
    let firstRow = 0;
    for (const slice of slices) {
      const { sequence } = slice;
      this.#scheduler.done(slice);
      try {
        if (broken.has(sequence)) throw broken.get(sequence);
        if (result.states) this.#handStates(slice, result.states, firstRow);
        this.#hand(slice, result, row);
      } catch (error) {
        this.#finish(sequence, () => sequence.consumer.fail(error));
      }
      row += slice.outputs;
      firstRow += slice.to - slice.from;
    }
    // Prompts, and rows that are computed again, are no measure of what a step for the next token takes.
    const measured = slices.every(({ from, to, outputs, drafted }) => {
      return outputs === to - from && outputs === 1 + drafted.length;
    });
    const tokens = new Map(
      slices.map(({ sequence }, i) => [sequence, 1 + sequence.drafts.accepted - before[i]!] as const),
    );
    this.#speculator.stepped(measured && rows.prefill === 0 ? { ms, rows: rows.decode, tokens } : undefined);
    return true;
  }

  #count(slices: readonly Slice[], ms: number): { readonly prefill: number; readonly decode: number } {
    const rows = { prefill: 0, decode: 0 };
    for (const { sequence, from, to } of slices) rows[sequence.decoding ? 'decode' : 'prefill'] += to - from;
    this.#scheduler.took(rows.prefill, ms);
    const { steps, prefillRows, decodeRows } = this.#computed;
    this.#computed = {
      steps: steps + 1,
      prefillRows: prefillRows + rows.prefill,
      decodeRows: decodeRows + rows.decode,
    };
    return rows;
  }

  #handStates({ sequence, from, to }: Slice, { rows, hidden }: HiddenStates, firstRow: number): void {
    const { consumer } = sequence;
    if (sequence.aborted || consumer.wanted !== 'states') return;
    const count = to - from;
    const own = rows.subarray(firstRow * hidden, (firstRow + count) * hidden);
    consumer.states?.({ rows: own, count, hidden, firstPosition: from });
    if (to === sequence.ids.length) this.#finish(sequence);
  }

  #hand({ sequence, from, to, outputs, drafted }: Slice, result: StepResult, row: number): void {
    if (sequence.aborted) return;
    const { consumer, promptTokens } = sequence;
    if (from < promptTokens) consumer.prefilled(to);
    if (outputs === 0) return;
    if (consumer.wanted === 'every-row') {
      if (result.kind === 'logits') consumer.logits(this.#rows(result.logits, row, outputs), to - outputs);
      if (to === sequence.ids.length) this.#finish(sequence);
      return;
    }
    const { kind } = result;
    const before = sequence.drafts;
    const { accepted, chosen, ended } = verifyDraft(
      drafted,
      (at) => {
        // The consumer may end here and report them: to get to this row that many were right.
        sequence.drafts = sumOf(before, { drafted: drafted.length, accepted: at });
        return kind === 'argmax'
          ? consumer.argmax(result.ids[row + at]!)
          : consumer.logits(this.#rows(result.logits, row + at, 1), to - outputs + at);
      },
      // A consumer that from here on wants logits gets them from a step that reads them.
      () => kind === 'logits' || consumer.wanted === 'argmax',
    );
    sequence.ids.push(...chosen);
    // Rows of drafts that were right are computed; those of the others are forgotten: the next step writes over them.
    sequence.doneTokens += accepted;
    this.#speculator.verified(sequence, drafted.length, accepted);
    if (ended) this.#finish(sequence);
  }

  /** A copy of rows of logits: they leave the engine. */
  #rows(logits: Float32Array, row: number, count: number): Float32Array {
    return logits.slice(row * this.#vocabSize, (row + count) * this.#vocabSize);
  }

  #dropAborted(): void {
    for (const sequence of this.#scheduler.all()) {
      if (sequence.aborted) this.#finish(sequence, () => sequence.consumer.abort());
    }
  }

  #finish(sequence: Sequence, report?: () => void): void {
    this.#scheduler.remove(sequence);
    this.#live.delete(sequence.requestId);
    report?.();
  }
}

function contextOf(model: Model, wanted: number | undefined): number {
  if (wanted === undefined) return model.contextTokens;
  if (Number.isInteger(wanted) && wanted >= 2 && wanted <= model.contextTokens) return wanted;
  throw new HadalError('context-impossible', {
    what: 'the context',
    expected: `2 to ${model.contextTokens} tokens, which is what this model was made for`,
    got: `${wanted}`,
    next: 'choose a context in that range',
  });
}
