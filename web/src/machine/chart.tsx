/**
 * Owns: figures over time as lines.
 * Refuses to know: what the figures are.
 */
import 'uplot/dist/uPlot.min.css';
import { useEffect, useRef } from 'preact/hooks';
import UPlot from 'uplot';

/** A line. */
export interface Line {
  readonly label: string;
  /** A colour of the page, e.g. `--glow`. */
  readonly colour: string;
  readonly values: readonly number[];
}

interface ChartProps {
  readonly title: string;
  readonly seconds: readonly number[];
  readonly lines: readonly Line[];
}

const HEIGHT_PX = 160;

/** Lines over time; for whoever cannot see them, the last values. */
export function Chart({ title, seconds, lines }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot>(undefined);
  const data = dataOf(seconds, lines);
  useEffect(() => {
    const element = box.current!;
    const make = () => {
      plot.current?.destroy();
      plot.current = new UPlot(options(element, lines), data, element);
    };
    make();
    const sizes = new ResizeObserver(() => {
      plot.current?.setSize({ width: element.clientWidth, height: HEIGHT_PX });
    });
    sizes.observe(element);
    const theme = new MutationObserver(make);
    theme.observe(document.documentElement, { attributeFilter: ['data-theme'] });
    return () => {
      sizes.disconnect();
      theme.disconnect();
      plot.current?.destroy();
    };
  }, []);
  useEffect(() => plot.current?.setData(data), [seconds]);
  const last = lines.map(({ label, values }) => `${label} ${(values.at(-1) ?? 0).toFixed(0)}`).join(', ');
  return (
    <figure class="chart">
      <figcaption>
        <span>{title}</span>
        {lines.map(({ label, colour }) => (
          <span key={label} class="key">
            <i style={{ background: `var(${colour})` }} />
            {label}
          </span>
        ))}
      </figcaption>
      <div ref={box} role="img" aria-label={`${title} now: ${last}`} />
    </figure>
  );
}

/** Times and values; two moments without values where there are none yet, so that the axis has a time. */
function dataOf(seconds: readonly number[], lines: readonly Line[]): UPlot.AlignedData {
  if (seconds.length > 1) return [[...seconds], ...lines.map(({ values }) => [...values])];
  const end = Date.now() / 1000;
  return [[end - WINDOW_SECONDS, end], ...lines.map(() => [null, null])];
}

/** At least so long, so that the first moments do not fill the width. */
const WINDOW_SECONDS = 60;
const CLOCK = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });

function windowFrom(low: number | null, high: number | null): [number, number] {
  const end = high ?? Date.now() / 1000;
  return [Math.min(low ?? end, end - WINDOW_SECONDS), end];
}

function options(element: HTMLElement, lines: readonly Line[]): UPlot.Options {
  const styles = getComputedStyle(document.documentElement);
  const colour = (name: string) => styles.getPropertyValue(name).trim();
  const axis = {
    stroke: colour('--soft'),
    font: '12px system-ui, sans-serif',
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { show: false },
  };
  return {
    width: element.clientWidth,
    height: HEIGHT_PX,
    cursor: { show: false },
    legend: { show: false },
    scales: {
      x: { range: (_plot, low, high) => windowFrom(low, high) },
      y: { range: (_plot, _low, high) => [0, Math.max(1, high * 1.1)] },
    },
    axes: [
      { ...axis, values: (_plot, at) => at.map((one) => CLOCK.format(one * 1000)), space: 90 },
      { ...axis, size: 48 },
    ],
    series: [
      {},
      ...lines.map((line) => ({
        label: line.label,
        stroke: colour(line.colour),
        width: 2,
        points: { show: false },
      })),
    ],
  };
}
