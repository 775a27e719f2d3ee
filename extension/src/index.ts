/** The plugins: one per surface, so that each can be disabled on its own; all share `ICloister`. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator } from '@jupyterlab/translation';

import { chips } from './chip';
import { commands } from './commands';
import { marks } from './mark';
import { notices } from './notice';
import { panel } from './panel/plugin';
import { Sessions } from './sessions';
import { statusItem } from './statusItem';
import { ICloister } from './tokens';
import { toolbar } from './toolbar';
import { Words } from './words';

const sessions: JupyterFrontEndPlugin<ICloister> = {
  id: '@cloister/lab:sessions',
  description: 'Asks the proxies of Cloister kernels what they verified.',
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ITranslator],
  provides: ICloister,
  activate: (_app: JupyterFrontEnd, tracker: INotebookTracker, translator: ITranslator | null): ICloister =>
    new Sessions(new Words(translator), tracker)
};

export default [sessions, commands, statusItem, toolbar, panel, chips, notices, marks];
