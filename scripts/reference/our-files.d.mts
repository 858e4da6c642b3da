/** Owns: the types of our-files.mjs for the test that makes the files anew. */
export declare function ourFiles(): readonly (readonly [name: string, bytes: Uint8Array])[];
