/**
 * Plugin: draws release chips and rehearsal chips in outputs.
 *
 * A chip in a saved notebook is only text in a file. Until the proxy has compared it with its own receipts it is shown
 * as *unverified*, whatever it says about itself; without a Cloister kernel it stays so.
 */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ReactWidget } from '@jupyterlab/apputils';
import { NotebookPanel } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import type { Message } from '@lumino/messaging';
import type { Widget } from '@lumino/widgets';
import * as React from 'react';

import { Chip, ChipState, Unreadable } from './chipView';
import { IRelease, readRehearsals, readReleases, REHEARSAL_MIME, RELEASE_MIME } from './facts';
import type { ChipVerdict } from './protocol';
import { Malformed } from './reading';
import type { Session } from './session';
import { ICloister } from './tokens';

/** Before HTML (50), which is the fallback in other front ends. */
const RANK = 40;

type Dict = Record<string, unknown>;

/** What a chip may claim: its own state only once it is verified. */
function stateOf(releases: readonly IRelease[], verdict: ChipVerdict | null): ChipState {
  if (verdict === null) {
    return 'unverified';
  }
  if (verdict.state !== 'verified') {
    return verdict.state;
  }
  if (releases.some(item => item.seeded)) {
    return 'seeded';
  }
  return releases.some(item => item.assurance === 'simulated') ? 'simulated' : 'confidential';
}

class ChipRenderer extends ReactWidget implements IRenderMime.IRenderer {
  constructor(
    private readonly _mime: string,
    private readonly _cloister: ICloister
  ) {
    super();
    this.addClass('cl-ChipOutput');
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this._data = { ...model.data };
    this._metadata = { ...model.metadata };
    this.update();
    await this.renderPromise;
  }

  override dispose(): void {
    this._leave();
    super.dispose();
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._leave();
    const panel = panelOf(this);
    this._session = panel === null ? null : this._cloister.session(panel);
    this._session?.chips.changed.connect(this.update, this);
    this.update();
  }

  protected override onBeforeDetach(message: Message): void {
    this._leave();
    super.onBeforeDetach(message);
  }

  protected override render(): JSX.Element {
    const { words } = this._cloister;
    try {
      if (this._mime === REHEARSAL_MIME) {
        return <Chip state="mock" reason="" rehearsals={readRehearsals(this._metadata)} words={words} />;
      }
      const releases = readReleases(this._metadata);
      const verdict = this._session?.chips.verdict(this._data, this._metadata) ?? null;
      return (
        <Chip state={stateOf(releases, verdict)} reason={verdict?.reason ?? ''} releases={releases} words={words} />
      );
    } catch (error) {
      if (!(error instanceof Malformed)) {
        throw error;
      }
      return <Unreadable reason={error.message} words={words} />;
    }
  }

  private _leave(): void {
    this._session?.chips.changed.disconnect(this.update, this);
    this._session = null;
  }

  private _data: Dict = {};
  private _metadata: Dict = {};
  private _session: Session | null = null;
}

function panelOf(widget: Widget): NotebookPanel | null {
  for (let parent = widget.parent; parent !== null; parent = parent.parent) {
    if (parent instanceof NotebookPanel) {
      return parent;
    }
  }
  return null;
}

export const chips: JupyterFrontEndPlugin<void> = {
  id: '@cloister/lab:chips',
  description: 'Draws release chips, verified against the receipts of this machine.',
  autoStart: true,
  requires: [ICloister, IRenderMimeRegistry],
  activate: (_app: JupyterFrontEnd, cloister: ICloister, registry: IRenderMimeRegistry) => {
    for (const mime of [RELEASE_MIME, REHEARSAL_MIME]) {
      const createRenderer = () => new ChipRenderer(mime, cloister);
      registry.addFactory({ safe: true, mimeTypes: [mime], createRenderer }, RANK);
    }
  }
};
