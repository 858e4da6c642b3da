/**
 * Owns: how the machine does: memory, batch, queue, cache, speed, and the models with what may be done to them.
 * Refuses to know: where the figures come from.
 */
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { MachineDocument, MachineModelDocument } from '../server/documents.ts';
import { Chart } from './chart.tsx';
import { ExpertsView } from './experts.tsx';
import { change, experts, machine, samples, watchMachine } from './watch.ts';

/** The view. */
export function MachineView() {
  useEffect(watchMachine, []);
  const { value } = machine;
  return (
    <section class="machine" aria-label="Machine">
      <h1>Machine</h1>
      {value === undefined ? <p class="hint">Asking…</p> : <Figures machine={value} />}
      {value?.models.map((model) => (
        <ModelCard key={model.name} model={model} />
      ))}
    </section>
  );
}

function Figures({ machine: { memory, models, open_requests } }: { readonly machine: MachineDocument }) {
  const used = models.reduce(
    (sum, { engine }) => sum + (engine ? engine.weight_bytes + engine.cache_bytes + engine.tensor_bytes : 0),
    0,
  );
  const sum = (of: 'running' | 'waiting') =>
    models.reduce((total, { engine }) => total + (engine?.[of] ?? 0), 0);
  return (
    <dl class="tiles">
      <Tile
        name="Models"
        value={gigabytes(used)}
        note={`of ${gigabytes(memory.budget_bytes)} they may take`}
        share={used / memory.budget_bytes}
      />
      <Tile
        name="Memory free"
        value={gigabytes(memory.available_bytes)}
        note={`of ${gigabytes(memory.total_bytes)}`}
        share={1 - memory.available_bytes / memory.total_bytes}
      />
      <Tile name="Batch" value={String(sum('running'))} note="answers in a step" />
      <Tile name="Queue" value={String(sum('waiting'))} note={`waiting; ${open_requests} requests open`} />
    </dl>
  );
}

function Tile(props: {
  readonly name: string;
  readonly value: string;
  readonly note: string;
  readonly share?: number;
}) {
  return (
    <div class="tile">
      <dt>{props.name}</dt>
      <dd>
        <strong>{props.value}</strong>
        <span>{props.note}</span>
        {props.share !== undefined && <Bar label={`${props.name} in use`} share={props.share} />}
      </dd>
    </div>
  );
}

function Bar({ label, share }: { readonly label: string; readonly share: number }) {
  return <progress aria-label={label} max={1} value={Math.max(0, Math.min(1, share))} />;
}

function ModelCard({ model }: { readonly model: MachineModelDocument }) {
  const refusal = useSignal<string | undefined>(undefined);
  const { name, state, engine, loading, pinned, bytes } = model;
  const shown = samples.value[name] ?? [];
  const of = (field: 'generated' | 'prompt' | 'running' | 'waiting') => shown.map((one) => one[field]);
  const seconds = shown.map((one) => one.seconds);
  const act = async (what: 'load' | 'unload' | 'pin', more?: object) => {
    refusal.value = undefined;
    refusal.value = await change(what, name, more);
  };
  return (
    <article class="card" aria-label={`Model ${name}`}>
      <header class="row">
        <h2>{name}</h2>
        <span class={`state ${state}`}>{STATES[state]}</span>
        <span class="push" />
        {state === 'absent' && (
          <button type="button" onClick={() => void act('load')}>
            Load
          </button>
        )}
        {state === 'ready' && (
          <button type="button" disabled={pinned || model.in_use > 0} onClick={() => void act('unload')}>
            Unload
          </button>
        )}
        <button type="button" aria-pressed={pinned} onClick={() => void act('pin', { pinned: !pinned })}>
          {pinned ? 'Pinned' : 'Pin'}
        </button>
      </header>
      {refusal.value && (
        <p class="error" role="alert">
          {refusal}
        </p>
      )}
      <p class="hint">{described(model, bytes)}</p>
      {loading && <Bar label={`Loading ${name}`} share={loading.done / Math.max(1, loading.total)} />}
      {engine && (
        <>
          <Cache engine={engine} />
          <div class="charts">
            <Chart
              title="Tokens a second"
              seconds={seconds}
              lines={[
                { label: 'generated', colour: '--glow', values: of('generated') },
                { label: 'of prompts', colour: '--code-title', values: of('prompt') },
              ]}
            />
            <Chart
              title="Answers"
              seconds={seconds}
              lines={[
                { label: 'in the batch', colour: '--glow', values: of('running') },
                { label: 'waiting', colour: '--code-number', values: of('waiting') },
              ]}
            />
          </div>
        </>
      )}
      {engine?.counts_experts && experts.value[name] && <ExpertsView experts={experts.value[name]} />}
    </article>
  );
}

const STATES = { absent: 'not loaded', loading: 'loading', ready: 'ready' } as const;

function described(model: MachineModelDocument, bytes: number | null): string {
  const {
    architecture,
    layers,
    context_tokens: context,
    backend,
    engine,
    expires_at_ms: expires,
    pinned,
  } = model;
  const parts = [
    architecture === null ? undefined : `${architecture}, ${layers} layer${layers === 1 ? '' : 's'}`,
    context === null ? undefined : `${context.toLocaleString('en')} tokens of context`,
    backend === null
      ? undefined
      : `${backend.isa} on ${backend.threads} thread${backend.threads === 1 ? '' : 's'}`,
    engine ? `weights ${gigabytes(engine.weight_bytes)}, cache ${gigabytes(engine.cache_bytes)}` : undefined,
    engine === null && bytes !== null ? `needs ${gigabytes(bytes)}` : undefined,
    pinned
      ? 'stays loaded'
      : expires === null
        ? undefined
        : `goes at ${new Date(expires).toLocaleTimeString()}`,
  ];
  return parts.filter(Boolean).join(' · ') || 'Loaded when somebody asks it.';
}

function Cache({ engine }: { readonly engine: NonNullable<MachineModelDocument['engine']> }) {
  const { pages, page_tokens: each, drafted, accepted } = engine;
  const tokens = (count: number) => (count * each).toLocaleString('en');
  return (
    <p class="hint">
      Cache: {tokens(pages.used)} tokens of answers that run, {tokens(pages.kept)} kept for prompts that begin
      alike, room for {tokens(pages.total)}.
      {drafted > 0 && ` Of ${drafted} drafted tokens ${accepted} were right.`}
      <Bar label="Cache in use" share={(pages.used + pages.kept) / pages.total} />
    </p>
  );
}

function gigabytes(bytes: number): string {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
