/**
 * Owns: the refusal of images in Ollama's requests.
 * Refuses to know: which request they are in.
 */
import { HadalError } from '../../error.ts';

/** Throws `content-unsupported` where there are any. Example: `noImages([], 'images')` */
export function noImages(images: readonly unknown[] | null | undefined, what: string): void {
  if (images == null || images.length === 0) return;
  throw new HadalError('content-unsupported', {
    what,
    expected: 'text',
    got: `${images.length} of them`,
    next: 'these models read text only: leave it out',
  });
}
