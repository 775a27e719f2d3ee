/** The side panel: head with the verdict, then one section per question a reader has. */

import { ReactWidget } from '@jupyterlab/apputils';
import { refreshIcon } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import * as React from 'react';

import { badgeOf, Shield, troubleText } from '../badge';
import { age } from '../figures';
import { cloisterIcon } from '../icons';
import { insert } from '../insert';
import type { StatusMessage } from '../protocol';
import type { Session } from '../session';
import { ICloister, PANEL_ID } from '../tokens';
import type { Words } from '../words';
import { BudgetSection } from './budget';
import { ContractSection } from './contract';
import { DataSection } from './data';
import { EnclaveSection } from './enclave';
import { ReceiptsSection } from './receipts';
import { VerificationSection } from './verification';

const AGE_MS = 30_000;

/** What the panel's buttons do. */
export interface IActions {
  bundle(): void;
  verify(): void;
}

/** Shows the session of the notebook in front; ages are renewed while it is visible. */
export class Panel extends ReactWidget {
  constructor(
    private readonly _cloister: ICloister,
    private readonly _actions: IActions
  ) {
    super();
    this.id = PANEL_ID;
    this.addClass('cl-Panel');
    this.title.icon = cloisterIcon;
    this.title.caption = _cloister.words.t('Cloister: enclave, contract, budget and receipts');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', 'Cloister');
    // A scrolling region must be reachable by the keyboard.
    this.node.tabIndex = 0;
    _cloister.currentChanged.connect(() => this.update());
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.update();
    window.clearInterval(this._timer);
    this._timer = window.setInterval(() => this.update(), AGE_MS);
  }

  protected override onBeforeHide(): void {
    window.clearInterval(this._timer);
  }

  override dispose(): void {
    window.clearInterval(this._timer);
    super.dispose();
  }

  protected override render(): JSX.Element {
    const { current, words } = this._cloister;
    if (current === null || !current.isCloister) {
      return <Nothing words={words} />;
    }
    return <View key={current.panel.id} session={current} words={words} actions={this._actions} />;
  }

  private _timer = 0;
}

function Nothing(props: { words: Words }): JSX.Element {
  const { words } = props;
  return (
    <div className="cl-Panel-nothing">
      <Shield tone="grey" />
      <p>{words.t('No Cloister kernel here.')}</p>
      <p className="cl-Fine">
        {words.t(
          'Open a notebook and choose a kernel called "Cloister: …" to see what was verified about its enclave.'
        )}
      </p>
    </div>
  );
}

function View(props: { session: Session; words: Words; actions: IActions }): JSX.Element {
  const { session, words, actions } = props;
  const { status, report } = session;
  const goTo = (cell: number) => {
    const { content } = session.panel;
    content.activeCellIndex = cell;
    void content.scrollToItem(cell, 'center');
  };
  return (
    <>
      <Head session={session} words={words} />
      {report !== null && <VerificationSection report={report} words={words} goTo={goTo} />}
      {status !== null && (
        <>
          <EnclaveSection status={status} words={words} />
          <ContractSection contract={session.contract} words={words} />
          <DataSection
            contract={session.contract}
            words={words}
            insert={(table, column) => insert(session.panel, table, column)}
          />
          <BudgetSection session={session} status={status} words={words} />
          <ReceiptsSection session={session} words={words} bundle={actions.bundle} verify={actions.verify} />
        </>
      )}
    </>
  );
}

function Head(props: { session: Session; words: Words }): JSX.Element {
  const { session, words } = props;
  const { status, trouble } = session;
  const badge = badgeOf(session, words);
  const Refresh = refreshIcon.react;
  return (
    <div className="cl-Head" data-tone={badge.tone}>
      <Shield tone={badge.tone} />
      <div className="cl-Head-text">
        <h2>{badge.word}</h2>
        {status !== null && <p>{about(status, words)}</p>}
        {status?.time && status.state === 'open' && <p>{words.t('verified %1', age(status.time, words))}</p>}
      </div>
      <button
        type="button"
        className="cl-IconButton"
        title={words.t('Ask again')}
        aria-label={words.t('Ask again')}
        onClick={() => session.connection.refresh()}
      >
        <Refresh tag="span" aria-hidden="true" />
      </button>
      {status?.error && (
        <div className="cl-Note" data-level="fail">
          <strong>{status.error.reason}</strong>
          {status.error.clause && <p>{words.t('Because of: %1', status.error.clause)}</p>}
          {status.error.next_step && <p>{words.t('Next: %1', status.error.next_step)}</p>}
          <code>{status.error.code}</code>
        </div>
      )}
      {trouble && (
        <div className="cl-Note" data-level="fail">
          {troubleText(trouble, words)}
        </div>
      )}
    </div>
  );
}

function about(status: StatusMessage, words: Words): string {
  const state = { dialling: words.t('dialling …'), open: '', refused: '', lost: '', dead: words.t('kernel ended') };
  return [status.entry, words.known(status.mode), state[status.state]].filter(Boolean).join(' · ');
}
