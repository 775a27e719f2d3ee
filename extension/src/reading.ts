/**
 * Readers: small functions that turn an unknown value into a typed one, or say where it has the wrong shape.
 *
 * What arrives over a comm is text from elsewhere. Nothing is shown before it was read here; every text and every
 * list has a most it may be long.
 */

/** A value of the wrong shape or size; the message names the place. */
export class Malformed extends Error {}

/** Returns the value as `T`, or throws `Malformed` naming `at`. */
export type Reader<T> = (value: unknown, at: string) => T;

/** One reader per field: the compiler insists that none is missing. */
export type Fields<T> = { [K in keyof T]-?: Reader<T[K]> };

const NAMED = 120;

function wrong(at: string, wanted: string): Malformed {
  return new Malformed(`${at || 'message'}: ${wanted} was expected`);
}

/** A text of at most `most` characters. */
export function text(most = 2000): Reader<string> {
  return (value, at) => {
    if (typeof value !== 'string' || value.length > most) {
      throw wrong(at, `a text of at most ${most} characters`);
    }
    return value;
  };
}

/** A short name or digest. */
export const name = text(NAMED * 2);

/** A whole number from 0 up to 2^53. */
export const count: Reader<number> = (value, at) => {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw wrong(at, 'a count');
  }
  return value;
};

/** True or false. */
export const flag: Reader<boolean> = (value, at) => {
  if (typeof value !== 'boolean') {
    throw wrong(at, 'true or false');
  }
  return value;
};

/** An exact fraction in text, `p` or `p/q`. */
export const fraction: Reader<string> = (value, at) => {
  if (typeof value !== 'string' || value.length > 2000 || !/^\d+(\/0*[1-9]\d*)?$/.test(value)) {
    throw wrong(at, 'a fraction');
  }
  return value;
};

/** One of some fixed texts. */
export function oneOf<T extends string>(...known: readonly T[]): Reader<T> {
  return (value, at) => {
    const found = known.find(item => item === value);
    if (found === undefined) {
      throw wrong(at, known.join(' or '));
    }
    return found;
  };
}

/** `null`, or what `inner` reads. */
export function maybe<T>(inner: Reader<T>): Reader<T | null> {
  return (value, at) => (value === null || value === undefined ? null : inner(value, at));
}

/** A list of at most `most` items. */
export function list<T>(item: Reader<T>, most: number): Reader<T[]> {
  return (value, at) => {
    if (!Array.isArray(value) || value.length > most) {
      throw wrong(at, `a list of at most ${most}`);
    }
    return value.map((part, index) => item(part, `${at}[${index}]`));
  };
}

/** An object that is only passed on. */
export const object: Reader<Record<string, unknown>> = (value, at) => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrong(at, 'an object');
  }
  return value as Record<string, unknown>;
};

/** An object with these fields; others are left out, so that a newer proxy may say more. */
export function record<T>(fields: Fields<T>): Reader<T> {
  return (value, at) => {
    const found = object(value, at);
    const result: Partial<T> = {};
    for (const key of Object.keys(fields) as (keyof T & string)[]) {
      result[key] = fields[key](Object.hasOwn(found, key) ? found[key] : undefined, `${at}.${key}`);
    }
    return result as T;
  };
}

/** What `choose` picks by looking at the object's `field`. */
export function tagged<T>(field: string, readers: Record<string, Reader<T>>): Reader<T> {
  return (value, at) => {
    const tag = object(value, at)[field];
    if (typeof tag !== 'string' || !Object.hasOwn(readers, tag)) {
      throw wrong(`${at}.${field}`, Object.keys(readers).join(' or '));
    }
    return readers[tag](value, at);
  };
}

/** Tell whether a value holds at most `most` characters and items, without making a copy of it. */
export function fits(value: unknown, most: number): boolean {
  let left = most;
  const stack: unknown[] = [value];
  while (stack.length > 0 && left >= 0) {
    const item = stack.pop();
    left -= typeof item === 'string' ? item.length + 1 : 1;
    if (typeof item === 'object' && item !== null) {
      for (const [key, part] of Object.entries(item)) {
        left -= key.length;
        if (stack.push(part) > most) {
          return false;
        }
      }
    }
  }
  return left >= 0;
}
