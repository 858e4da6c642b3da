/**
 * Owns: recognising by its first bytes what a file is that should have been GGUF.
 * Refuses to know: how to read any of it.
 */
import { HadalError } from '../../error.ts';
import type { ByteSource } from '../tensor-info.ts';

/** What files begin with that people name by mistake, and what to do then. */
const KINDS: readonly { readonly start: string; readonly got: string; readonly next: string }[] = [
  {
    start: 'version https://git-lfs',
    got: 'a Git LFS pointer, which only names the real file',
    next: 'fetch the file itself (git lfs pull)',
  },
  { start: '<!', got: 'a web page', next: 'fetch the file itself, not the page about it' },
  { start: '<html', got: 'a web page', next: 'fetch the file itself, not the page about it' },
  {
    start: 'PK\u0003\u0004',
    got: 'a zip archive (a wheel or a PyTorch checkpoint)',
    next: 'unpack or convert it first',
  },
  { start: 'ggml', got: 'a GGML file of 2023', next: 'convert it to GGUF' },
  { start: 'lmgg', got: 'a GGML file of 2023', next: 'convert it to GGUF' },
  { start: 'tjgg', got: 'a GGJT file of 2023', next: 'convert it to GGUF' },
  { start: 'FUGG', got: 'a big-endian GGUF file', next: 'convert it to a little-endian one' },
  { start: '{"error"', got: "a server's error message", next: 'fetch the file again' },
];

/** The complaint for a file that is something else, or undefined where nothing is recognised. */
export function notGguf(source: ByteSource, start: Uint8Array): HadalError | undefined {
  const text = String.fromCharCode(...start.subarray(0, 64));
  const safetensors = start.length >= 9 && start[8] === 0x7b && start[6] === 0 && start[7] === 0;
  const kind = safetensors
    ? { got: 'a safetensors file', next: 'name the folder that holds it with its config.json' }
    : KINDS.find((candidate) => text.toLowerCase().startsWith(candidate.start.toLowerCase()));
  if (kind === undefined && start.length > 0) return undefined;
  return new HadalError('gguf-magic', {
    what: source.name,
    expected: 'a GGUF file, which begins with "GGUF"',
    got: kind?.got ?? 'an empty file',
    next: kind?.next ?? 'fetch it again',
  });
}
