/** Plugin: badge and Promote button in the notebook's own toolbar, in JupyterLab and Notebook 7. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IToolbarWidgetRegistry, ReactWidget } from '@jupyterlab/apputils';
import type { NotebookPanel } from '@jupyterlab/notebook';
import * as React from 'react';

import { Badge } from './badge';
import { promoteIcon } from './icons';
import type { Session } from './session';
import { Commands, ICloister } from './tokens';

/** A toolbar item about one notebook; hidden while its kernel is not a Cloister kernel. */
abstract class SessionItem extends ReactWidget {
  constructor(
    protected readonly cloister: ICloister,
    private readonly _panel: NotebookPanel
  ) {
    super();
    this.addClass('cl-ToolbarItem');
    const session = cloister.session(_panel);
    if (session !== null) {
      this._follow(session);
    } else {
      cloister.added.connect(this._onAdded, this);
      this.hide();
    }
  }

  /** Whether there is something to show. */
  protected abstract shows(session: Session): boolean;

  /** What is shown. */
  protected abstract view(session: Session): JSX.Element;

  protected override render(): JSX.Element | null {
    const session = this.cloister.session(this._panel);
    return session !== null && this.shows(session) ? this.view(session) : null;
  }

  private _onAdded(_: ICloister, session: Session): void {
    if (session.panel === this._panel) {
      this.cloister.added.disconnect(this._onAdded, this);
      this._follow(session);
    }
  }

  private _follow(session: Session): void {
    const refresh = () => {
      if (!this.isDisposed) {
        this.setHidden(!this.shows(session));
        this.update();
      }
    };
    session.changed.connect(refresh);
    refresh();
  }
}

class BadgeItem extends SessionItem {
  constructor(
    cloister: ICloister,
    panel: NotebookPanel,
    private readonly _open: () => void
  ) {
    super(cloister, panel);
  }

  protected shows(session: Session): boolean {
    return session.isCloister;
  }

  protected view(session: Session): JSX.Element {
    return <Badge session={session} words={this.cloister.words} open={this._open} />;
  }
}

class PromoteItem extends SessionItem {
  constructor(
    cloister: ICloister,
    panel: NotebookPanel,
    private readonly _promote: () => void
  ) {
    super(cloister, panel);
  }

  protected shows(session: Session): boolean {
    return session.status?.mode === 'mock' && session.status.promote !== '';
  }

  protected view(): JSX.Element {
    const { words } = this.cloister;
    const Icon = promoteIcon.react;
    return (
      <button
        type="button"
        className="cl-Promote"
        title={words.t('Run this notebook on the real data: shows the price first')}
        onClick={this._promote}
      >
        <Icon tag="span" className="cl-Promote-icon" aria-hidden="true" />
        {words.t('Promote')}
      </button>
    );
  }
}

export const toolbar: JupyterFrontEndPlugin<void> = {
  id: '@cloister/lab:toolbar',
  description: 'Adds the badge and the Promote button to the toolbar of notebooks.',
  autoStart: true,
  requires: [ICloister, IToolbarWidgetRegistry],
  activate: (app: JupyterFrontEnd, cloister: ICloister, registry: IToolbarWidgetRegistry) => {
    const { commands } = app;
    registry.addFactory<NotebookPanel>(
      'Notebook',
      'cloister-badge',
      panel => new BadgeItem(cloister, panel, () => void commands.execute(Commands.openPanel))
    );
    registry.addFactory<NotebookPanel>(
      'Notebook',
      'cloister-promote',
      panel => new PromoteItem(cloister, panel, () => void commands.execute(Commands.promote))
    );
  }
};
