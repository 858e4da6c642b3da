/**
 * Owns: sets of characters (Unicode code points) as ranges.
 * Refuses to know: how characters are written as bytes, expressions.
 */

/** Disjoint ranges in ascending order: first, last, first, last … A surrogate is no character. */
export type CharSet = readonly number[];

const LAST = 0x10ffff;
const SURROGATES: CharSet = [0xd800, 0xdfff];

/** Every character there is. */
export const ANY_CHAR: CharSet = [0, 0xd7ff, 0xe000, LAST];

/** A set of ranges in any order. Example: `charSet([[97, 122], [48, 57]]) // [48, 57, 97, 122]`. */
export function charSet(ranges: readonly (readonly [first: number, last: number])[]): CharSet {
  const sorted = [...ranges].sort((a, b) => a[0] - b[0]);
  const merged: number[] = [];
  for (const [first, last] of sorted) {
    const top = merged.length - 1;
    if (top > 0 && first <= merged[top]! + 1) merged[top] = Math.max(merged[top]!, last);
    else merged.push(first, last);
  }
  return minus(merged, SURROGATES);
}

/** The characters of a text as a set. Example: `charsOf('ab') // [97, 98]`. */
export function charsOf(text: string): CharSet {
  return charSet(
    Array.from(text, (char) => {
      const code = char.codePointAt(0)!;
      return [code, code] as const;
    }),
  );
}

/** Characters of one set or the other. */
export function union(...sets: readonly CharSet[]): CharSet {
  return charSet(sets.flatMap(pairs));
}

/** All characters but those of a set. */
export function complement(set: CharSet): CharSet {
  return minus(ANY_CHAR, set);
}

/** Characters of `set` that are not in `without`. Example: `minus([0, 9], [3, 4]) // [0, 2, 5, 9]`. */
export function minus(set: CharSet, without: CharSet): CharSet {
  const left: number[] = [];
  let at = 0;
  for (const [first, last] of pairs(set)) {
    let from = first;
    while (at > 0 && without[at]! > first) at -= 2;
    for (; at < without.length && without[at]! <= last; at += 2) {
      if (without[at + 1]! < from) continue;
      if (without[at]! > from) left.push(from, without[at]! - 1);
      from = without[at + 1]! + 1;
      if (from > last) break;
    }
    if (from <= last) left.push(from, last);
  }
  return left;
}

/** The ranges of a set. Example: `pairs([48, 57]) // [[48, 57]]`. */
export function pairs(set: CharSet): (readonly [first: number, last: number])[] {
  const list: (readonly [number, number])[] = [];
  for (let i = 0; i < set.length; i += 2) list.push([set[i]!, set[i + 1]!]);
  return list;
}
