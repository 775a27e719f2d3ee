/** Section: what was verified about the enclave, as a checklist. */

import * as React from 'react';

import type { ChecklistItem, StatusMessage } from '../protocol';
import type { Words } from '../words';
import { Empty, Section } from './section';

const MARKS: Record<ChecklistItem['state'], string> = { ok: '✓', warn: '!', fail: '✕', unknown: '?' };

/** What each line asks, as a heading. */
function asked(name: ChecklistItem['name'], words: Words): string {
  return {
    hardware: words.t('Genuine hardware'),
    code: words.t('Approved code'),
    fresh: words.t('Fresh evidence'),
    session: words.t('Bound to this session'),
    placement: words.t('Placement'),
    isolation: words.t('Isolation')
  }[name];
}

/** A state in one word, for those who cannot see the mark. */
function said(state: ChecklistItem['state'], words: Words): string {
  return {
    ok: words.t('confirmed'),
    warn: words.t('with a reservation'),
    fail: words.t('not true'),
    unknown: words.t('not known')
  }[state];
}

export function EnclaveSection(props: { status: StatusMessage; words: Words }): JSX.Element {
  const { status, words } = props;
  const confirmed = status.checklist.filter(item => item.state === 'ok').length;
  const summary = status.checklist.length > 0 ? words.t('%1 of %2', confirmed, status.checklist.length) : '';
  return (
    <Section name="enclave" title={words.t('Enclave')} summary={summary}>
      {status.checklist.length === 0 && <Empty>{words.t('Nothing was checked yet.')}</Empty>}
      <ul className="cl-Checklist">
        {status.checklist.map(item => (
          <li key={item.name} className="cl-Check" data-name={item.name} data-state={item.state}>
            <span className="cl-Check-mark" aria-hidden="true">
              {MARKS[item.state]}
            </span>
            <span className="cl-Check-text">
              <span className="cl-Check-name">{asked(item.name, words)}</span>
              <span className="cl-Hidden">: {said(item.state, words)}</span>
              <span className="cl-Check-about">{words.known(item.text)}</span>
            </span>
          </li>
        ))}
      </ul>
    </Section>
  );
}
