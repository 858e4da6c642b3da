/**
 * Owns: what is told of a fetch: what is about to come, and how far it is, which never goes back.
 * Refuses to know: what is fetched, terminals.
 */

/** What is about to be fetched; said once for each source that is tried. */
export interface Announcement {
  readonly title: string;
  readonly license: string;
  /** SHA-256 of its largest file that comes; empty where it is not known before. */
  readonly sha256: string;
  /** 0 where only the tool that fetches it knows. */
  readonly bytes: number;
  /** Where the file will be. */
  readonly path: string;
  /** Where it comes from, for people. */
  readonly from: string;
}

/** How far the fetching is. `done` never goes back within a stage. */
export interface FetchProgress {
  readonly stage: 'fetch' | 'verify';
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/**
 * Progress of one stage that never goes back.
 *
 * @example const forward = onceForward('fetch', show); forward(10, 100);
 */
export function onceForward(
  stage: FetchProgress['stage'],
  onProgress: ((progress: FetchProgress) => void) | undefined,
): (doneBytes: number, totalBytes: number) => void {
  let best = -1;
  return (doneBytes, totalBytes) => {
    if (doneBytes <= best) return;
    best = doneBytes;
    onProgress?.({ stage, doneBytes, totalBytes });
  };
}
