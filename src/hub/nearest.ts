/**
 * Owns: what somebody probably meant to type.
 * Refuses to know: what the words stand for.
 */

/**
 * The candidate with the fewest typing slips (insertions, deletions, replacements, swaps) from `word`, if it is near
 * enough to be meant; of equals the first.
 *
 * @example nearest('inspct', ['run', 'inspect']); // 'inspect'
 */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const most = Math.max(1, Math.floor(word.length / 3));
  let best: string | undefined;
  let bestSlips = most + 1;
  for (const candidate of candidates) {
    const prefixed = word.length >= 3 && candidate.startsWith(word);
    const slips = prefixed ? 1 : typingSlips(word, candidate);
    if (slips < bestSlips) {
      best = candidate;
      bestSlips = slips;
    }
  }
  return best;
}

/** Damerau-Levenshtein distance (optimal string alignment). */
function typingSlips(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let slips = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        slips = Math.min(slips, before[j - 2]! + 1);
      row.push(slips);
    }
    before = last;
    last = row;
  }
  return last[b.length]!;
}
