/**
 * Owns: which experts a model chose, a row for each layer and a square for each expert.
 * Refuses to know: who counted.
 */
import { useEffect, useRef } from 'preact/hooks';
import type { ExpertLayerDocument, ExpertsDocument } from '../server/documents.ts';

const ROW_PX = 12;
/** How many times its even share is the brightest. */
const BRIGHTEST = 4;

/** The heat map, with the balance of each layer. */
export function ExpertsView({ experts }: { readonly experts: ExpertsDocument }) {
  const { layers } = experts;
  const total = layers.reduce((sum, { counts }) => sum + counts.reduce((a, b) => a + b, 0), 0);
  if (total === 0) return <p class="hint">No expert has been chosen yet: ask something.</p>;
  const dead = layers.reduce((sum, one) => sum + one.dead, 0);
  const evenness = layers.reduce((sum, one) => sum + one.evenness, 0) / layers.length;
  const worst = layers.reduce((a, b) => (b.busiest_share > a.busiest_share ? b : a));
  return (
    <figure class="experts">
      <figcaption>
        <strong>Experts</strong> {layers.length} layers of {layers[0]?.counts.length}. Balance{' '}
        {Math.round(evenness * 100)} %, {dead === 0 ? 'none dead' : `${dead} never chosen`}; the busiest is{' '}
        {worst.busiest} in layer {worst.layer}, with {worst.busiest_share.toFixed(1)} times its share.
      </figcaption>
      <div class="heat">
        <Heat layers={layers} />
        <ol class="layers" aria-label="Balance by layer">
          {layers.map(({ layer, evenness: even, dead: none, busiest }) => (
            <li key={layer} title={`layer ${layer}: busiest expert ${busiest}`}>
              <span class="unseen">layer {layer}: </span>
              {Math.round(even * 100)} %{none > 0 && `, ${none} dead`}
            </li>
          ))}
        </ol>
      </div>
      <p class="hint">Dark: never chosen. Middle: its even share. Bright: {BRIGHTEST} times that and more.</p>
    </figure>
  );
}

/** Painted, since thousands of squares a second are too many elements. */
function Heat({ layers }: { readonly layers: readonly ExpertLayerDocument[] }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const across = layers[0]?.counts.length ?? 0;
  useEffect(() => {
    const context = canvas.current?.getContext('2d');
    if (context == null) return;
    for (const [row, { counts }] of layers.entries()) {
      const sum = counts.reduce((a, b) => a + b, 0);
      for (const [column, count] of counts.entries()) {
        const share = sum > 0 ? (count / sum) * counts.length : 0;
        context.fillStyle = heatColour(share);
        context.fillRect(column, row, 1, 1);
      }
    }
  }, [layers]);
  return (
    <canvas
      ref={canvas}
      role="img"
      aria-label="Heat map: how often each expert of each layer was chosen; the list beside it has the balance"
      width={across}
      height={layers.length}
      style={{ height: `${layers.length * ROW_PX}px` }}
    />
  );
}

/** From the dark of the deep to what shines there; logarithmic, 1 in the middle. */
function heatColour(share: number): string {
  if (share === 0) return '#081018';
  const at = Math.max(0, Math.min(1, 0.5 + Math.log2(share) / (2 * Math.log2(BRIGHTEST))));
  return `oklch(${0.3 + at * 0.62} ${0.05 + at * 0.1} ${230 - at * 60})`;
}
