/**
 * Owns: what an audit says: findings, how grave each is, and the verdict that follows from them.
 * Refuses to know: what is looked at, how it is shown.
 */

/** `refuse`: do not load it. `look`: a person should look first. `note`: good to know. */
export type Level = 'refuse' | 'look' | 'note';

/** What to do with the file. */
export type Verdict = 'load' | 'look' | 'refuse';

/** One thing that was found. */
export interface Finding {
  readonly level: Level;
  /** Stable, e.g. `template-content`. */
  readonly code: string;
  /** The file, or the part of it. */
  readonly where: string;
  /** One sentence for people. */
  readonly says: string;
}

/** The verdict over findings: the gravest of them decides. Example: `verdictOf([]) // 'load'` */
export function verdictOf(findings: readonly Finding[]): Verdict {
  if (findings.some(({ level }) => level === 'refuse')) return 'refuse';
  return findings.some(({ level }) => level === 'look') ? 'look' : 'load';
}

/** Text of a file on one line, cut, with nothing that a terminal would obey. Example: `quoted('a\nb') // '"a\\nb"'` */
export function quoted(text: string, most = 80): string {
  const cut = text.length > most ? `${text.slice(0, most)}…` : text;
  return JSON.stringify(cut).replace(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]|[\u{e0000}-\u{e007f}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}
