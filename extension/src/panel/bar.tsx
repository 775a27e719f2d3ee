/** One bar of the budget: how much of one limit is used. The word says it too, never the colour alone. */

import * as React from 'react';

import { day, percent, ratio, used } from '../figures';
import { excluded, limitName } from '../limits';
import type { Limit } from '../messages';
import type { ContractMessage, CountLimit, ExpiryLimit, PrivacyLimit, SilentLimit } from '../protocol';
import type { Words } from '../words';

const SCARCE = 0.8;
const DAY_MS = 86_400_000;

/** The bar of a limit; `contract` says from when an expiry counts. */
export function LimitBar(props: { limit: Limit; contract: ContractMessage | null; words: Words }): JSX.Element {
  const { limit, contract, words } = props;
  switch (limit.name) {
    case 'privacy':
    case 'delta':
      return <PrivacyBar limit={limit} words={words} />;
    case 'silent':
      return <SilentBar limit={limit} words={words} />;
    case 'expiry':
      return <ExpiryBar limit={limit} contract={contract} words={words} />;
    default:
      return <CountBar limit={limit} words={words} />;
  }
}

function PrivacyBar(props: { limit: PrivacyLimit; words: Words }): JSX.Element {
  const { limit, words } = props;
  const all = ratio(limit.spent, limit.limit);
  const own = ratio(limit.analyst_spent, limit.analyst_limit);
  const shared = limit.analyst_limit !== limit.limit;
  const detail = [shared ? words.t('your part: %1 used', percent(own)) : '', excluded(limit, words)]
    .filter(part => part !== '')
    .join(' · ');
  const part = used(limit);
  return (
    <Bar
      name={limit.name}
      id={`${limit.name}:${limit.population}`}
      label={limit.population}
      part={part}
      detail={detail}
    >
      {part >= 1 ? words.t('used up') : words.t('%1 left', percent(1 - part))}
      {shared && all > own && <span className="cl-Hidden">{words.t('%1 used by all', percent(all))}</span>}
    </Bar>
  );
}

function SilentBar(props: { limit: SilentLimit; words: Words }): JSX.Element {
  const { limit, words } = props;
  return (
    <Bar name="silent" id={`privacy:${limit.population}`} label={limit.population} part={0} detail={limit.reason}>
      {words.t('not known now')}
    </Bar>
  );
}

function CountBar(props: { limit: CountLimit; words: Words }): JSX.Element {
  const { limit, words } = props;
  const unit = (value: number) =>
    limit.name === 'compute'
      ? words.t('%1 s', (value / 10).toLocaleString(words.locale))
      : value.toLocaleString(words.locale, value >= 1e6 ? { notation: 'compact', maximumFractionDigits: 1 } : {});
  const part = used(limit);
  return (
    <Bar name={limit.name} id={limit.name} label={limitName(limit, words)} part={part} detail="">
      {part >= 1 ? words.t('used up') : words.t('%1 of %2', unit(limit.spent), unit(limit.limit))}
    </Bar>
  );
}

function ExpiryBar(props: { limit: ExpiryLimit; contract: ContractMessage | null; words: Words }): JSX.Element {
  const { limit, contract, words } = props;
  const [from, until, now] = [Date.parse(contract?.not_before ?? ''), Date.parse(limit.not_after), Date.now()];
  const gone = now >= until ? 1 : Math.max((now - from) / (until - from), 0);
  const part = Number.isFinite(gone) ? gone : 0;
  const days = Math.floor((until - now) / DAY_MS);
  const label = `${limitName(limit, words)} ${day(limit.not_after, words)}`;
  return (
    <Bar name="expiry" id="expiry" label={label} part={part} detail="">
      {part >= 1 ? words.t('expired') : words.t('%1 days left', days)}
    </Bar>
  );
}

interface IBar {
  readonly name: Limit['name'];
  readonly id: string;
  readonly label: string;
  readonly part: number;
  readonly detail: string;
  readonly children: React.ReactNode;
}

function Bar(props: IBar): JSX.Element {
  const { name, id, label, part, detail, children } = props;
  const label_id = `cl-bar-${id}`;
  const state = part >= 1 ? 'empty' : part >= SCARCE ? 'scarce' : 'ample';
  return (
    <div className="cl-Bar" data-limit={name} data-id={id} data-state={state}>
      <div className="cl-Bar-line">
        <span id={label_id} className="cl-Bar-label">
          {label}
        </span>
        <span className="cl-Bar-value">{children}</span>
      </div>
      <div
        className="cl-Bar-track"
        role="meter"
        aria-labelledby={label_id}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(part * 100)}
        aria-valuetext={percent(part)}
      >
        <div className="cl-Bar-fill" style={{ width: `${Math.max(part * 100, part > 0 ? 1 : 0)}%` }} />
      </div>
      {detail && <div className="cl-Bar-detail">{detail}</div>}
    </div>
  );
}
