/** The question before a promotion: what it would cost, as far as the mock kernel knows. */

import { Dialog, ReactWidget, showDialog } from '@jupyterlab/apputils';
import * as React from 'react';

import type { EstimateMessage } from './protocol';
import type { Words } from './words';

/** Show the estimate; resolve to whether the user confirmed. */
export async function confirmPrice(estimate: EstimateMessage, target: string, words: Words): Promise<boolean> {
  const result = await showDialog({
    title: words.t('Promote to the real data?'),
    body: ReactWidget.create(<Price estimate={estimate} target={target} words={words} />),
    buttons: [
      Dialog.cancelButton({ label: words.t('Cancel') }),
      Dialog.warnButton({ label: words.t('Promote and run all') })
    ],
    defaultButton: 0
  });
  return result.button.accept;
}

function Price(props: { estimate: EstimateMessage; target: string; words: Words }): JSX.Element {
  const { estimate, target, words } = props;
  const releases = estimate.cells.reduce((sum, cell) => sum + cell.releases, 0);
  return (
    <div className="cl-Price">
      <p>{words.t('The kernel changes to %1, restarts and runs all cells. Releases then spend budget.', target)}</p>
      <table className="cl-Price-table">
        <caption>{words.t('Price of the last rehearsal (releases: %1)', releases)}</caption>
        <thead>
          <tr>
            <th scope="col">{words.t('Population')}</th>
            <th scope="col">ε</th>
            <th scope="col">{words.t('Part of its budget')}</th>
          </tr>
        </thead>
        <tbody>
          {estimate.total.map(item => (
            <tr key={item.population}>
              <th scope="row">{item.population}</th>
              <td>{item.epsilon}</td>
              <td>{item.share}</td>
            </tr>
          ))}
          {estimate.total.length === 0 && (
            <tr>
              <td colSpan={3}>{words.t('No rehearsed cell releases anything.')}</td>
            </tr>
          )}
        </tbody>
      </table>
      {estimate.unknown > 0 && (
        <p className="cl-Note" data-level="warn">
          <strong>?</strong>{' '}
          {words.t('Cells never rehearsed as they stand: %1. What they cost is not known.', estimate.unknown)}
        </p>
      )}
      <p className="cl-Fine">
        {words.t('An estimate: what was released before is free, and real data may lead to other cells.')}
      </p>
    </div>
  );
}
