/**
 * Owns: the arguments of a call as an object, for protocols that hand over objects and not text.
 * Refuses to know: any one protocol, what the arguments mean.
 */

/**
 * The object of a JSON text. What the model wrote wrongly is shown as it is, so that whoever runs the tool can tell it.
 *
 * @example argumentsObject('{"x": 1}'); // { x: 1 }
 * @example argumentsObject('{"x": '); // { arguments: '{"x": ' }
 */
export function argumentsObject(json: string): object {
  try {
    const value: unknown = JSON.parse(json === '' ? '{}' : json);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  } catch {
    // Told by what is returned.
  }
  return { arguments: json };
}
