/**
 * Owns: small choices that outlive the page: the model, the theme, the key.
 * Refuses to know: what they are used for.
 */
type Name = 'model' | 'theme' | 'key' | 'conversation';

/** What was chosen, in this window or in this browser. */
export function recall(name: Name): string | undefined {
  try {
    return sessionStorage.getItem(`hadal.${name}`) ?? localStorage.getItem(`hadal.${name}`) ?? undefined;
  } catch {
    // A browser that keeps nothing forgets nothing either.
    return undefined;
  }
}

/** Keeps a choice in this browser, or for this window only; an empty one is forgotten. */
export function remember(name: Name, value: string, stays = true): void {
  try {
    localStorage.removeItem(`hadal.${name}`);
    sessionStorage.removeItem(`hadal.${name}`);
    if (value !== '') (stays ? localStorage : sessionStorage).setItem(`hadal.${name}`, value);
  } catch {
    // The choice then lasts as long as the page.
  }
}
