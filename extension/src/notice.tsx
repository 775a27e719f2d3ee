/**
 * Plugin: says above a notebook that it belongs to another contract than its kernel.
 *
 * It happens when a notebook is opened with the wrong kernel: its numbers are then about other data than those the
 * panel describes.
 */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ReactWidget } from '@jupyterlab/apputils';
import * as React from 'react';

import { bundledContract } from './bundled';
import type { Session } from './session';
import { ICloister } from './tokens';
import type { Words } from './words';

/** What the proxy says of a chip whose receipts belong to another contract (`analyst/checking.py`). */
const FOREIGN = "released under another contract than this kernel's";

class Notice extends ReactWidget {
  constructor(
    private readonly _session: Session,
    private readonly _words: Words
  ) {
    super();
    this.addClass('cl-Notice');
    this.hide();
    _session.changed.connect(() => void this._onContract());
    _session.chips.changed.connect(() => this._look());
  }

  protected override render(): JSX.Element {
    const words = this._words;
    return (
      <div role="alert" className="cl-Notice-text">
        <strong>{words.t('Another contract.')}</strong>{' '}
        {words.t(
          'The receipts in this notebook belong to another contract than its kernel: "%1".',
          this._session.contract?.title ?? ''
        )}
        <button type="button" className="cl-Button" onClick={() => this._dismiss()}>
          {words.t('Dismiss')}
        </button>
      </div>
    );
  }

  /** Look anew for every contract; a notice that was dismissed stays away until then. */
  private async _onContract(): Promise<void> {
    const { contract, panel } = this._session;
    const digest = contract?.digest ?? '';
    if (digest === this._digest) {
      return;
    }
    this._digest = digest;
    this._dismissed = false;
    this._carried = null;
    this._look();
    if (digest !== '') {
      const carried = await bundledContract(panel.model?.getMetadata('cloister'));
      if (!this.isDisposed && this._digest === digest) {
        this._carried = carried;
        this._look();
      }
    }
  }

  private _look(): void {
    if (this.isDisposed) {
      return;
    }
    const bundle = this._carried !== null && this._carried !== this._digest;
    const chip = this._session.chips.verdicts.some(({ state, reason }) => state === 'foreign' && reason === FOREIGN);
    this.setHidden(this._dismissed || this._digest === '' || !(bundle || chip));
    this.update();
  }

  private _dismiss(): void {
    this._dismissed = true;
    this._look();
  }

  private _digest = '';
  private _carried: string | null = null;
  private _dismissed = false;
}

export const notices: JupyterFrontEndPlugin<void> = {
  id: '@cloister/lab:notices',
  description: 'Says when a notebook belongs to another contract than its kernel.',
  autoStart: true,
  requires: [ICloister],
  activate: (_app: JupyterFrontEnd, cloister: ICloister) => {
    const add = (session: Session) => session.panel.contentHeader.addWidget(new Notice(session, cloister.words));
    cloister.sessions.forEach(add);
    cloister.added.connect((_, session) => add(session));
  }
};
