/** Plugin: the badge in JupyterLab's status bar. Notebook 7 has none; there the toolbar shows it. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ReactWidget } from '@jupyterlab/apputils';
import { IStatusBar } from '@jupyterlab/statusbar';
import * as React from 'react';

import { Badge } from './badge';
import { Commands, ICloister } from './tokens';

class StatusItem extends ReactWidget {
  constructor(
    private readonly _cloister: ICloister,
    private readonly _open: () => void
  ) {
    super();
    this.addClass('cl-StatusItem');
    _cloister.currentChanged.connect(() => this.update());
  }

  protected override render(): JSX.Element | null {
    const session = this._cloister.current;
    return session?.isCloister ? <Badge session={session} words={this._cloister.words} open={this._open} /> : null;
  }
}

export const statusItem: JupyterFrontEndPlugin<void> = {
  id: '@cloister/lab:status',
  description: 'Shows in the status bar what was verified about the enclave, and what is left of the budget.',
  autoStart: true,
  requires: [ICloister],
  optional: [IStatusBar],
  activate: (app: JupyterFrontEnd, cloister: ICloister, statusBar: IStatusBar | null) => {
    const item = new StatusItem(cloister, () => void app.commands.execute(Commands.openPanel));
    statusBar?.registerStatusItem(statusItem.id, {
      item,
      align: 'left',
      rank: 2,
      isActive: () => cloister.current?.isCloister ?? false,
      activeStateChanged: cloister.currentChanged as never
    });
  }
};
