/** Which contract the receipts in a notebook's metadata belong to. Only for a notice: nothing is verified here. */

const MOST = 2 * 1024 * 1024;

/** Returns the digest of the contract in a notebook's `cloister` metadata; `null` without one. */
export async function bundledContract(metadata: unknown): Promise<string | null> {
  const payload = member(member(member(metadata, 'bundle'), 'contract'), 'payload');
  // Browsers offer digests in secure contexts only; without them there is no notice, and `verify` says the same.
  if (typeof payload !== 'string' || payload.length > MOST || globalThis.crypto?.subtle === undefined) {
    return null;
  }
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = Uint8Array.from(atob(payload), letter => letter.charCodeAt(0));
  } catch {
    return null;
  }
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return `sha256:${[...digest].map(byte => byte.toString(16).padStart(2, '0')).join('')}`;
}

function member(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined;
}
