/**
 * Owns: Ollama's error document.
 * Refuses to know: what failed, HTTP.
 */
import type { Problem } from '../problem.ts';

/** A failure as Ollama writes it. Example: `ollamaError(problem) // { error: 'x is not served here' }` */
export function ollamaError({ message }: Problem): object {
  return { error: message };
}
