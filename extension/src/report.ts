/** Reads the JSON of `cloister verify --json` as far as the panel shows it. */

import type { VerifiedMessage } from './protocol';
import { count, list, maybe, name, oneOf, record, text } from './reading';

/** How good or bad one line is. */
export type Level = 'ok' | 'note' | 'reservation' | 'fail';

/** One line of the report; `cell` is the index in the notebook's cells. */
export interface IFinding {
  readonly step: number;
  readonly level: Level;
  readonly code: string;
  readonly text: string;
  readonly cell: number | null;
}

/** One step of the verification, with the worst level of its lines. */
export interface IStep {
  readonly number: number;
  readonly title: string;
  readonly level: Level;
}

/** What a verification said. */
export interface IReport {
  readonly overall: string;
  readonly exit_code: number;
  readonly reservations: string[];
  readonly completeness: string;
  readonly run: string;
  readonly time: string;
  readonly steps: IStep[];
  readonly findings: IFinding[];
}

const level = oneOf<Level>('ok', 'note', 'reservation', 'fail');

const report = record<IReport>({
  overall: text(200),
  exit_code: count,
  reservations: list(text(), 32),
  completeness: text(4000),
  run: text(),
  time: name,
  steps: list(record<IStep>({ number: count, title: text(), level }), 64),
  findings: list(record<IFinding>({ step: count, level, code: name, text: text(8000), cell: maybe(count) }), 20000)
});

/**
 * Returns the report of a `verified` message.
 *
 * @throws Malformed It is not the JSON of `cloister verify`.
 */
export function readReport(message: VerifiedMessage): IReport {
  return report(message.report, 'report');
}
