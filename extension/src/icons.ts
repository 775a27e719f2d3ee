/** The icons, drawn for 16 by 16; colours come from the theme. */

import { LabIcon } from '@jupyterlab/ui-components';

const SHIELD = 'M8 1.2 13.4 3.1v4.2c0 3.4-2.2 6-5.4 7.5C4.8 13.3 2.6 10.7 2.6 7.3V3.1Z';

function icon(name: string, body: string): LabIcon {
  const svgstr = `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 16 16">${body}</svg>`;
  return new LabIcon({ name: `cloister:${name}`, svgstr });
}

function stroked(path: string): string {
  return `<path class="jp-icon-stroke3" d="${path}" fill="none" stroke="#616161" stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round"/>`;
}

/** The panel's tab: a shield with a cloister's arch. */
export const cloisterIcon = icon('shield', `${stroked(SHIELD)}${stroked('M5.6 10.6V7.9a2.4 2.4 0 0 1 4.8 0v2.7')}`);

/** Shields whose inside says the tone without colour. */
export const toneIcons: Record<'green' | 'amber' | 'red' | 'grey', LabIcon> = {
  green: icon('shield-green', mark('M5.4 8.1l1.9 1.9 3.4-3.9')),
  amber: icon('shield-amber', mark('M5.5 9.3q1.25-2 2.5-.9t2.5-.9')),
  red: icon('shield-red', mark('M6 6l4 4m0-4-4 4')),
  grey: icon('shield-grey', mark('M6.5 6.6A1.6 1.6 0 1 1 8.4 8.3q-.4.2-.4.7M8 11h0'))
};

function mark(path: string): string {
  const stroke = 'fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round"';
  return `<path d="${SHIELD}" ${stroke}/><path d="${path}" ${stroke}/>`;
}

/** Promote: from the mock line up to the real one. */
export const promoteIcon = icon('promote', stroked('M3.2 13.4h9.6M8 10.4V2.6M4.8 5.8 8 2.6l3.2 3.2'));
