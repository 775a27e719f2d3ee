/** Reads the facts of chips from the metadata of an output: what a chip shows, once it was checked. */

import { cost } from './messages';
import type { Cost } from './protocol';
import { count, fits, flag, list, maybe, name, object, record, text } from './reading';

/** The output type of a release chip; the facts are in the output's metadata. */
export const RELEASE_MIME = 'application/vnd.cloister.release.v1+json';

/** The output type of a rehearsal: what a mock kernel would have released, without values. */
export const REHEARSAL_MIME = 'application/vnd.cloister.rehearsal.v1+json';

const METADATA_KEY = 'cloister';
const MOST = 512 * 1024;

/** One row of released values, as text. */
export interface IRow {
  readonly cell: string[];
  readonly values: string[];
  readonly errors: string[];
  readonly unreliable: boolean[];
}

/** What a chip says about one release. */
export interface IRelease {
  readonly release: string;
  readonly receipt: string;
  readonly question: string;
  readonly keys: string[];
  readonly measures: string[];
  readonly rows: IRow[];
  readonly cells: number;
  readonly costs: Cost[];
  readonly assurance: string;
  readonly time: string;
  readonly recalled: boolean;
  readonly seeded: boolean;
  /** What storage limited or left out, so that values may be biased. */
  readonly notes: string[] | null;
}

/** What a chip says about one rehearsed release. */
export interface IRehearsal {
  readonly question: string;
  readonly costs: Cost[];
  /** Whether it is an exit: no budget pays for it, because the formal guarantee excludes it. */
  readonly outside: boolean | null;
}

const row = record<IRow>({
  cell: list(text(), 64),
  values: list(name, 256),
  errors: list(name, 256),
  unreliable: list(flag, 256)
});

const release = record<IRelease>({
  release: name,
  receipt: name,
  question: text(),
  keys: list(name, 64),
  measures: list(text(), 256),
  rows: list(row, 100),
  cells: count,
  costs: list(cost, 64),
  assurance: name,
  time: name,
  recalled: flag,
  seeded: flag,
  notes: maybe(list(text(), 64))
});

const rehearsal = record<IRehearsal>({ question: text(), costs: list(cost, 64), outside: maybe(flag) });

/**
 * Returns the releases of a chip.
 *
 * @throws Malformed The output's metadata is not that of a chip.
 */
export function readReleases(metadata: unknown): IRelease[] {
  return list(release, 200)(place(metadata).releases, 'releases');
}

/**
 * Returns the rehearsals of a chip.
 *
 * @throws Malformed The output's metadata is not that of a chip.
 */
export function readRehearsals(metadata: unknown): IRehearsal[] {
  return list(rehearsal, 200)(place(metadata).rehearsals, 'rehearsals');
}

function place(metadata: unknown): Record<string, unknown> {
  const found = object(object(metadata, 'metadata')[METADATA_KEY], METADATA_KEY);
  return fits(found, MOST) ? found : {};
}
