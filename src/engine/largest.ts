/**
 * Owns: finding the largest of many numbers.
 * Refuses to know: what they are.
 */

/**
 * Indices of the `count` largest values, largest first, ties to the lower index.
 *
 * @example largest(Float32Array.of(1, 3, 2), 2) // [1, 2]
 */
export function largest(values: ArrayLike<number>, count: number): Int32Array {
  const size = Math.min(count, values.length);
  const heap = new Int32Array(size);
  if (size === 0) return heap;
  const worse = (a: number, b: number) => values[a]! < values[b]! || (values[a] === values[b] && a > b);
  const sink = (from: number, end: number) => {
    for (let i = from; ; ) {
      let child = 2 * i + 1;
      if (child >= end) return;
      if (child + 1 < end && worse(heap[child + 1]!, heap[child]!)) child++;
      if (!worse(heap[child]!, heap[i]!)) return;
      const moved = heap[i]!;
      heap[i] = heap[child]!;
      heap[child] = moved;
      i = child;
    }
  };
  for (let i = 0; i < size; i++) heap[i] = i;
  for (let i = (size >> 1) - 1; i >= 0; i--) sink(i, size);
  for (let i = size; i < values.length; i++) {
    if (values[i]! > values[heap[0]!]!) {
      heap[0] = i;
      sink(0, size);
    }
  }
  // The worst of what is left goes to the end each time: what stands there is best first.
  for (let end = size - 1; end > 0; end--) {
    const worst = heap[0]!;
    heap[0] = heap[end]!;
    heap[end] = worst;
    sink(0, end);
  }
  return heap;
}

/** Index of the largest value, the lowest on ties; NaN never wins. Example: `argmax(Float32Array.of(1, 3, 3)) // 1` */
export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  let high = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    if (values[i]! > high) {
      high = values[i]!;
      best = i;
    }
  }
  return best;
}
