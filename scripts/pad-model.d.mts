/** Owns: the types of pad-model.mjs for the tests that pad a model. */
export declare function padModel(options: {
  readonly path: string;
  readonly out: string;
  readonly type?: 'F32' | 'F16' | 'BF16';
  readonly multiple?: number;
}): Promise<void>;
