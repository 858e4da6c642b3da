/**
 * Owns: the printable alphabet in which byte-level vocabularies write bytes (GPT-2's), both ways.
 * Refuses to know: tokens, ids, merges.
 */

/** The two directions of the alphabet. */
export interface ByteAlphabet {
  /** Character of each byte. */
  readonly charOfByte: readonly string[]; // [256]
  /** Byte of a character code below 324, or -1 where the code is not of the alphabet. */
  readonly byteOfChar: Int16Array; // [324]
}

const PRINTABLE: readonly (readonly [first: number, last: number])[] = [
  [0x21, 0x7e],
  [0xa1, 0xac],
  [0xae, 0xff],
];

/**
 * Builds the alphabet: printable bytes stand for themselves, the 68 others take U+0100 onward in order.
 * Source: `bytes_to_unicode` of GPT-2's encoder.
 *
 * @example byteAlphabet().charOfByte[0x20] // 'Ġ'
 */
export function byteAlphabet(): ByteAlphabet {
  const charOfByte: string[] = [];
  const byteOfChar = new Int16Array(324).fill(-1);
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = PRINTABLE.some(([first, last]) => byte >= first && byte <= last);
    const code = printable ? byte : next++;
    charOfByte.push(String.fromCharCode(code));
    byteOfChar[code] = byte;
  }
  return { charOfByte, byteOfChar };
}

/**
 * Bytes of a token written in the alphabet, or undefined when one of its characters is not of the alphabet.
 *
 * @example bytesOfAlphabetText('Ġa', byteAlphabet()) // Uint8Array [0x20, 0x61]
 */
export function bytesOfAlphabetText(text: string, { byteOfChar }: ByteAlphabet): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const byte = byteOfChar[text.charCodeAt(i)] ?? -1;
    if (byte < 0) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}
