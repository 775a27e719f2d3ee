/**
 * The comm between one notebook and its proxy: opened for every kernel and after every restart.
 *
 * A restart keeps the kernel object, so `kernelChanged` alone would miss it; a kernel that restarts by itself says so
 * in its status only. In between, everything the page knew is cleared first: an old verdict must never be shown for a
 * new session. Nothing here waits for the kernel to be idle: the proxy answers while a cell runs and when the enclave
 * is gone.
 */

import type { ISessionContext } from '@jupyterlab/apputils';
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import { JSONObject, UUID } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';

import { Ask, Message, read } from './messages';
import { ErrorMessage, TARGET } from './protocol';
import { fits, Malformed } from './reading';
import { isCloister } from './recognise';

/** Why there is nothing to show although this is a Cloister kernel. */
export type Trouble = 'silent' | 'closed' | 'malformed';

/** What the connection tells its owner. */
export interface IListener {
  /** Nothing is known (any more); `recognised` says whether this is a Cloister kernel. */
  cleared(recognised: boolean): void;
  /** A message that is no answer to an ask. */
  received(message: Message): void;
  /** Something is wrong with the proxy's side of the comm. */
  trouble(kind: Trouble, detail: string): void;
}

/** An ask that was not answered, in words for the user. */
export class AskError extends Error {
  constructor(
    readonly code: string,
    readonly reason: string,
    readonly nextStep = ''
  ) {
    super(reason);
  }
}

interface IWaiting {
  resolve(message: Message): void;
  reject(error: AskError): void;
  timer: number;
}

type Body<T> = T extends Ask ? Omit<T, 'id'> : never;

const GONE = new Set<Kernel.Status>(['restarting', 'autorestarting', 'terminating', 'dead']);
const SILENCE_MS = 30_000;
const ANSWER_MS = 120_000;
const MOST_WAITING = 16;
const MIB = 1024 * 1024;
const MOST: Record<Ask['type'], number> = {
  estimate: 4 * MIB,
  check: 4 * MIB,
  // A Jupyter server closes the connection at a message of 10 MiB, and a closed connection explains nothing.
  verify: 9.5 * MIB,
  bundle: 9.5 * MIB
};
const IN_A_TERMINAL: Partial<Record<Ask['type'], string>> = {
  verify: 'in a terminal, after saving: cloister verify --own-receipts NOTEBOOK',
  bundle: 'in a terminal, after saving: cloister bundle NOTEBOOK'
};

/** Keeps the comm of one session context open and asks through it. */
export class Connection implements IDisposable {
  constructor(
    private readonly _context: ISessionContext,
    private readonly _listener: IListener
  ) {
    _context.kernelChanged.connect(this._settle, this);
    _context.statusChanged.connect(this._onStatus, this);
    _context.connectionStatusChanged.connect(this._onConnection, this);
    this._settle();
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._context.kernelChanged.disconnect(this._settle, this);
    this._context.statusChanged.disconnect(this._onStatus, this);
    this._context.connectionStatusChanged.disconnect(this._onConnection, this);
    this._drop();
  }

  /** Ask for a fresh `status`. */
  refresh(): void {
    this._send({ type: 'refresh' });
  }

  /**
   * Ask, and wait for the answer with the same id.
   *
   * @throws AskError No answer, or one that says why not.
   */
  async ask(body: Body<Ask>): Promise<Message> {
    const most = MOST[body.type];
    // Counting first: most of what is too large need not be written out to know it.
    if (!fits(body, most) || new TextEncoder().encode(JSON.stringify(body)).length > most) {
      throw new AskError('page.size', 'the notebook is too large to be sent', IN_A_TERMINAL[body.type]);
    }
    if (this._comm === null || this._waiting.size >= MOST_WAITING) {
      throw new AskError('page.unconnected', 'the kernel cannot be asked now');
    }
    const id = UUID.uuid4();
    return new Promise<Message>((resolve, reject) => {
      const late = () => this._fail(id, new AskError('page.late', 'the kernel did not answer'));
      this._waiting.set(id, { resolve, reject, timer: window.setTimeout(late, ANSWER_MS) });
      if (!this._send({ ...body, id })) {
        this._fail(id, new AskError('page.unconnected', 'the kernel cannot be asked now'));
      }
    });
  }

  private _onStatus(): void {
    // A fresh kernel process says `starting`; a comm that was answered before belongs to the one before it.
    if (this._heard && this._context.session?.kernel?.status === 'starting') {
      this._drop();
    }
    this._settle();
  }

