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

class Notice extends ReactWidget {
  constructor(
    private readonly _session: Session,
    private readonly _words: Words
  ) {
    super();
    this.addClass('cl-Notice');
    this.hide();
    _session.changed.connect(() => void this._look());
  }

  protected override render(): JSX.Element {
    const words = this._words;
    return (
      <div role="alert" className="cl-Notice-text">
        <strong>{words.t('Another contract.')}</strong>{' '}
        {words.t('The receipts in this notebook belong to another contract than its kernel: "%1".', this._title)}
        <button type="button" className="cl-Button" onClick={() => this.hide()}>
          {words.t('Dismiss')}
        </button>
      </div>
    );
  }

  /** Compare once per contract, so that a dismissed notice stays away. */
  private async _look(): Promise<void> {
    const { contract, panel } = this._session;
    if (contract === null) {
      this._seen = '';
      this.hide();
      return;
    }
    if (contract.digest === this._seen) {
      return;
    }
    this._seen = contract.digest;
    this._title = contract.title;
    const carried = await bundledContract(panel.model?.getMetadata('cloister'));
    if (!this.isDisposed && this._seen === contract.digest) {
      this.setHidden(carried === null || carried === contract.digest);
      this.update();
    }
  }

  private _seen = '';
  private _title = '';
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
