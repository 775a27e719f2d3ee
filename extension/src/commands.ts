/** Plugin: the commands, in the palette and for everybody's own shortcuts. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, Notification, showErrorMessage } from '@jupyterlab/apputils';

import { AskError } from './connection';
import { cloisterIcon, promoteIcon } from './icons';
import { promote } from './promote';
import { Malformed } from './reading';
import type { Session } from './session';
import { Commands, ICloister, PANEL_ID } from './tokens';
import type { Words } from './words';

/** Put the receipts a notebook rests on into its metadata, and say so. */
async function bundle(session: Session, words: Words): Promise<void> {
  const answer = await session.connection.ask({ type: 'bundle', notebook: session.notebook() });
  const { model } = session.panel;
  if (answer.type !== 'bundled' || model === null) {
    return;
  }
  const before: unknown = model.getMetadata('cloister');
  const kept = typeof before === 'object' && before !== null ? before : {};
  model.setMetadata('cloister', { ...kept, bundle: answer.bundle });
  Notification.success(words.t('The receipts are in the notebook now. Save it to keep them.'), { autoClose: 6000 });
}

/** Say in a dialog why something could not be done. */
async function explain(error: unknown, words: Words): Promise<void> {
  if (error instanceof AskError) {
    const reason = `${words.known(error.reason)} [${error.code}]`;
    const next = error.nextStep ? words.t('Next: %1', words.known(error.nextStep)) : '';
    await showErrorMessage(words.t('Cloister could not do this'), [reason, next].filter(Boolean).join('. '));
  } else if (error instanceof Malformed) {
    await showErrorMessage(
      words.t('Cloister could not do this'),
      words.t('A message of the kernel cannot be read: %1', error.message)
    );
  } else {
    throw error;
  }
}

export const commands: JupyterFrontEndPlugin<void> = {
  id: '@cloister/lab:commands',
  description: 'Commands: open the panel, verify and bundle the notebook, promote it to the real data.',
  autoStart: true,
  requires: [ICloister],
  optional: [ICommandPalette],
  activate: (app: JupyterFrontEnd, cloister: ICloister, palette: ICommandPalette | null) => {
    const { words } = cloister;
    const open = () => app.shell.activateById(PANEL_ID);
    const guarded = (act: (session: Session) => Promise<void>) => async () => {
      const session = cloister.current;
      if (session !== null) {
        await act(session).catch((error: unknown) => explain(error, words));
      }
    };
    const isCloister = () => cloister.current?.isCloister ?? false;
    const isMock = () => cloister.current?.status?.mode === 'mock';

    app.commands.addCommand(Commands.openPanel, {
      label: words.t('Show the Cloister panel'),
      icon: cloisterIcon,
      execute: open
    });
    app.commands.addCommand(Commands.verify, {
      label: words.t('Verify this notebook'),
      icon: cloisterIcon,
      isEnabled: isCloister,
      execute: guarded(async session => {
        open();
        await session.verify();
      })
    });
    app.commands.addCommand(Commands.bundle, {
      label: words.t('Put the receipts into this notebook'),
      isEnabled: isCloister,
      execute: guarded(session => bundle(session, words))
    });
    app.commands.addCommand(Commands.promote, {
      label: words.t('Promote to the real data …'),
      icon: promoteIcon,
      isEnabled: isMock,
      execute: guarded(session => promote(session, words))
    });
    cloister.currentChanged.connect(() => app.commands.notifyCommandChanged());
    for (const command of Object.values(Commands)) {
      palette?.addItem({ command, category: 'Cloister' });
    }
  }
};
