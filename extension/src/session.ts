/** What the page knows about the kernel of one notebook: nothing that this kernel's proxy did not say itself. */

import type { NotebookPanel } from '@jupyterlab/notebook';
import type { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import { ChipBook } from './chipBook';
import { Connection, Trouble } from './connection';
import { Message, RECEIPTS_KEPT } from './messages';
import type { ContractMessage, ReceiptItem, StatusMessage } from './protocol';
import { IReport, readReport } from './report';

/** The state of one notebook; emits `changed` at most once per turn of the event loop. */
export class Session implements IDisposable {
  constructor(readonly panel: NotebookPanel) {
    this.connection = new Connection(panel.sessionContext, {
      cleared: recognised => this._clear(recognised),
      received: message => this._take(message),
      trouble: (kind, detail) => this._onTrouble(kind, detail)
    });
    this.chips = new ChipBook(panel, this.connection);
  }

  readonly connection: Connection;
  readonly chips: ChipBook;

  /** Whether the notebook's kernel is a Cloister kernel. */
  get isCloister(): boolean {
    return this._isCloister;
  }

  /** The proxy's last word about the enclave; `null` while nothing is known. */
  get status(): StatusMessage | null {
    return this._status;
  }

  get contract(): ContractMessage | null {
    return this._contract;
  }

  /** The verified releases of this session, oldest first; `released` counts those not listed too. */
  get receipts(): readonly ReceiptItem[] {
    return this._receipts;
  }

  get released(): number {
    return this._released;
  }

  /** What is wrong with the messages, if anything, and where. */
  get trouble(): { readonly kind: Trouble; readonly detail: string } | null {
    return this._trouble;
  }

  /** The last report of `verify`, or how far it is. */
  get report(): IReport | 'running' | null {
    return this._report;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this.connection.dispose();
      this.chips.dispose();
      Signal.clearData(this);
    }
  }

  /** The notebook as JSON (nbformat 4). */
  notebook(): Record<string, unknown> {
    return this.panel.model ? (this.panel.model.toJSON() as unknown as Record<string, unknown>) : {};
  }

  /**
   * Have the proxy verify the notebook as it stands; the report stays until the next one.
   *
   * @throws AskError The proxy could not.
   */
  async verify(): Promise<void> {
    this._report = 'running';
    this._touch();
    try {
      const answer = await this.connection.ask({ type: 'verify', notebook: this.notebook() });
      this._report = answer.type === 'verified' ? readReport(answer) : null;
    } catch (error) {
      this._report = null;
      throw error;
    } finally {
      this._touch();
    }
  }

  private _clear(recognised: boolean): void {
    this._isCloister = recognised;
    this._status = this._contract = this._trouble = this._report = null;
    this._receipts = [];
    this._released = 0;
    // The connection of a session that is being constructed has no chips yet.
    this.chips?.clear();
    this._touch();
  }

  private _take(message: Message): void {
    if (message.type === 'status') {
      const before = this._status;
      this._status = message;
      this._trouble = null;
      this._released = Math.max(this._released, message.releases);
      if (before?.state !== message.state || before.session !== message.session) {
        this.chips.restart(message.state !== 'dialling');
      }
    } else if (message.type === 'contract') {
      this._contract = message;
      this.chips.restart(true);
    } else if (message.type === 'receipts') {
      this._receipts = message.items;
      this._released = message.total;
      this.chips.restart(true);
    } else if (message.type === 'receipt') {
      this._receipts = [...this._receipts, message.item].slice(-RECEIPTS_KEPT);
      this._released = Math.max(this._released, this._receipts.length);
    }
    this._touch();
  }

  private _onTrouble(kind: Trouble, detail: string): void {
    // What cannot be read must not leave an earlier, better verdict standing.
    this._status = null;
    this._trouble = { kind, detail };
    this.chips.clear();
    this._touch();
  }

  private _touch(): void {
    if (!this._pending) {
      this._pending = true;
      queueMicrotask(() => {
        this._pending = false;
        if (!this._isDisposed) {
          this._changed.emit();
        }
      });
    }
  }

  private _isCloister = false;
  private _status: StatusMessage | null = null;
  private _contract: ContractMessage | null = null;
  private _receipts: readonly ReceiptItem[] = [];
  private _released = 0;
  private _trouble: { kind: Trouble; detail: string } | null = null;
  private _report: IReport | 'running' | null = null;
  private _pending = false;
  private _isDisposed = false;
  private readonly _changed = new Signal<this, void>(this);
}
