/** Reads what the proxy says: each message of `protocol.ts` field by field, each with a most it may weigh. */

import * as protocol from './protocol';
import {
  count,
  fits,
  flag,
  fraction,
  list,
  Malformed,
  maybe,
  name,
  object,
  oneOf,
  Reader,
  record,
  tagged,
  text
} from './reading';

/** Anything the proxy says. */
export type Message =
  | protocol.StatusMessage
  | protocol.ContractMessage
  | protocol.ReceiptsMessage
  | protocol.ReceiptMessage
  | protocol.EstimateMessage
  | protocol.CheckedMessage
  | protocol.VerifiedMessage
  | protocol.BundledMessage
  | protocol.ErrorMessage;

/** Anything the page asks for and waits for. */
export type Ask = protocol.EstimateAsk | protocol.CheckAsk | protocol.VerifyAsk | protocol.BundleAsk;

/** How many releases the proxy lists, and the page keeps. */
export const RECEIPTS_KEPT = 200;

const KIB = 1024;
const MIB = 1024 * KIB;

const refusal = record<protocol.Refusal>({ code: name, reason: text(), clause: text(), next_step: text() });

const checklistItem = record<protocol.ChecklistItem>({
  name: oneOf('hardware', 'code', 'fresh', 'session', 'placement', 'isolation'),
  state: oneOf('ok', 'warn', 'fail', 'unknown'),
  text: text()
});

const privacyLimit = record<protocol.PrivacyLimit>({
  name: oneOf('privacy', 'delta'),
  population: name,
  broker: name,
  spent: fraction,
  limit: fraction,
  analyst_spent: fraction,
  analyst_limit: fraction,
  excludes: text()
});

const silentLimit = record<protocol.SilentLimit>({
  name: oneOf('silent'),
  population: name,
  broker: name,
  reason: text()
});

const countLimit = record<protocol.CountLimit>({
  name: oneOf('releases', 'rows', 'compute', 'models'),
  spent: count,
  limit: count
});

const expiryLimit = record<protocol.ExpiryLimit>({ name: oneOf('expiry'), not_after: name });

/** Any limit of a contract. */
export type Limit = protocol.Budget['limits'][number];

const limit = tagged<Limit>('name', {
  privacy: privacyLimit,
  delta: privacyLimit,
  silent: silentLimit,
  releases: countLimit,
  rows: countLimit,
  compute: countLimit,
  models: countLimit,
  expiry: expiryLimit
});

const ownAlert = record<protocol.OwnAlert>({
  broker: name,
  rule: count,
  text: text(),
  what: name,
  bucket: name,
  count,
  most: count
});

const budget = record<protocol.Budget>({
  limits: list<Limit>(limit, 256),
  alerts: list(ownAlert, 50),
  time: name
});

const status = record<protocol.StatusMessage>({
  type: oneOf('status'),
  version: name,
  entry: name,
  mode: oneOf('confidential', 'mock', 'replay'),
  state: oneOf('dialling', 'open', 'refused', 'lost', 'dead'),
  assurance: maybe(name),
  word: text(200),
  tone: oneOf('green', 'amber', 'red', 'grey'),
  session: name,
  promote: name,
  kernel_started: flag,
  checklist: list(checklistItem, 16),
  error: maybe(refusal),
  budget: maybe(budget),
  releases: count,
  time: name,
  display_mark: text(200)
});

const column = record<protocol.Column>({ name, type: name, tier: count, about: text() });

const table = record<protocol.Table>({
  name,
  title: text(),
  unit: name,
  rows_per_unit: count,
  tier: count,
  columns: list(column, 2000)
});

const contract = record<protocol.ContractMessage>({
  type: oneOf('contract'),
  digest: name,
  title: text(),
  not_before: name,
  not_after: name,
  words: list(text(), 500),
  tables: list(table, 500)
});

/** What one account paid or would pay. */
export const cost = record<protocol.Cost>({ population: name, epsilon: name, share: name });

const receiptItem = record<protocol.ReceiptItem>({
  release: name,
  receipt: name,
  session: name,
  question: text(),
  costs: list(cost, 64),
  time: name,
  recalled: flag,
  assurance: name,
  cells: count
});

const receipts = record<protocol.ReceiptsMessage>({
  type: oneOf('receipts'),
  total: count,
  items: list(receiptItem, RECEIPTS_KEPT)
});

const receipt = record<protocol.ReceiptMessage>({ type: oneOf('receipt'), item: receiptItem });

const cellEstimate = record<protocol.CellEstimate>({ known: flag, releases: count, costs: list(cost, 64) });

const estimate = record<protocol.EstimateMessage>({
  type: oneOf('estimate'),
  id: name,
  cells: list(cellEstimate, 10000),
  total: list(cost, 64),
  unknown: count
});

const chipVerdict = record<protocol.ChipVerdict>({
  key: name,
  state: oneOf('verified', 'foreign', 'false'),
  reason: text()
});

const checked = record<protocol.CheckedMessage>({
  type: oneOf('checked'),
  id: name,
  chips: list(chipVerdict, 1000)
});

const verified = record<protocol.VerifiedMessage>({
  type: oneOf('verified'),
  id: name,
  exit_code: count,
  report: object
});

const bundled = record<protocol.BundledMessage>({ type: oneOf('bundled'), id: name, bundle: object });

const error = record<protocol.ErrorMessage>({
  type: oneOf('error'),
  id: name,
  code: name,
  reason: text(),
  next_step: text()
});

const READERS: Record<Message['type'], { read: Reader<Message>; most: number }> = {
  status: { read: status, most: 256 * KIB },
  contract: { read: contract, most: 4 * MIB },
  receipts: { read: receipts, most: MIB },
  receipt: { read: receipt, most: 64 * KIB },
  estimate: { read: estimate, most: 2 * MIB },
  checked: { read: checked, most: 2 * MIB },
  verified: { read: verified, most: 8 * MIB },
  bundled: { read: bundled, most: 32 * MIB },
  error: { read: error, most: 64 * KIB }
};

/**
 * Returns a message of the proxy; `null` for a type this version does not know.
 *
 * @throws Malformed The message has the wrong shape or is too large.
 */
export function read(data: unknown): Message | null {
  const type = object(data, '').type;
  if (typeof type !== 'string') {
    throw new Malformed('message.type: a text was expected');
  }
  if (!Object.hasOwn(READERS, type)) {
    return null;
  }
  const { read, most } = READERS[type as Message['type']];
  if (!fits(data, most)) {
    throw new Malformed(`${type}: too large`);
  }
  return read(data, type);
}
