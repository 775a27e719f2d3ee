/** Plugin: the side panel, in JupyterLab and in Notebook 7. */

import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';

import { Commands, ICloister, PANEL_ID } from '../tokens';
import { Panel } from './panel';

export const panel: JupyterFrontEndPlugin<void> = {
  id: '@cloister/lab:panel',
  description: 'Side panel: what was verified about the enclave, contract, data, budget and receipts.',
  autoStart: true,
  requires: [ICloister],
  optional: [ILayoutRestorer],
  activate: (app: JupyterFrontEnd, cloister: ICloister, restorer: ILayoutRestorer | null) => {
    const widget = new Panel(cloister, {
      bundle: () => void app.commands.execute(Commands.bundle),
      verify: () => void app.commands.execute(Commands.verify)
    });
    app.shell.add(widget, 'right', { rank: 300, type: 'Cloister' });
    restorer?.add(widget, PANEL_ID);
  }
};
