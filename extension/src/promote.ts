/**
 * Promote: from the mock kernel to the confidential one, with the price shown first.
 *
 * Without the dialog nothing is switched and nothing runs. After the switch nothing runs either until the new proxy
 * has said that it verified the enclave.
 */

import { showErrorMessage } from '@jupyterlab/apputils';
import { NotebookActions } from '@jupyterlab/notebook';

import { AskError } from './connection';
import { confirmPrice } from './estimateDialog';
import type { EstimateMessage } from './protocol';
import type { Session } from './session';
import type { Words } from './words';

const VERDICT_MS = 120_000;

/** Ask for the price, confirm, switch the kernel, wait for its verdict, run all. */
export async function promote(session: Session, words: Words): Promise<void> {
  const target = session.status?.promote ?? '';
  if (session.status?.mode !== 'mock' || target === '') {
    return;
  }
  const { content, sessionContext } = session.panel;
  const title = sessionContext.specsManager.specs?.kernelspecs[target]?.display_name ?? target;
  const estimate = await priceOf(session);
  if (!(await confirmPrice(estimate, title, words))) {
    return;
  }
  await sessionContext.changeKernel({ name: target });
  if (await verified(session)) {
    await NotebookActions.runAll(content, sessionContext);
    return;
  }
  const error = session.status?.error;
  const reason = error
    ? `[${error.code}] ${error.reason}\n${error.next_step}`
    : words.t('There was no verdict in time.');
  await showErrorMessage(words.t('Not promoted: the enclave was not verified, and no cell was run.'), reason);
}

async function priceOf(session: Session): Promise<EstimateMessage> {
  const cells = [...(session.panel.model?.cells ?? [])]
    .filter(cell => cell.type === 'code')
    .map(cell => cell.sharedModel.getSource())
    .filter(source => source.trim() !== '');
  const answer = await session.connection.ask({ type: 'estimate', cells });
  if (answer.type !== 'estimate') {
    throw new AskError('page.answer', 'the kernel answered something else');
  }
  return answer;
}

/** Resolve once the proxy has decided: true only for a confidential session that is open. */
function verified(session: Session): Promise<boolean> {
  return new Promise(resolve => {
    const done = (outcome: boolean) => {
      window.clearTimeout(timer);
      session.changed.disconnect(look);
      resolve(outcome);
    };
    const look = () => {
      const { status, trouble, isDisposed } = session;
      if (isDisposed || trouble !== null) {
        done(false);
      } else if (status?.mode === 'confidential' && status.state !== 'dialling') {
        done(status.state === 'open');
      }
    };
    const timer = window.setTimeout(() => done(false), VERDICT_MS);
    session.changed.connect(look);
    look();
  });
}
