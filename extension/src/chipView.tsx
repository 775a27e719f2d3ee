/** How a chip looks: what was released, whether that was checked, and what it cost. */

import * as React from 'react';

import { Shield } from './badge';
import type { IRehearsal, IRelease, IRow } from './facts';
import { moment, short } from './figures';
import type { Cost, StatusMessage } from './protocol';
import type { Words } from './words';

/** What a chip is shown as. */
export type ChipState = 'confidential' | 'simulated' | 'seeded' | 'mock' | 'unverified' | 'foreign' | 'false';

const TONES: Record<ChipState, StatusMessage['tone']> = {
  confidential: 'green',
  simulated: 'amber',
  seeded: 'red',
  mock: 'grey',
  unverified: 'grey',
  foreign: 'grey',
  false: 'red'
};

function said(state: ChipState, words: Words): string {
  return {
    confidential: words.t('Released'),
    simulated: words.t('Released, simulated enclave'),
    seeded: words.t('Seeded: no privacy'),
    mock: words.t('Rehearsal on mock data'),
    unverified: words.t('Unverified'),
    foreign: words.t('No receipt on this machine'),
    false: words.t('False: does not match its receipt')
  }[state];
}

/** How the state is known, in a word. */
function doubt(state: ChipState, words: Words): string {
  switch (state) {
    case 'mock':
      return words.t('nothing was charged');
    case 'unverified':
      return words.t('run in a Cloister kernel to check it, or verify the notebook');
    default:
      return words.t('matches its receipt');
  }
}

interface IProps {
  readonly state: ChipState;
  readonly reason: string;
  readonly releases?: readonly IRelease[];
  readonly rehearsals?: readonly IRehearsal[];
  readonly words: Words;
}

export function Chip(props: IProps): JSX.Element {
  const { state, reason, releases, rehearsals, words } = props;
  return (
    <div className="cl-Chip" data-state={state} role="group" aria-label={words.t('Cloister: %1', said(state, words))}>
      <div className="cl-Chip-head">
        <Shield tone={TONES[state]} />
        <strong>{said(state, words)}</strong>
        {state === 'foreign' || state === 'false' ? (
          <span className="cl-Chip-reason">{reason}</span>
        ) : (
          <span className="cl-Chip-reason" title={reason}>
            {doubt(state, words)}
          </span>
        )}
      </div>
      {releases?.map((item, index) => (
        <Release key={index} item={item} words={words} />
      ))}
      {rehearsals?.map((item, index) => (
        <div className="cl-Chip-release" key={index}>
          <div className="cl-Chip-question">{item.question}</div>
          <div className="cl-Chip-foot">{wouldCost(item, words)}</div>
        </div>
      ))}
    </div>
  );
}

/** A chip whose facts cannot be read: nothing of it is shown. */
export function Unreadable(props: { reason: string; words: Words }): JSX.Element {
  return (
    <div className="cl-Chip" data-state="false" role="group">
      <div className="cl-Chip-head">
        <Shield tone="red" />
        <strong>{props.words.t('Malformed chip: nothing of it is shown')}</strong>
        <span className="cl-Chip-reason">{props.reason}</span>
      </div>
    </div>
  );
}

function wouldCost(item: IRehearsal, words: Words): string {
  if (item.outside) {
    return words.t('no privacy budget: the formal guarantee excludes it');
  }
  return item.costs.length > 0 ? words.t('would cost %1', prices(item.costs, words)) : words.t('price not known');
}

function Release(props: { item: IRelease; words: Words }): JSX.Element {
  const { item, words } = props;
  const headed = item.keys.length > 0 || item.measures.length > 1;
  const price = prices(item.costs, words);
  const cost = item.recalled ? words.t('free: recalled, paid earlier %1', price) : words.t('cost %1', price);
  return (
    <div className="cl-Chip-release">
      <div className="cl-Chip-question">{item.question}</div>
      {item.rows.length > 0 && (
        <table className="cl-Chip-values">
          {headed && (
            <thead>
              <tr>
                {[...item.keys, ...item.measures].map((label, index) => (
                  <th
                    key={index}
                    scope="col"
                    colSpan={index < item.keys.length ? 1 : 2}
                    data-key={index < item.keys.length}
                  >
                    {label}
                  </th>
                ))}
              </tr>
            </thead>
          )}
          <tbody>
            {item.rows.map((row, index) => (
              <Values key={index} row={row} words={words} />
            ))}
          </tbody>
        </table>
      )}
      {item.rows.length > 0 && item.cells > item.rows.length && (
        <div className="cl-Chip-more">{words.t('… %1 more', item.cells - item.rows.length)}</div>
      )}
      {item.notes?.map((note, index) => (
        <div key={index} className="cl-Chip-note">
          {note}
        </div>
      ))}
      <div className="cl-Chip-foot">
        <span>{item.costs.length === 0 ? words.t('no privacy budget: the formal guarantee excludes it') : cost}</span>
        {item.rows.length > 0 && <span>{words.t('± standard error of the privacy noise')}</span>}
        <span title={moment(item.time, words)}>
          {words.t('receipt')} <code title={item.receipt}>{short(item.receipt)}</code>
        </span>
      </div>
    </div>
  );
}

function Values(props: { row: IRow; words: Words }): JSX.Element {
  const { row, words } = props;
  return (
    <tr>
      {row.cell.map((label, index) => (
        <th key={index} scope="row">
          {label}
        </th>
      ))}
      {row.values.map((value, index) => (
        <React.Fragment key={index}>
          <td className="cl-Chip-value" data-unreliable={row.unreliable[index] === true}>
            {value}
          </td>
          <td className="cl-Chip-error">
            ± {row.errors[index] ?? '?'}
            {row.unreliable[index] && <span className="cl-Chip-warning">{words.t('too few rows')}</span>}
          </td>
        </React.Fragment>
      ))}
    </tr>
  );
}

function prices(costs: readonly Cost[], words: Words): string {
  return costs.map(cost => words.t('%1 of %2 (ε %3)', cost.share, cost.population, cost.epsilon)).join('; ');
}
