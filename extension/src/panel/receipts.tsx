/** Section: the receipts this machine verified in this session. */

import * as React from 'react';

import { moment, short } from '../figures';
import type { ReceiptItem } from '../protocol';
import type { Session } from '../session';
import type { Words } from '../words';
import { Empty, Section } from './section';

interface IProps {
  readonly session: Session;
  readonly words: Words;
  readonly bundle: () => void;
  readonly verify: () => void;
}

export function ReceiptsSection(props: IProps): JSX.Element {
  const { session, words } = props;
  const items = session.receipts;
  return (
    <Section name="receipts" title={words.t('Receipts')} summary={String(session.released)}>
      {items.length === 0 && <Empty>{words.t('Nothing was released in this session.')}</Empty>}
      <ol className="cl-Receipts">
        {[...items].reverse().map((item, index) => (
          <Receipt key={`${item.receipt}.${items.length - index}`} item={item} words={words} />
        ))}
      </ol>
      {session.released > items.length && (
        <p className="cl-Fine">{words.t('The last %1 of %2 are listed.', items.length, session.released)}</p>
      )}
      <div className="cl-Actions">
        <button type="button" className="cl-Button" onClick={props.verify}>
          {words.t('Verify this notebook')}
        </button>
        <button type="button" className="cl-Button" onClick={props.bundle}>
          {words.t('Put the receipts into this notebook')}
        </button>
      </div>
    </Section>
  );
}

function Receipt(props: { item: ReceiptItem; words: Words }): JSX.Element {
  const { item, words } = props;
  return (
    <li className="cl-Receipt" data-receipt={item.receipt}>
      <span className="cl-Receipt-question">{item.question}</span>
      <span className="cl-Receipt-about">
        <span>{moment(item.time, words)}</span>
        <span>{words.t('values: %1', item.cells)}</span>
        {item.recalled && <span>{words.t('recalled')}</span>}
        <code title={item.receipt}>{short(item.receipt)}</code>
      </span>
    </li>
  );
}
