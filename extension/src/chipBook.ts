/**
 * Which chips of a notebook are true: every chip is *unverified* until the proxy has said otherwise.
 *
 * A chip is an output in a file that anybody can edit, so the page never judges it by its own text. It sends the
 * chips, a batch at a time, and remembers the answers until kernel, session or contract change.
 */

import type { CodeCellModel } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import { AskError, Connection } from './connection';
import { RELEASE_MIME } from './facts';
import type { ChipAsk, ChipVerdict } from './protocol';
import { fits } from './reading';

type Dict = Record<string, unknown>;

const BATCH = 200;
const MOST_CHIPS = 2000;
const MOST_CHIP = 128 * 1024;
const GATHER_MS = 50;

/** The verdicts on the chips of one notebook. */
export class ChipBook implements IDisposable {
  constructor(
    private readonly _panel: NotebookPanel,
    private readonly _connection: Connection
  ) {}

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    window.clearTimeout(this._timer);
    Signal.clearData(this);
  }

  /** The verdicts so far. */
  get verdicts(): readonly ChipVerdict[] {
    return [...this._verdicts.values()];
  }

  /** The verdict on a chip, or `null`: not asked, not answered, or too large to be asked. */
  verdict(data: Dict, metadata: Dict): ChipVerdict | null {
    const key = JSON.stringify([data, metadata]);
    const known = this._verdicts.get(key);
    if (known === undefined && this._ready) {
      this._want(key, data, metadata);
    }
    return known ?? null;
  }

  /** Forget every verdict; ask again only after `restart(true)`. */
  clear(): void {
    this.restart(false);
  }

  /** Forget every verdict and, if the proxy is `ready` to judge, ask about all chips of the notebook anew. */
  restart(ready: boolean): void {
    this._ready = ready;
    this._turn += 1;
    this._wanted.clear();
    this._verdicts.clear();
    if (ready) {
      this._askForAll();
    }
    this._changed.emit();
  }

  private _askForAll(): void {
    for (const cell of this._panel.model?.cells ?? []) {
      if (cell.type !== 'code') {
        continue;
      }
      const { outputs } = cell as CodeCellModel;
      for (let index = 0; index < outputs.length; index++) {
        const output = outputs.get(index);
        if (RELEASE_MIME in output.data) {
          this.verdict({ ...output.data }, { ...output.metadata });
        }
      }
    }
  }

  private _want(key: string, data: Dict, metadata: Dict): void {
    if (this._wanted.has(key) || this._wanted.size + this._verdicts.size >= MOST_CHIPS || key.length > MOST_CHIP) {
      return;
    }
    this._wanted.set(key, { key: `${this._turn}.${this._wanted.size}`, data, metadata });
    if (this._wanted.size === 1) {
      this._timer = window.setTimeout(() => void this._flush(), GATHER_MS);
    }
  }

  private async _flush(): Promise<void> {
    const turn = this._turn;
    const asked = new Map([...this._wanted].slice(0, BATCH));
    while (asked.size > 1 && !fits([...asked.values()], 4 * 1024 * 1024)) {
      asked.delete([...asked.keys()][asked.size - 1]);
    }
    try {
      const answer = await this._connection.ask({ type: 'check', chips: [...asked.values()] });
      if (turn === this._turn && answer.type === 'checked') {
        this._note(asked, answer.chips);
      }
    } catch (error) {
      if (!(error instanceof AskError)) {
        throw error;
      }
      // Unanswered chips stay unverified, which is what they are.
      console.debug('cloister: chips were not checked:', error.reason);
    }
    if (turn === this._turn && this._wanted.size > 0 && [...asked.keys()].some(key => this._verdicts.has(key))) {
      this._timer = window.setTimeout(() => void this._flush(), GATHER_MS);
    }
  }

  private _note(asked: Map<string, ChipAsk>, answers: readonly ChipVerdict[]): void {
    const found = new Map(answers.map(verdict => [verdict.key, verdict]));
    for (const [key, chip] of asked) {
      const verdict = found.get(chip.key);
      this._wanted.delete(key);
      if (verdict !== undefined) {
        this._verdicts.set(key, verdict);
      }
    }
    this._changed.emit();
  }

  private _ready = false;
  private _turn = 0;
  private _timer = 0;
  private _isDisposed = false;
  private readonly _wanted = new Map<string, ChipAsk>();
  private readonly _verdicts = new Map<string, ChipVerdict>();
  private readonly _changed = new Signal<this, void>(this);
}