  private _onConnection(): void {
    if (this._comm !== null && this._kernel?.connectionStatus === 'connected') {
      this.refresh();
    }
    this._settle();
  }

  private _settle(): void {
    const kernel = this._context.session?.kernel ?? null;
    const usable = kernel !== null && !kernel.isDisposed && !GONE.has(kernel.status);
    if (!usable || kernel !== this._kernel) {
      this._drop();
    }
    if (usable && this._kernel === null && kernel.connectionStatus === 'connected') {
      this._kernel = kernel;
      void this._open(kernel);
    }
  }

  private async _open(kernel: Kernel.IKernelConnection): Promise<void> {
    const turn = this._turn;
    const recognised = await isCloister(kernel);
    if (turn !== this._turn || this._isDisposed) {
      return;
    }
    this._recognised = recognised;
    this._listener.cleared(recognised);
    if (!recognised) {
      return;
    }
    if (!kernel.handleComms) {
      this._listener.trouble('closed', 'another tab of this kernel speaks for it');
      return;
    }
    const comm = kernel.createComm(TARGET);
    comm.onMsg = message => this._onMessage(turn, message);
    comm.onClose = () => this._onClose(turn);
    this._comm = comm;
    this._silence = window.setTimeout(() => this._listener.trouble('silent', ''), SILENCE_MS);
    try {
      comm.open();
    } catch (error) {
      // The kernel ended between the two lines above; its status change follows.
      console.debug('cloister: the comm did not open', error);
    }
  }

  private _drop(): void {
    const { _comm: comm, _kernel: kernel } = this;
    this._turn += 1;
    this._comm = this._kernel = null;
    this._heard = false;
    window.clearTimeout(this._silence);
    for (const id of [...this._waiting.keys()]) {
      this._fail(id, new AskError('page.ended', 'the kernel was changed or restarted'));
    }
    if (comm !== null && !comm.isDisposed && kernel !== null && !kernel.isDisposed && !GONE.has(kernel.status)) {
      comm.close();
    }
    if (kernel !== null) {
      // Between two kernels the badge stays where it is and says "unknown", so that nothing jumps.
      const next = this._context.session?.kernel ?? null;
      this._recognised = this._recognised && next !== null && next.status !== 'dead' && !this._isDisposed;
      this._listener.cleared(this._recognised);
    }
  }

  private _onMessage(turn: number, message: KernelMessage.ICommMsgMsg): void {
    if (turn !== this._turn) {
      return;
    }
    this._heard = true;
    window.clearTimeout(this._silence);
    try {
      const known = read(message.content.data);
      if (known !== null && !this._answers(known)) {
        this._listener.received(known);
      }
    } catch (error) {
      if (!(error instanceof Malformed)) {
        throw error;
      }
      this._listener.trouble('malformed', error.message);
    }
  }

  private _onClose(turn: number): void {
    if (turn === this._turn) {
      this._comm = null;
      window.clearTimeout(this._silence);
      this._listener.trouble('closed', '');
    }
  }

  /** Hand an answer to whoever asked; an answer nobody waits for goes nowhere. */
  private _answers(message: Message): boolean {
    if (!('id' in message)) {
      return false;
    }
    const waiting = this._waiting.get(message.id);
    if (message.type === 'error') {
      this._fail(message.id, refused(message));
    } else if (waiting !== undefined) {
      window.clearTimeout(waiting.timer);
      this._waiting.delete(message.id);
      waiting.resolve(message);
    }
    return true;
  }

  private _fail(id: string, error: AskError): void {
    const waiting = this._waiting.get(id);
    if (waiting !== undefined) {
      window.clearTimeout(waiting.timer);
      this._waiting.delete(id);
      waiting.reject(error);
    }
  }

  private _send(data: object): boolean {
    if (this._comm === null || this._comm.isDisposed) {
      return false;
    }
    try {
      this._comm.send(data as JSONObject);
      return true;
    } catch (error) {
      console.debug('cloister: not sent', error);
      return false;
    }
  }

  private _comm: Kernel.IComm | null = null;
  private _kernel: Kernel.IKernelConnection | null = null;
  private _turn = 0;
  private _heard = false;
  private _recognised = false;
  private _silence = 0;
  private _isDisposed = false;
  private readonly _waiting = new Map<string, IWaiting>();
}

function refused(message: ErrorMessage): AskError {
  return new AskError(message.code, message.reason, message.next_step);
}
