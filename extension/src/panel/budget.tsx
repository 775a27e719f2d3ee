/** Section: one bar per limit of the contract, what this session spent over time, and what each release cost. */

import * as React from 'react';

import { age, percent, tightest, used } from '../figures';
import type { Limit } from '../messages';
import type { Session } from '../session';
import type { ContractMessage, OwnAlert, ReceiptItem, StatusMessage } from '../protocol';
import type { Words } from '../words';
import { LimitBar } from './bar';
import { Empty, Section } from './section';
import { Spend } from './spend';

export function BudgetSection(props: { session: Session; status: StatusMessage; words: Words }): JSX.Element {
  const { session, status, words } = props;
  const { budget } = status;
  const worst = budget === null ? null : tightest(budget);
  const summary = worst === null ? '' : words.t('%1 left', percent(1 - used(worst)));
  return (
    <Section name="budget" title={words.t('Budget')} summary={summary}>
      {status.mode === 'mock' && <Empty>{words.t('A mock kernel spends nothing.')}</Empty>}
      {budget === null && status.mode !== 'mock' && <Empty>{words.t('No budget was reported yet.')}</Empty>}
      {budget !== null && <Bars limits={budget.limits} contract={session.contract} words={words} />}
      {budget !== null && <Alerts alerts={budget.alerts} words={words} />}
      {budget !== null && <p className="cl-Fine">{words.t('As of %1', age(budget.time, words))}</p>}
      <Spend items={session.receipts} words={words} />
      <Costs items={session.receipts} words={words} />
    </Section>
  );
}

interface IBars {
  readonly limits: readonly Limit[];
  readonly contract: ContractMessage | null;
  readonly words: Words;
}

/** Privacy first, under one heading: its bars are named by population only. */
function Bars(props: IBars): JSX.Element {
  const { limits, contract, words } = props;
  const bars = (shown: readonly Limit[]) =>
    shown.map((limit, index) => (
      <LimitBar key={`${limit.name}.${index}`} limit={limit} contract={contract} words={words} />
    ));
  const privacy = limits.filter(limit => limit.name === 'privacy' || limit.name === 'silent');
  const others = limits.filter(limit => limit.name !== 'privacy' && limit.name !== 'silent');
  return (
    <>
      {privacy.length > 0 && <h4 className="cl-Subheading">{words.t('Privacy, by population')}</h4>}
      {bars(privacy)}
      {others.length > 0 && <h4 className="cl-Subheading">{words.t('Other limits')}</h4>}
      {bars(others)}
    </>
  );
}

/** What the brokers' alert rules say about the person who looks; of others nothing is told. */
function Alerts(props: { alerts: readonly OwnAlert[]; words: Words }): JSX.Element | null {
  const { alerts, words } = props;
  if (alerts.length === 0) {
    return null;
  }
  return (
    <>
      <h4 className="cl-Subheading">{words.t('Alerts about your account')}</h4>
      {alerts.map(alert => (
        <p
          key={`${alert.broker}.${alert.rule}.${alert.what}.${alert.bucket}`}
          className="cl-Note"
          data-alert={alert.what}
        >
          {words.t('%1, rule %2: %3', alert.broker, alert.rule, words.known(alert.text))}
          <br />
          {words.t('%1 counted, more than %2 (%3 UTC)', alert.count, alert.most, alert.bucket)}
        </p>
      ))}
    </>
  );
}

function Costs(props: { items: readonly ReceiptItem[]; words: Words }): JSX.Element | null {
  const { items, words } = props;
  if (items.length === 0) {
    return null;
  }
  return (
    <table className="cl-Costs">
      <caption className="cl-Hidden">{words.t('What each release cost')}</caption>
      <thead>
        <tr>
          <th scope="col">{words.t('Release')}</th>
          <th scope="col">{words.t('Cost')}</th>
        </tr>
      </thead>
      <tbody>
        {[...items].reverse().map((item, index) => (
          <tr key={`${item.receipt}.${items.length - index}`}>
            <td title={item.question}>{item.question}</td>
            <td title={item.costs.map(cost => `${cost.population}: ε ${cost.epsilon}`).join('\n')}>
              {item.recalled ? words.t('free') : item.costs.map(cost => cost.share).join(' + ')}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
