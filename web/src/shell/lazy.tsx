/**
 * Owns: keeping out of the document what nobody sees: a box of the same height stands in for it.
 * Refuses to know: what is in it.
 */
import { type Signal, useSignal } from '@preact/signals';
import type { ComponentChild } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

/** How far outside the window something is still made, so that scrolling finds it there. */
const MARGIN = '800px';
/** For the height of what has never been seen. */
const CHARACTERS_PER_LINE = 80;
const LINE_PX = 26;

/** Shown, or the height in pixels of the box that stands in. */
type Shown = true | number;

const watched = new WeakMap<Element, Signal<Shown>>();
let observer: IntersectionObserver | undefined;

function watch(element: Element, shown: Signal<Shown>): () => void {
  observer ??= new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting, boundingClientRect } of entries) {
        const signal = watched.get(target);
        if (signal === undefined || (signal.peek() === true) === isIntersecting) continue;
        // Measured before it goes, so that nothing moves.
        signal.value = isIntersecting || boundingClientRect.height;
      }
    },
    { rootMargin: `${MARGIN} 0px` },
  );
  watched.set(element, shown);
  observer.observe(element);
  return () => observer?.unobserve(element);
}

/** Something that is in the document only while it is near the window. */
export function Lazy({ characters, children, startsShown = false }: LazyProps) {
  const guess = Math.ceil(characters / CHARACTERS_PER_LINE) * LINE_PX;
  const shown = useSignal<Shown>(startsShown || guess);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => (box.current === null ? undefined : watch(box.current, shown)), []);
  const { value } = shown;
  return (
    <div class="lazy" ref={box} style={value === true ? {} : { height: `${value}px` }}>
      {value === true ? children() : null}
    </div>
  );
}

interface LazyProps {
  /** Of its text, for its height before it has been seen. */
  readonly characters: number;
  readonly children: () => ComponentChild;
  readonly startsShown?: boolean;
}
