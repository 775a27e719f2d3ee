/**
 * Plugin: lays a faint, repeated mark over outputs where the contract asks for it: who looks, under which contract, when.
 *
 * It is drawn by style sheets alone, so that no saved notebook holds it, no reviewer compares it, and screen readers and
 * clicks go through it. It reminds people who copy a screen; whoever commands the browser can take it away.
 */

import { ILabShell, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { MainAreaWidget } from '@jupyterlab/apputils';
import type { Widget } from '@lumino/widgets';

import type { Session } from './session';
import { ICloister } from './tokens';

const WIDTH = 440;
const HEIGHT = 76;
const MINUTE_MS = 60 * 1000;
const CLASS = 'cl-Marked';
const IMAGE = '--cl-mark';
const VIEW = 'jp-LinkedOutputView';
const AREAS = ['main', 'down', 'left', 'right'];

function escaped(text: string): string {
  return text.replace(/[<>&"']/g, sign => `&#${sign.charCodeAt(0)};`);
}

/** The time as everywhere in Cloister: UTC, to the minute. */
function now(): string {
  return `${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

/** The tile that is repeated, as a style sheet writes an image: only its shape is used, the theme gives the colour. */
function tile(mark: string): string {
  const line = escaped(`${mark} · ${now()}`);
  // At the top, so that an output of one line carries it too; every other row is moved by half.
  const places = [
    [WIDTH / 2, 13],
    [0, 13 + HEIGHT / 2],
    [WIDTH, 13 + HEIGHT / 2]
  ];
  const texts = places.map(([x, y]) => `<text x="${x}" y="${y}">${line}</text>`);
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}"><g font-family="sans-serif" ` +
    `font-size="12" text-anchor="middle">${texts.join('')}</g></svg>`;
  return `url("data:image/svg+xml,${encodeURIComponent(svg)}")`;
}

/** What the notebook of a session is marked with; `null` while nobody knows. */
function markOf(session: Session): string | null {
  if (session.isDisposed || !session.isCloister) {
    return '';
  }
  return session.status?.display_mark ?? null;
}

function show(node: HTMLElement, name: string, image: string): void {
  node.classList.toggle(name, image !== '');
  node.style.setProperty(IMAGE, image);
}

/**
 * Marks of the views of single outputs, which are outside of their notebooks: each view carries its own notebook's.
 * One of which nobody knows whose it is carries one of those there are.
 */
class Views {
  constructor(
    private readonly _shell: JupyterFrontEnd.IShell,
    private readonly _cloister: ICloister
  ) {}

  draw(): void {
    const marks = this._cloister.sessions.map(markOf);
    const any = marks.filter(mark => mark !== null && mark !== '').pop() ?? '';
    show(document.body, `${CLASS}Views`, any === '' ? '' : tile(any));
    for (const widget of AREAS.flatMap(area => [...this._shell.widgets(area)])) {
      const content = widget instanceof MainAreaWidget ? widget.content : widget;
      if (content.hasClass(VIEW)) {
        const mark = this._whose(content);
        content.toggleClass(`${CLASS}Never`, mark === '');
        content.node.style.setProperty(IMAGE, mark === null || mark === '' ? '' : tile(mark));
      }
    }
  }

  /** The mark of a view; `null` if nobody knows. */
  private _whose(view: Widget): string | null {
    const path: unknown = (view as Widget & { path?: unknown }).path;
    const owner = this._cloister.sessions.find(session => session.panel.context.path === path);
    return owner === undefined ? null : markOf(owner);
  }
}

/** Marks one notebook's outputs. */
function draw(session: Session): void {
  const mark = markOf(session) ?? '';
  show(session.panel.node, CLASS, mark === '' ? '' : tile(mark));
}

export const marks: JupyterFrontEndPlugin<void> = {
  id: '@cloister/lab:marks',
  description: 'Lays a mark over outputs where the contract asks for it.',
  autoStart: true,
  requires: [ICloister],
  optional: [ILabShell],
  activate: (app: JupyterFrontEnd, cloister: ICloister, lab: ILabShell | null) => {
    const views = new Views(app.shell, cloister);
    const add = (session: Session) => {
      const both = () => {
        draw(session);
        views.draw();
      };
      session.changed.connect(both);
      session.panel.disposed.connect(both);
      both();
    };
    cloister.sessions.forEach(add);
    cloister.added.connect((_, session) => add(session));
    // A view was opened; only Lab has them.
    lab?.layoutModified.connect(() => views.draw());
    // The time on the mark is that of looking.
    window.setInterval(() => {
      cloister.sessions.forEach(draw);
      views.draw();
    }, MINUTE_MS);
  }
};
