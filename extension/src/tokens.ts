/** What the plugins share: one service that knows the Cloister sessions of this browser tab. */

import type { NotebookPanel } from '@jupyterlab/notebook';
import { Token } from '@lumino/coreutils';
import type { ISignal } from '@lumino/signaling';

import type { Session } from './session';
import type { Words } from './words';

/** The sessions of the open notebooks. */
export interface ICloister {
  /** The texts in the user's language. */
  readonly words: Words;

  /** The session of the notebook in front; `null` without one. */
  readonly current: Session | null;

  /** Another notebook came to the front, or the one in front changed. */
  readonly currentChanged: ISignal<ICloister, void>;

  /** A notebook was opened. */
  readonly added: ISignal<ICloister, Session>;

  /** All sessions, oldest first. */
  readonly sessions: readonly Session[];

  /** The session of a notebook, if it is open. */
  session(panel: NotebookPanel): Session | null;
}

export const ICloister = new Token<ICloister>(
  '@cloister/lab:ICloister',
  'What the proxies of the open notebooks said about their enclaves.'
);

/** The commands, by what they do. */
export const Commands = {
  openPanel: 'cloister:open-panel',
  verify: 'cloister:verify',
  bundle: 'cloister:bundle',
  promote: 'cloister:promote'
} as const;

/** The id of the side panel. */
export const PANEL_ID = 'cloister-panel';
