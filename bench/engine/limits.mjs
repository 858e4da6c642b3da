/**
 * Owns: what a model costs per token, and which part of the machine's limits a rate comes to.
 * Refuses to know: engines, how rates are measured.
 */

/**
 * What tokens of a model cost.
 *
 * @param {import('../../dist/model/load.js').ModelDescription} description
 * @returns {{ stepBytes(rows: number, distinct?: number): number, distinctExperts(rows: number): number | undefined,
 *   promptOperations(tokens: number): number, summary: object }}
 *   `stepBytes`: weights that a step of so many answering sequences must read, each expert once; `distinctExperts`: of a
 *   layer, how many those choose together when every sequence chooses by itself and all are chosen alike often, which
 *   `stepBytes` counts with unless it is told better; `promptOperations`: products and additions, the output matrix once.
 * @example costOf(describeModel(file)).stepBytes(1)
 */
export function costOf(description) {
  const { config, weightBytesByPart, multiplyAddsPerToken, weightBytes, heldBytes } = description;
  const { experts } = config;
  const expertBytes = weightBytesByPart.experts ?? 0;
  const rest = heldBytes - expertBytes;
  const distinctExperts = (rows) =>
    experts && experts.experts * (1 - (1 - experts.used / experts.experts) ** rows);
  const stepBytes = (rows, distinct = distinctExperts(rows)) =>
    experts ? rest + (expertBytes * distinct) / experts.experts : rest;
  const outputMultiplyAdds = config.vocabSize * config.hidden;
  const promptOperations = (tokens) =>
    2 * ((multiplyAddsPerToken - outputMultiplyAdds) * tokens + outputMultiplyAdds);
  return {
    stepBytes,
    distinctExperts,
    promptOperations,
    summary: {
      weightBytes,
      bytesPerToken: stepBytes(1),
      operationsPerPromptToken: promptOperations(512) / 512,
    },
  };
}

/**
 * Of what bounds a row, the part that a run used: bytes per second over those that memory gave beside it, or products
 * of bytes over those that the registers give; undefined for rows that nothing bounds.
 */
export function shareOf(row, { value, readRate }, cost, multiplyRate) {
  if (row.bound === 'bytes') return ((value / row.batch) * cost.stepBytes(row.batch)) / readRate;
  if (row.bound === 'operations')
    return ((value / row.tokens) * cost.promptOperations(row.tokens)) / multiplyRate;
  return undefined;
}
