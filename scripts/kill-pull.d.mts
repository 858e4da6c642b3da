export function killPull(options: {
  readonly kills: number;
  readonly seed: number;
  readonly bytes: number;
}): Promise<{
  readonly kills: number;
  readonly right: number;
  readonly wrong: readonly string[];
  readonly sentBytes: number;
}>;
