/**
 * Plugin: lays a faint, repeated mark over outputs where the contract asks for it: who looks, under which contract, when.
 *
 * It is drawn by style sheets alone, so that no saved notebook holds it, no reviewer compares it, and screen readers and
 * clicks go through it. It reminds people who copy a screen; whoever commands the browser can take it away.
 */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';

import type { Session } from './session';
import { ICloister } from './tokens';

const WIDTH = 440;
const HEIGHT = 76;
const MINUTE_MS = 60 * 1000;
const CLASS = 'cl-Marked';
const IMAGE = '--cl-mark';

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

/** Marks one notebook's outputs, and the views of single outputs, which are outside of it. */
function draw(session: Session, views: Map<Session, string>): void {
  const mark = session.isDisposed ? '' : (session.status?.display_mark ?? '');
  const image = mark === '' ? '' : tile(mark);
  const places = [session.panel.node, document.body];
  if (image === '') {
    views.delete(session);
  } else {
    views.set(session, image);
  }
  const shown = [image, [...views.values()].pop() ?? ''];
  places.forEach((node, index) => {
    node.classList.toggle(index === 0 ? CLASS : `${CLASS}Views`, shown[index] !== '');
    node.style.setProperty(IMAGE, shown[index]);
  });
}

export const marks: JupyterFrontEndPlugin<void> = {
  id: '@cloister/lab:marks',
  description: 'Lays a mark over outputs where the contract asks for it.',
  autoStart: true,
  requires: [ICloister],
  activate: (_app: JupyterFrontEnd, cloister: ICloister) => {
    const views = new Map<Session, string>();
    const add = (session: Session) => {
      session.changed.connect(() => draw(session, views));
      session.panel.disposed.connect(() => draw(session, views));
      draw(session, views);
    };
    cloister.sessions.forEach(add);
    cloister.added.connect((_, session) => add(session));
    // The time on the mark is that of looking.
    window.setInterval(() => [...views.keys()].forEach(session => draw(session, views)), MINUTE_MS);
  }
};
