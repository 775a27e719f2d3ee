/**
 * What page and proxy say to each other (docs/protocol.md, section 8).
 *
 * The Python twin is `kernel/cloister/analyst/page.py`; `tests/analyst/test_page_twin.py` compares the two field by
 * field. So this file holds interfaces only, one field a line, and nothing that a reader of Python could not follow.
 * Nothing here can spend budget: the page asks, and the proxy on the analyst's own machine answers.
 */

/** The comm target the proxy answers itself; the enclave never sees it. */
export const TARGET = 'cloister.status';

/** Why something was refused, and what to do about it. */
export interface Refusal {
  readonly code: string;
  readonly reason: string;
  readonly clause: string;
  readonly next_step: string;
}

/** One line of the enclave's checklist. */
export interface ChecklistItem {
  readonly name: 'hardware' | 'code' | 'fresh' | 'session' | 'placement' | 'isolation';
  readonly state: 'ok' | 'warn' | 'fail' | 'unknown';
  readonly text: string;
}

/** A privacy budget of one population at one broker: rho, or delta for keys, as exact fractions in text. */
export interface PrivacyLimit {
  readonly name: 'privacy' | 'delta';
  readonly population: string;
  readonly broker: string;
  readonly spent: string;
  readonly limit: string;
  readonly analyst_spent: string;
  readonly analyst_limit: string;
  readonly excludes: string;
}

/** A privacy budget whose broker does not answer now; the other limits are known all the same. */
export interface SilentLimit {
  readonly name: 'silent';
  readonly population: string;
  readonly broker: string;
  readonly reason: string;
}

/** A limit that counts something. */
export interface CountLimit {
  readonly name: 'releases' | 'rows' | 'compute' | 'models';
  readonly spent: number;
  readonly limit: number;
}

/** When the contract ends (RFC 3339). */
export interface ExpiryLimit {
  readonly name: 'expiry';
  readonly not_after: string;
}

/** An alert at a broker about this analyst: the rule in the broker's words, what was counted, when, how much. */
export interface OwnAlert {
  readonly broker: string;
  readonly rule: number;
  readonly text: string;
  readonly what: string;
  readonly bucket: string;
  readonly count: number;
  readonly most: number;
}

/** The result of op `budget`: every limit of the contract, and alerts at its brokers about this analyst. */
export interface Budget {
  readonly limits: (PrivacyLimit | SilentLimit | CountLimit | ExpiryLimit)[];
  readonly alerts: OwnAlert[];
  readonly time: string;
}

/** The proxy's own word about the enclave: sent on open, on change and on `refresh`. */
export interface StatusMessage {
  readonly type: 'status';
  readonly version: string;
  readonly entry: string;
  readonly mode: 'confidential' | 'mock' | 'replay';
  readonly state: 'dialling' | 'open' | 'refused' | 'lost' | 'dead';
  readonly assurance: string | null;
  readonly word: string;
  readonly tone: 'green' | 'amber' | 'red' | 'grey';
  readonly session: string;
  readonly promote: string;
  readonly kernel_started: boolean;
  readonly checklist: ChecklistItem[];
  readonly error: Refusal | null;
  readonly budget: Budget | null;
  readonly releases: number;
  readonly time: string;
  readonly display_mark: string;
}

/** One column of the catalogue; `tier` is the sensitivity its provider declared, 1 to 5. */
export interface Column {
  readonly name: string;
  readonly type: string;
  readonly tier: number;
  readonly about: string;
}

/** One table of the catalogue; `tier` is the highest of its columns. */
export interface Table {
  readonly name: string;
  readonly title: string;
  readonly unit: string;
  readonly rows_per_unit: number;
  readonly tier: number;
  readonly columns: Column[];
}

/** The contract in plain words, when it is valid (RFC 3339), and its tables. */
export interface ContractMessage {
  readonly type: 'contract';
  readonly digest: string;
  readonly title: string;
  readonly not_before: string;
  readonly not_after: string;
  readonly words: string[];
  readonly tables: Table[];
}

/** What one account paid: epsilon at the contract's delta, and the part of the population's budget (`1.2 %`). */
export interface Cost {
  readonly population: string;
  readonly epsilon: string;
  readonly share: string;
}

/** A release whose receipt this machine verified. */
export interface ReceiptItem {
  readonly release: string;
  readonly receipt: string;
  readonly session: string;
  readonly question: string;
  readonly costs: Cost[];
  readonly time: string;
  readonly recalled: boolean;
  readonly assurance: string;
  readonly cells: number;
}

/** The last 200 releases of this session. */
export interface ReceiptsMessage {
  readonly type: 'receipts';
  readonly total: number;
  readonly items: ReceiptItem[];
}

/** A release was verified just now. */
export interface ReceiptMessage {
  readonly type: 'receipt';
  readonly item: ReceiptItem;
}

/** The estimate of one cell; `known` is false if the mock kernel never ran it. */
export interface CellEstimate {
  readonly known: boolean;
  readonly releases: number;
  readonly costs: Cost[];
}

/** What the rehearsed cells would cost, per cell and in sum; `unknown` counts the others. */
export interface EstimateMessage {
  readonly type: 'estimate';
  readonly id: string;
  readonly cells: CellEstimate[];
  readonly total: Cost[];
  readonly unknown: number;
}

/** Whether a chip of a saved notebook is what this machine's receipts say. */
export interface ChipVerdict {
  readonly key: string;
  readonly state: 'verified' | 'foreign' | 'false';
  readonly reason: string;
}

/** The answer to `check`. */
export interface CheckedMessage {
  readonly type: 'checked';
  readonly id: string;
  readonly chips: ChipVerdict[];
}

/** The answer to `verify`: the JSON of `cloister verify --json`. */
export interface VerifiedMessage {
  readonly type: 'verified';
  readonly id: string;
  readonly exit_code: number;
  readonly report: Record<string, unknown>;
}

/** The answer to `bundle`: for the notebook's metadata `cloister.bundle`. */
export interface BundledMessage {
  readonly type: 'bundled';
  readonly id: string;
  readonly bundle: Record<string, unknown>;
}

/** An ask that could not be answered. */
export interface ErrorMessage {
  readonly type: 'error';
  readonly id: string;
  readonly code: string;
  readonly reason: string;
  readonly next_step: string;
}

/** Send `status` again. */
export interface RefreshAsk {
  readonly type: 'refresh';
}

/** What would these code cells cost? */
export interface EstimateAsk {
  readonly type: 'estimate';
  readonly id: string;
  readonly cells: string[];
}

/** One chip as it stands in a notebook: the output's data and metadata. */
export interface ChipAsk {
  readonly key: string;
  readonly data: Record<string, unknown>;
  readonly metadata: Record<string, unknown>;
}

/** Are these chips what the receipts say? */
export interface CheckAsk {
  readonly type: 'check';
  readonly id: string;
  readonly chips: ChipAsk[];
}

/** Verify this notebook (nbformat 4). */
export interface VerifyAsk {
  readonly type: 'verify';
  readonly id: string;
  readonly notebook: Record<string, unknown>;
}

/** Give the receipts this notebook (nbformat 4) rests on. */
export interface BundleAsk {
  readonly type: 'bundle';
  readonly id: string;
  readonly notebook: Record<string, unknown>;
}
