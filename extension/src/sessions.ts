/** Keeps one session per open notebook and knows which is in front; in JupyterLab and in Notebook 7 alike. */

import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ISignal, Signal } from '@lumino/signaling';

import { Session } from './session';
import type { ICloister } from './tokens';
import type { Words } from './words';

/** Follows the notebook tracker. */
export class Sessions implements ICloister {
  constructor(
    readonly words: Words,
    private readonly _tracker: INotebookTracker
  ) {
    _tracker.forEach(panel => this._add(panel));
    _tracker.widgetAdded.connect((_, panel) => this._add(panel));
    _tracker.currentChanged.connect(() => {
      // Another notebook may have spent from the same budget meanwhile; the proxy asks only if it is time to.
      this.current?.connection.refresh();
      this._currentChanged.emit();
    });
  }

  get current(): Session | null {
    const panel = this._tracker.currentWidget;
    return panel === null ? null : this.session(panel);
  }

  get currentChanged(): ISignal<ICloister, void> {
    return this._currentChanged;
  }

  get added(): ISignal<ICloister, Session> {
    return this._added;
  }

  get sessions(): readonly Session[] {
    return [...this._sessions.values()];
  }

  session(panel: NotebookPanel): Session | null {
    return this._sessions.get(panel) ?? null;
  }

  private _add(panel: NotebookPanel): void {
    if (this._sessions.has(panel)) {
      return;
    }
    const session = new Session(panel);
    this._sessions.set(panel, session);
    session.changed.connect(() => {
      if (this._tracker.currentWidget === panel) {
        this._currentChanged.emit();
      }
    });
    panel.disposed.connect(() => {
      this._sessions.delete(panel);
      session.dispose();
    });
    this._added.emit(session);
  }

  private readonly _sessions = new Map<NotebookPanel, Session>();
  private readonly _currentChanged = new Signal<ICloister, void>(this);
  private readonly _added = new Signal<ICloister, Session>(this);
}
