/** Owns: the types of texts.mjs for the tests that use it. */
export declare function mixedText(root: string): string;
export declare function adversaries(): readonly (readonly [name: string, text: string])[];
